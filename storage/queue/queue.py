"""The work in Redis: queues of changesets, claims, locks and messages. It may be lost at any moment.

Nothing here decides an outcome: if all of it is lost, upkeep finds the undecided changesets in the bucket again.
"""

import secrets
import time
from collections.abc import Collection, Sequence
from itertools import chain

import redis
import structlog
from redis.lock import Lock

from storage.backends.redis_memory import delete_all
from storage.base.ids import ChangesetId, PackId, SliceId
from storage.base.settings import Settings
from storage.log.entry import encode_record
from storage.log.facts import said_digests, waiting_of
from storage.log.manifest import Changeset
from storage.lookup.archive import Archive
from storage.queue.reader import QueueReader, lock_name
from storage.queue.states import Claimed, NoPosition, Permit, Stage
from storage.view.view import View

# A manifest above this is read from the bucket instead.
_LARGEST_MANIFEST = 256 << 10
# A changeset with more files locks its slice alone: it would hardly ever get them all.
_MAX_LOCKS = 1000
_LOOK_AHEAD = 1000
_ULID = 26
# Claims of the dead that one claim looks after.
_MAX_DEAD = 32
# Principals that one upkeep looks at.
_MOST_PRINCIPALS = 1000
# More claims than run at once.
_MAX_CLAIMS = 1000
# Seconds; longer than any run of a batch.
_LONGEST_RUN = 3600
# What message.lua says where its caller should wait before it sends.
_WAITS = 2
# What release.lua calls the fault of an owner that fell silent.
LEASE_EXPIRED = "died"

_Member = tuple[str, ChangesetId]
"""A changeset with its slice, which is empty where only the script knows it."""

log = structlog.get_logger()


class Queue(QueueReader):
    """The queues of one repository."""

    def __init__(self, settings: Settings, view: View, archive: Archive, look_ahead: int = 0) -> None:
        """A claim looks for changesets whose base is decided among the first `look_ahead` of each slice's queue.

        0: a thousand, or as many as a batch may take.
        """
        super().__init__(settings, view, archive)
        self._look_ahead = look_ahead or max(_LOOK_AHEAD, settings.max_commit_changesets)
        # For how long a principal counts from its last changeset on (ms).
        self._active = int(settings.principal_active * 1000)
        # What could not be given back because Redis did not answer.
        self._owed: list[tuple[str, Sequence[_Member], str, str, Collection[ChangesetId] | None]] = []

    def enqueue(self, changesets: Sequence[tuple[Changeset, bytes]], listed: bool = False) -> list[int | NoPosition]:
        """Queue durable changesets, given with their part of the manifest; return their positions.

        Also while Redis is full, unless they were `listed` in the inbox, where there may be many. Idempotent. Raises
        ViewAbsent.
        """
        args: list[str | bytes | int] = [self._settings.shared_cache_seconds, self._settings.priority_turns]
        for changeset, part in changesets:
            args += [changeset.id, changeset.slice, changeset.pack, changeset.base_changeset or ""]
            args += [len(changeset.changes), _lock_names(changeset), part if len(part) <= _LARGEST_MANIFEST else b""]
            args += [changeset.key or "", changeset.fingerprint, int(changeset.hold), changeset.resolves or ""]
            told = waiting_of(changeset)
            found_by = b"".join(said_digests(told.facts, told.by))
            args += [changeset.size + len(part), told.by, changeset.priority, encode_record(told), found_by]
        positions = self._scripts("enqueue" if listed else "accept", *args)
        return [position if position >= 0 else NoPosition(position) for position in positions]

    def claim(
        self,
        owner: str,
        recovered_only: bool = True,
        most: int | None = None,
        most_of_many: int = 0,
        share: int | None = None,
    ) -> list[Claimed]:
        """Claim a batch of at most `most` changesets (None: commit_changesets); a suspect is claimed alone.

        Where many are queued it is a fourth of them, if that is more than `most`, but at most `most_of_many`. While
        several principals are active it is at most `share` of each (None: commit_share).

        The lease of `owner` (`new_owner`) begins.

        First it expires the leases of dead owners, and makes the changesets that they tried suspects. Raises
        Unavailable and Paused.
        """
        while self._owed:
            self._release(*self._owed[0])
            self._owed.pop(0)
        s = self._settings
        # Past its budget a batch is stuck elsewhere, and its claim ends though its process lives.
        longest = int((s.batch_budget + s.lock_ttl) * 1000)
        for _ in range(_MAX_DEAD):
            try:
                rows = self._scripts(
                    "claim", int(time.time() * 1000), owner, longest, most or s.commit_changesets,
                    s.commit_changes, s.commit_slices, s.lock_tries, int(s.use_locks), self._look_ahead, s.max_pending,
                    int(recovered_only), s.poison_tries, int(s.poison_wait * 1000), s.commit_bytes,
                    max(1, int(s.lock_ttl * 1000)), most_of_many, self._active, share or s.commit_share,
                )  # fmt: skip
            except redis.RedisError:
                self._owed.append((owner, (), "", "", None))  # made perhaps, and its answer lost
                raise
            if not rows or rows[0][0]:
                return [_claimed(*row) for row in rows]
            _, silent, ids = (text.decode() for text in rows[0])
            self.expire_lease(silent, _split(ids))
        return []

    def release(
        self, owner: str, claimed: Sequence[Claimed], fault: str = "", only: str = "",
        tried: Collection[ChangesetId] | None = None,
    ) -> None:  # fmt: skip
        """Remove decided changesets from the queues, and release the locks that are still the owner's.

        `fault` is the class of an exception that one of the `tried` changesets (default: all) may have caused, or the
        changeset `only` if that is known. If Redis does not answer, the release is repeated before the next claim.
        """
        if not claimed:
            return
        release = (owner, _members(claimed), fault, only, tried)
        try:
            self._release(*release)
        except redis.RedisError:
            self._owed.append(release)
            raise

    def expire_lease(self, owner: str, changesets: Sequence[ChangesetId]) -> None:
        """Release the claim of an owner whose lease has expired, and count its death."""
        log.warning("claim_ran_out", owner=owner, changesets=len(changesets), first=changesets[0] if changesets else "")
        self._release(owner, [("", changeset) for changeset in changesets], LEASE_EXPIRED)

    def note_tried(self, owner: str, tried: Sequence[ChangesetId]) -> bool:
        """Note which changesets of its claim an owner really tries; tell whether the claim exists."""
        return bool(self._scripts("tries", owner, "".join(tried)))

    def claimants(self) -> list[str]:
        """Return the owners of claims that are not released yet."""
        return [owner.decode() for owner in self._redis.zrange(self._prefix + "trying", 0, _MAX_CLAIMS)]

    def _release(
        self, owner: str, members: Sequence[_Member], fault: str = "", only: str = "",
        tried: Collection[ChangesetId] | None = None,
    ) -> None:  # fmt: skip
        rest = int(self._settings.poison_wait * 1000)
        first = [member for member in members if tried is None or member[1] in tried]
        others = [member for member in members if tried is not None and member[1] not in tried]
        self._scripts("release", owner, fault, rest, only, len(first), *chain.from_iterable([*first, *others]))

    def ask(
        self,
        kind: str,
        limit: int,
        done: str = "",
        before: int | None = None,
        gathers: bool = False,
        applied: float | None = None,
    ) -> Permit | None:
        """Return a permit if a message of `kind` should be sent; see lua/messages/message.lua for `done` and `before`.

        With `gathers`, changesets gather while a message is outstanding, until a batch of them is queued. `applied` is
        for how many seconds the entry of the run that ends is in the view; None: it made none.
        """
        s, token = self._settings, secrets.token_hex(8)
        since = "" if applied is None else int(applied * 1000)
        batch = s.commit_changesets if gathers else ""
        answer = self._scripts(
            "message", kind, int(s.message_ttl * 1000), limit, token, done, "" if before is None else before,
            batch, s.commit_share, self._active, since,
        )  # fmt: skip
        return Permit(token, waits=answer == _WAITS) if answer else None

    def take_back(self, kind: str, token: str) -> None:
        """Count a message as not outstanding: it could not be sent."""
        self._redis.zrem(f"{self._prefix}messages:{kind}", token)

    def let_others_begin(self, token: str) -> None:
        """Have nobody wait for the run of a commit message, which takes long. Raises RedisError."""
        self._scripts("aside", token, _LONGEST_RUN)

    def begin_anew(self) -> None:
        """Delete outstanding messages and claims, which after a failover may be those of finished runs.

        A running batch continues, and another one may claim the same changesets: the log decides.
        """
        self._redis.delete(*(f"{self._prefix}messages:{kind}" for kind in ("commit", "merge")))
        for owner in self._redis.zrange(self._prefix + "trying", 0, -1):
            ids = (self._redis.hget(self._prefix + "tried", owner) or b"").decode()
            self._release(owner.decode(), [("", changeset) for changeset in _split(ids)])

    def successor_lock(self, changeset: ChangesetId, seconds: float, pause: float) -> Lock:
        """Return the lock of whoever makes a successor of a changeset; it ends by itself, and is tried each `pause`."""
        return self._redis.lock(f"{self._prefix}succeeding:{changeset}", timeout=seconds, sleep=pause)

    def drop_manifests(self) -> int:
        """Delete the copies of manifests; return how many."""
        return delete_all(self._redis, f"{self._prefix}manifest:")

    def drop_decided(self, ids: Sequence[ChangesetId]) -> int:
        """Remove changesets that have an outcome from the queues; return how many there were. Raises Unavailable."""
        decided = [id_ for id_, stage in zip(ids, self.stages(ids), strict=True) if stage is Stage.DECIDED]
        states = self.states(decided)[1] if decided else []
        members = [(now.outcome.slice, id_) for id_, now in zip(decided, states, strict=True) if now.outcome]
        if members:
            self._release("", members)
        return len(members)

    def forget_stale(self) -> int:
        """Take out of the principals' sets what is no longer in the queues; return how many there were."""
        return int(self._scripts("forget_stale", self._active, _MOST_PRINCIPALS, _LOOK_AHEAD))

    def mark_recovered(self, epoch: str, run: bytes) -> None:
        """Record that all undecided changesets of the inbox are queued, in this run of Redis and this epoch only."""
        self._scripts("note", "recovered", run + b":" + epoch.encode())


def _members(claimed: Sequence[Claimed]) -> list[_Member]:
    return [(item.slice, item.id) for item in claimed]


def _lock_names(changeset: Changeset) -> bytes:
    if len(changeset.changes) > _MAX_LOCKS:
        return b""
    return b"".join([lock_name(change.path) for change in changeset.changes])


def _claimed(slice_id: bytes, changeset: bytes, pack: bytes, deaths: bytes = b"0", fault: bytes = b"") -> Claimed:
    return Claimed(
        SliceId(slice_id.decode()), ChangesetId(changeset.decode()), PackId(pack.decode()), int(deaths), fault.decode()
    )


def _split(ids: str) -> list[ChangesetId]:
    """Return ids that stand in one text."""
    return [ChangesetId(ids[i : i + _ULID]) for i in range(0, len(ids), _ULID)]
