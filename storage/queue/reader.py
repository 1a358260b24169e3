"""The reads of the queues; nothing here changes what is queued."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import blake2b

from storage.backends.scripts import Scripts
from storage.base.batched import batched
from storage.base.errors import Recovering
from storage.base.ids import ChangesetId, PackId, SliceId
from storage.base.settings import Settings
from storage.log.records import decode_outcome, decode_waiting
from storage.lookup.archive import Archive
from storage.queue.states import Admission, ChangesetState, Stage
from storage.view.view import View, decode_slice

_BEHIND = "the view may be behind the log"
# Redis does nothing else while it looks for so many.
_KNOWN_AT_ONCE = 5000
# Fields of `work:` that are no texts.
_BYTES = (b"files", b"digests")


class QueueReader:
    """The reads of Queue, each by one call to Redis, or a few."""

    def __init__(self, settings: Settings, view: View, archive: Archive) -> None:
        self._settings = settings
        self._archive = archive
        self._redis = view.redis
        self._prefix = view.prefix
        self._scripts: Scripts = view.scripts

    def admit(
        self,
        slices: Sequence[str] = (),
        bases: Sequence[str] = (),
        keys: Sequence[str] = (),
        principals: Sequence[str] = (),
    ) -> Admission:
        """Return what is known of submissions' slices, bases, idempotency keys and principals. Raises Unavailable."""
        return self.with_archived(self.admit_by_view(slices, bases, keys, principals), bases)

    def admit_by_view(
        self, slices: Sequence[str], bases: Sequence[str], keys: Sequence[str], principals: Sequence[str] = ()
    ) -> Admission:
        """Return what `admit` does, without bases in the archive: one call to Redis, and none to the bucket."""
        args = [item for names in (slices, bases, keys, principals) for item in (len(names), *names)]
        answer = self._scripts("admit", *args)
        recovered, pending, queued, held, rows, known, owners, mark, compacted, claims, waiting = answer
        named = {name: row for name, row in zip(slices, rows, strict=True) if row[0]}
        return Admission(
            recovered=bool(recovered),
            pending=pending,
            queued=queued,
            held=held,
            slices={name: decode_slice(row[0]) for name, row in named.items()},
            queued_in={name: row[1] for name, row in named.items()},
            bases=frozenset(base for base, yes in zip(bases, known, strict=True) if yes),
            keys={key: _owner(value) for key, value in zip(keys, owners, strict=True) if value},
            mark=mark.decode(),
            compacted=int(compacted),
            advisory_claims=claims,
            waiting_of=dict(zip(principals, waiting, strict=True)),
        )

    def with_archived(self, admission: Admission, bases: Sequence[str]) -> Admission:
        """Return what `admit_by_view` has returned with those of `bases` that are archived. Raises Unavailable."""
        passed = [base for base in bases if base not in admission.bases and base <= admission.mark]
        archived = self._archive.positions(passed, admission.compacted).keys() if passed else ()
        return replace(admission, bases=admission.bases.union(archived))

    def key_owners(self, keys: Sequence[str]) -> dict[str, tuple[ChangesetId, str]]:
        """Return the owners of idempotency keys, with the fingerprints of their requests. Raises ViewAbsent."""
        return self.admit(keys=keys).keys

    def states(self, ids: Sequence[str]) -> tuple[bool, list[ChangesetState]]:
        """Return whether the queues are recovered (`mark_recovered`), and where changesets are. Raises Unavailable."""
        recovered, through, mark, compacted, *rows = self._scripts("status", *ids)
        states = [
            ChangesetState(
                decode_outcome(outcome) if outcome else None,
                SliceId(slice_id.decode()) if slice_id else None,
                position,
                int(through),
                PackId(pack.decode()) if pack else None,
                bool(held),
                ChangesetId(resolves.decode()) if resolves else None,
                closed.decode() if closed else None,
                int(priority or 0),
                decode_waiting(told) if told else None,
            )
            for outcome, slice_id, pack, position, held, resolves, closed, priority, told in rows
        ]
        return bool(recovered), self._with_archived(ids, states, (mark or b"").decode(), int(compacted or 0))

    def _with_archived(
        self, ids: Sequence[str], states: list[ChangesetState], mark: str, compacted: int
    ) -> list[ChangesetState]:
        passed = [i for i, now in zip(ids, states, strict=True) if now.stage is Stage.UNKNOWN and i <= mark]
        if not passed:
            return states
        outcomes, closed = self._archive.decisions(passed, compacted)
        return [
            replace(now, outcome=outcomes[i], closed_by=now.closed_by or closed.get(i)) if i in outcomes else now
            for i, now in zip(ids, states, strict=True)
        ]

    def stages(self, ids: Sequence[str]) -> list[Stage]:
        """Return how far changesets have come, much cheaper than `states`. Raises ViewAbsent."""
        parts = [self._scripts("known", "".join(part)).decode() for part in batched(ids, _KNOWN_AT_ONCE)]
        return [Stage(digit) for part in parts for digit in part]

    def successor(self, changeset: ChangesetId) -> tuple[bool, ChangesetId | None]:
        """Return whether Redis is recovered, and the undecided replacement of a changeset. Raises ViewAbsent."""
        recovered, successor = self._scripts("successor", changeset)
        return bool(recovered), ChangesetId(successor.decode()) if successor else None

    def work(self, changeset: ChangesetId) -> dict[str, str]:
        """Return the data of an undecided changeset besides its manifest; empty if there is none."""
        fields = self._redis.hgetall(f"{self._prefix}work:{changeset}")
        return {name.decode(): value.decode() for name, value in fields.items() if name not in _BYTES}

    def manifests(self, ids: Sequence[str]) -> list[bytes | None]:
        """Return the copies of manifests that Redis still has."""
        return self._redis.mget([f"{self._prefix}manifest:{id_}" for id_ in ids]) if ids else []

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

    def undecided(
        self, after: str, limit: int, newest_first: bool, *, held: bool | None = None, slice_id: str | None = None,
        path: bytes | None = None, digest: bytes | None = None,
    ) -> list[str]:  # fmt: skip
        """Return ids of undecided changesets behind `after`, in the order of their ids, or newest first.

        Those of one digest (storage/log/facts.py); else those that want a file, as `wanting` has them; else those of a
        slice; else all. By digest or file both the queued and the held are returned, whatever `held` says.
        """
        if digest is not None:
            return self._found_by(digest, after, limit, newest_first)
        if path is not None:
            return self._ids(b"on:" + lock_name(path), after, limit, newest_first)
        behind = f":{slice_id}" if slice_id is not None else ""
        names = {True: ["held"], False: ["queue" if behind else "queued"]}
        wanted = names[held] if held is not None else names[False] + names[True]
        ids = {each for name in wanted for each in self._ids(name + behind, after, limit, newest_first)}
        return sorted(ids, reverse=newest_first)[:limit]

    def _found_by(self, digest: bytes, after: str, limit: int, newest_first: bool) -> list[str]:
        """Return undecided changesets of a digest, and take those out of its set that are decided.

        A version that does not know these sets, at work during an upgrade, takes what it has decided out of the queues
        alone.
        """
        found: list[str] = []
        while len(found) < limit:
            asked = limit - len(found)
            ids = self._ids(b"of:" + digest, after, asked, newest_first)
            pipeline = self._redis.pipeline(transaction=False)
            for each in ids:
                pipeline.exists(f"{self._prefix}work:{each}")
            there = dict(zip(ids, pipeline.execute(), strict=True))
            found += [each for each in ids if there[each]]
            gone = [each for each in ids if not there[each]]
            if gone:
                self._redis.zrem(self._prefix.encode() + b"of:" + digest, *gone)
            if len(ids) < asked:
                break
            after = ids[-1]
        return found

    def holder(self, path: bytes) -> tuple[str, float] | None:
        """Return who holds a file's lock, and for how many seconds at most; None where nobody does."""
        key = self._prefix.encode() + b"lock:file:" + lock_name(path)
        owner, left = self._redis.get(key), self._redis.pttl(key)
        return (owner.decode(), max(0, left) / 1000) if owner else None

    def _ids(self, name: str | bytes, after: str, limit: int, newest_first: bool = False) -> list[str]:
        key = self._prefix.encode() + (name if isinstance(name, bytes) else name.encode())
        first, last = "-", "+"
        if newest_first:
            first, last = "(" + after if after else "+", "-"
        elif after:
            first = "(" + after
        members = self._redis.zrange(key, first, last, desc=newest_first, bylex=True, offset=0, num=limit)
        return [member.decode() for member in members]

    def oldest(self, look: int = 5000) -> str | None:
        """Return the oldest changeset that could be claimed among the first `look`, else None. Raises ViewAbsent."""
        oldest = self._scripts("oldest", look)
        return oldest.decode() if oldest else None

    def length(self) -> int:
        """Return how many changesets are queued."""
        return int(self._redis.zcard(f"{self._prefix}queued"))

    def recovered_state(self) -> bytes | None:
        """Return the Redis run and the epoch marked as recovered; None where they are not the present ones."""
        recovered, epoch = self._redis.mget([self._prefix + "recovered", self._prefix + "epoch"])
        return recovered if epoch is not None and recovered == self.run() + b":" + epoch else None

    @contextmanager
    def consistent_read(self) -> Iterator[None]:
        """Require that Redis is recovered, and the same run and epoch, from the beginning of this block to its end.

        Otherwise Redis may have been restored from an older snapshot: the log may have what it lacks, and a changeset
        that it has as queued may be decided. Raises Recovering.
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


def lock_name(path: bytes) -> bytes:
    """Return the 8 bytes that stand for a file in the keys of locks."""
    return blake2b(path, digest_size=8).digest()


def _owner(value: bytes) -> tuple[ChangesetId, str]:
    changeset, _, fingerprint = value.decode().partition(" ")
    return ChangesetId(changeset), fingerprint
