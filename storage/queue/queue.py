"""The work in Redis: queues of changesets, claims, locks and messages. It may vanish at any moment.

Nothing here decides anything: with all of it lost, upkeep finds the undecided changesets in the bucket again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import redis
import structlog
from redis.lock import Lock

from storage.backends.redis_memory import delete_all
from storage.backends.scripts import Scripts
from storage.base.batched import batched
from storage.base.errors import Recovering
from storage.base.ids import ChangesetId, PackId, SliceId
from storage.base.settings import Settings
from storage.log.manifest import Changeset
from storage.log.records import Outcome, Status, decode_outcome
from storage.lookup.archive import Archive
from storage.queue.standing import Admission, Claimed, Standing
from storage.view.view import View, decode_slice

# A manifest above this is read from the bucket instead.
_LARGEST_MANIFEST = 256 << 10
# A changeset with more files locks its slice alone: it would hardly ever get them all.
_MAX_LOCKS = 1000
_LOOK_AHEAD = 1000
_ULID = 26
_BEHIND = "the view may be behind the log"
# Redis does nothing else while it looks for so many.
_KNOWN_AT_ONCE = 5000
# Claims of the dead that one claim looks after.
_MAX_DEAD = 32
# What release.lua calls the fault of an owner that fell silent.
LEASE_EXPIRED = "died"

log = structlog.get_logger()
# How many at the front of all queues are looked at for the oldest that could be claimed.
_LOOK_FOR_OLDEST = 5000


class Queue:
    """The queues of one repository."""

    def __init__(self, settings: Settings, view: View, archive: Archive, look_ahead: int = _LOOK_AHEAD) -> None:
        """A claim looks for changesets whose base is decided among the first `look_ahead` of each slice's queue."""
        self._settings = settings
        self._archive = archive
        self._look_ahead = look_ahead
        self._redis = view.redis
        self._prefix = view.prefix
        self._scripts: Scripts = view.scripts
        # What could not be given back because Redis did not answer.
        self._owed: list[tuple[str, Sequence[Claimed], str, str, Collection[ChangesetId] | None]] = []

    def admit(self, slices: Sequence[str], bases: Sequence[str], keys: Sequence[str]) -> Admission:
        """Return what is known of the slices, bases and idempotency keys of submissions. Raises Unavailable."""
        args = [item for each in (slices, bases, keys) for item in (len(each), *each)]
        recovered, pending, queued, held, found, known, owners, mark, compacted = self._scripts("admit", *args)
        here = {base for base, yes in zip(bases, known, strict=True) if yes}
        passed = [base for base in bases if base not in here and base <= mark.decode()]
        named = {name: row for name, row in zip(slices, found, strict=True) if row[0]}
        return Admission(
            recovered=bool(recovered),
            pending=pending,
            queued=queued,
            held=held,
            slices={name: decode_slice(row[0]) for name, row in named.items()},
            queued_in={name: row[1] for name, row in named.items()},
            bases=frozenset(here | self._archive.places(passed, int(compacted)).keys()),
            keys={key: _owner(value) for key, value in zip(keys, owners, strict=True) if value},
        )

    def enqueue(self, changesets: Sequence[tuple[Changeset, bytes]], found: bool = False) -> list[int]:
        """Queue durable changesets, given with their part of the manifest; return positions.

        -1 stands for a decided one, -2 for one that is held. Also while Redis is full, unless they were `found` in the
        inbox, where there may be many. Idempotent. Raises ViewAbsent.
        """
        args: list[str | bytes | int] = [self._settings.shared_cache_seconds]
        for changeset, part in changesets:
            args += [
                changeset.id,
                changeset.slice,
                changeset.pack,
                changeset.base_changeset or "",
                len(changeset.changes),
            ]
            args += [_lock_names(changeset), part if len(part) <= _LARGEST_MANIFEST else b""]
            args += [changeset.key or "", changeset.fingerprint, int(changeset.hold), changeset.resolves or ""]
        return list(self._scripts("enqueue" if found else "accept", *args))

    def claim(self, owner: str, recovered_only: bool = True) -> list[Claimed]:
        """Claim a bounded batch for `owner`; a suspect is claimed alone.

        Whoever claims finds the claims of the dead first, and blames those who were tried. Raises Unavailable and
        Paused.
        """
        while self._owed:
            self._release(*self._owed[0])
            self._owed.pop(0)
        s = self._settings
        for _ in range(_MAX_DEAD):
            try:
                found = self._scripts(
                    "claim", _now(), owner, int(s.lock_ttl * 1000), s.commit_changesets, s.commit_changes,
                    s.commit_slices, s.lock_tries, int(s.use_locks), self._look_ahead, s.max_pending,
                    int(recovered_only), s.poison_tries, int(s.poison_wait * 1000),
                )  # fmt: skip
            except redis.RedisError:
                self._owed.append((owner, (), "", "", None))  # made perhaps, and its answer lost
                raise
            if not found or found[0][0]:
                return [_claimed(*row) for row in found]
            _, silent, ids = (text.decode() for text in found[0])
            self.expire_lease(silent, [each.id for each in _of_nobody(ids)])
        return []

    def release(
        self, owner: str, claimed: Sequence[Claimed], fault: str = "", only: str = "",
        tried: Collection[ChangesetId] | None = None,
    ) -> None:  # fmt: skip
        """Take the decided of these out of the queues, and give up the locks that are still the owner's.

        `fault` is the kind of an exception that one of those that were `tried` (default: all) may be to blame for, the
        changeset `only` where that is known. Where Redis does not answer, it is repeated before the next claim.
        """
        if not claimed:
            return
        try:
            self._release(owner, claimed, fault, only, tried)
        except redis.RedisError:
            if owner:
                self._owed.append((owner, claimed, fault, only, tried))
            raise

    def expire_lease(self, owner: str, changesets: Sequence[ChangesetId]) -> None:
        """Release the claim of an owner that has been silent for too long, for its death."""
        log.warning("claim_ran_out", owner=owner, changesets=len(changesets), first=changesets[0] if changesets else "")
        self._release(owner, _of_nobody("".join(changesets)), LEASE_EXPIRED)

    def renew(self, owner: str, claimed: Sequence[Claimed], tried: Sequence[ChangesetId] = ()) -> bool:
        """Say that the owner of a claim is at work, and which changesets it tries from now on, if that is new.

        Tell whether the claim still stands.
        """
        ttl = int(self._settings.lock_ttl * 1000)
        return bool(self._scripts("renew", owner, ttl, "".join(tried), *_pairs(claimed)))

    def work(self, changeset: ChangesetId) -> dict[str, str]:
        """Return what is known of an undecided changeset beside its manifest; empty where nothing is."""
        found = self._redis.hgetall(f"{self._prefix}work:{changeset}")
        return {name.decode(): value.decode() for name, value in found.items() if name != b"files"}

    def _release(
        self, owner: str, claimed: Sequence[Claimed], fault: str, only: str = "",
        tried: Collection[ChangesetId] | None = None,
    ) -> None:  # fmt: skip
        rest = int(self._settings.poison_wait * 1000)
        first = list(claimed) if tried is None else [item for item in claimed if item.id in tried]
        others = [] if tried is None else [item for item in claimed if item.id not in tried]
        self._scripts("release", owner, fault, rest, only, len(first), *_pairs([*first, *others]))

    def ask(self, kind: str, limit: int, done: str = "", before: int | None = None) -> str | None:
        """Return a token if a message of `kind` should be sent now; `done` is the token of the run that ends.

        See lua/message.lua for `before`.
        """
        token = secrets.token_hex(8)
        ttl = int(self._settings.message_ttl * 1000)
        send = self._scripts("message", kind, ttl, limit, token, done, "" if before is None else before)
        return token if send else None

    def take_back(self, kind: str, token: str) -> None:
        """Count a message as not outstanding: it could not be sent."""
        self._redis.zrem(f"{self._prefix}messages:{kind}", token)

    def begin_anew(self) -> None:
        """Count no message as outstanding and no claim as held: behind a failover they may be there and be over.

        Whoever is at work goes on, and somebody else may do the same: the log decides.
        """
        self._redis.delete(*(f"{self._prefix}messages:{kind}" for kind in ("commit", "merge")))
        for owner in self._redis.zrange(self._prefix + "trying", 0, -1):
            ids = (self._redis.hget(self._prefix + "tried", owner) or b"").decode()
            self._release(owner.decode(), _of_nobody(ids), "")

    def successor_lock(self, changeset: ChangesetId, seconds: float, pause: float) -> Lock:
        """Return the lock of whoever makes a successor of a changeset; it ends by itself, and is tried each `pause`."""
        return self._redis.lock(f"{self._prefix}succeeding:{changeset}", timeout=seconds, sleep=pause)

    def successor(self, changeset: ChangesetId) -> tuple[bool, ChangesetId | None]:
        """Return whether Redis is recovered, and the undecided changeset that is to take the place of another.

        Raises ViewAbsent.
        """
        recovered, found = self._scripts("successor", changeset)
        return bool(recovered), ChangesetId(found.decode()) if found else None

    def drop_manifests(self) -> int:
        """Delete the copies of manifests; return how many."""
        return delete_all(self._redis, f"{self._prefix}manifest:")

    def manifests(self, ids: Sequence[str]) -> list[bytes | None]:
        """Return the copies of manifests that Redis still has."""
        return self._redis.mget([f"{self._prefix}manifest:{each}" for each in ids]) if ids else []

    def standing(self, ids: Sequence[str]) -> tuple[bool, list[Standing]]:
        """Return whether the queues are recovered (`mark_recovered`), and where changesets stand.

        Raises Unavailable.
        """
        recovered, through, mark, compacted, *rows = self._scripts("status", *ids)
        standings = [
            Standing(
                decode_outcome(outcome) if outcome else None,
                SliceId(slice_id.decode()) if slice_id else None,
                position,
                int(through),
                PackId(pack.decode()) if pack else None,
                bool(held),
                ChangesetId(resolves.decode()) if resolves else None,
                closed.decode() if closed else None,
            )
            for outcome, slice_id, pack, position, held, resolves, closed in rows
        ]
        return bool(recovered), self._with_archived(ids, standings, (mark or b"").decode(), int(compacted or 0))

    def _with_archived(
        self, ids: Sequence[str], standings: list[Standing], mark: str, compacted: int
    ) -> list[Standing]:
        passed = [
            each
            for each, now in zip(ids, standings, strict=True)
            if now.outcome is None and now.slice is None and each <= mark
        ]
        if not passed:
            return standings
        outcomes: Mapping[Any, Outcome] = self._archive.outcomes(passed, compacted)
        conflicted = [each for each in outcomes if outcomes[each].status == Status.CONFLICTED]
        closed = self._archive.closed(conflicted, compacted)
        return [
            replace(now, outcome=outcomes[each], closed_by=now.closed_by or closed.get(each))
            if each in outcomes
            else now
            for each, now in zip(ids, standings, strict=True)
        ]

    def known(self, ids: Sequence[str]) -> str:
        """Return a digit for each: 2 it is decided, 1 it is queued or held, 0 neither. Raises ViewAbsent."""
        return "".join([self._scripts("known", "".join(part)).decode() for part in batched(ids, _KNOWN_AT_ONCE)])

    def waiting(self, slice_id: str, after: str, limit: int, held: bool = False) -> list[str]:
        """Return ids in a slice's queue, or of those that are held, behind `after`, in order."""
        return self._ids(f"{'held' if held else 'queue'}:{slice_id}", after, limit)

    def held(self, after: str, limit: int) -> list[str]:
        """Return ids of all that are held, of every slice, behind `after`, in order."""
        return self._ids("held", after, limit)

    def wanting(self, path: bytes, after: str, limit: int) -> list[str]:
        """Return ids of undecided changesets that want to change a file, behind `after`, in order.

        Not those with so many files that they lock their slice alone; and now and then one that wants another file,
        since files are known by a hash.
        """
        return self._ids(b"on:" + lock_name(path), after, limit)

    def holder(self, path: bytes) -> tuple[str, float] | None:
        """Return who holds a file's lock, and for how many seconds at most; None where nobody does."""
        key = self._prefix.encode() + b"lock:file:" + lock_name(path)
        owner, left = self._redis.get(key), self._redis.pttl(key)
        return (owner.decode(), max(0, left) / 1000) if owner else None

    def _ids(self, name: str | bytes, after: str, limit: int) -> list[str]:
        key = self._prefix.encode() + (name if isinstance(name, bytes) else name.encode())
        low = "(" + after if after else "-"
        found = self._redis.zrange(key, low, "+", bylex=True, offset=0, num=limit)
        return [member.decode() for member in found]

    def oldest(self) -> str | None:
        """Return the id of the oldest changeset that could be claimed, None where none is found. Raises ViewAbsent."""
        found = self._scripts("oldest", _LOOK_FOR_OLDEST)
        return found.decode() if found else None

    def length(self) -> int:
        """Return how many changesets are queued."""
        return int(self._redis.zcard(f"{self._prefix}queued"))

    def mark_recovered(self, epoch: str, run: bytes) -> None:
        """Record that, for this Redis run id and epoch, every undecided changeset in the inbox has been queued.

        A flush or another epoch makes the record void.
        """
        self._scripts("note", "recovered", run + b":" + epoch.encode())

    def recovered_state(self) -> bytes | None:
        """Return the Redis run and the epoch marked as recovered; None where they are not the present ones."""
        recovered, epoch = self._redis.mget([self._prefix + "recovered", self._prefix + "epoch"])
        return recovered if epoch is not None and recovered == self.run() + b":" + epoch else None

    @contextmanager
    def consistent_read(self) -> Iterator[None]:
        """Require that Redis is recovered, and the same run and epoch, from the beginning of this block to its end.

        Otherwise Redis may have been restored from an older snapshot: what it lacks may stand in the log, and what it
        has as queued may be decided. Raises Recovering.
        """
        before = self.recovered_state()
        if before is None:
            raise Recovering(_BEHIND)
        try:
            yield
        finally:
            if self.recovered_state() != before:
                raise Recovering(_BEHIND)

    def run(self) -> bytes:
        """Return what tells one run of Redis from the next, and one primary from another; see lua/run.lua."""
        info = self._redis.info("server", "replication")
        run = f"{info['run_id']}-{info['master_replid']}"
        return (run if info["role"] == "master" else f"{run}-replica").encode()


def _pairs(claimed: Sequence[Claimed]) -> Iterator[str]:
    return (text for item in claimed for text in (item.slice, item.id))


def _lock_names(changeset: Changeset) -> bytes:
    if len(changeset.changes) > _MAX_LOCKS:
        return b""
    return b"".join([lock_name(change.path) for change in changeset.changes])


def lock_name(path: bytes) -> bytes:
    """Return the 8 bytes that stand for a file in the keys of locks."""
    return blake2b(path, digest_size=8).digest()


def _claimed(slice_id: bytes, changeset: bytes, pack: bytes, deaths: bytes = b"0", fault: bytes = b"") -> Claimed:
    return Claimed(
        SliceId(slice_id.decode()), ChangesetId(changeset.decode()), PackId(pack.decode()), int(deaths), fault.decode()
    )


def _of_nobody(ids: str) -> list[Claimed]:
    """Return changesets of which only `work` knows more, given as ids in one text."""
    return [Claimed(SliceId(""), ChangesetId(ids[i : i + _ULID]), PackId("")) for i in range(0, len(ids), _ULID)]


def _owner(value: bytes) -> tuple[ChangesetId, str]:
    changeset, _, fingerprint = value.decode().partition(" ")
    return ChangesetId(changeset), fingerprint


def _now() -> int:
    return int(time.time() * 1000)
