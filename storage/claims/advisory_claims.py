"""Advisory claims: who says that it is at work at some paths, told to others, and in nobody's way.

They stand in Redis alone, are no entries of the log, and end by the clock of Redis: if Redis is lost, so are they. They
have nothing to do with the claims of batches (storage/queue). A claim is found by its paths, which stand in one set in
the order of bytes: those on a directory's own path, on one above it, and on all that is below, are a few ranges of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

from storage.base.errors import LimitReached
from storage.base.ids import new_ulid
from storage.base.settings import Settings
from storage.git.trees import holders
from storage.view.view import View

# What one look goes through at most, of claims that have ended, or are left out.
_LOOK = 10_000
# Claims that have expired and are ended at once.
_ENDED_AT_ONCE = 1000
# Paths of claims that one look at many files asks for.
_MOST_RANGES = 2000

Claimed = tuple[bytes, str]
"""A path prefix that is claimed, and the id of the claim."""
Range = tuple[bytes, bytes]
"""A range of the set of paths: from, and up to without."""

_EVERYTHING = (b"\0", b"\xff")  # no UTF-8 has a byte as high


class AdvisoryClaim(NamedTuple):
    """What a principal says of its work."""

    id: str
    principal: str
    intent: str  # in its own words
    ends: float  # seconds since 1970, by the clock of Redis
    paths: tuple[bytes, ...]  # prefixes: `/`, directories with a slash at the end, files

    def is_on(self, path: bytes | None) -> list[bytes]:
        """Return those of its paths, in the order of the set, that are on a path: above, at, or below; None: all."""
        on = self.paths if path is None else [each for each in self.paths if overlap(each, path)]
        return sorted(on, key=_member)


class ClaimEvent(NamedTuple):
    """A claim that was made or renewed (`claimed`), or has ended (`claim-ended`)."""

    name: str
    claim: AdvisoryClaim

    @classmethod
    def parse(cls, message: bytes) -> ClaimEvent:
        """Return what the channel has told."""
        name, id_, principal, intent, ends, paths = message.split(b"\0", 5)
        claim = _claim(id_.decode(), principal, intent, ends, paths)
        return cls(name.decode(), claim)


class AdvisoryClaims:
    """The advisory claims of one repository. Every method raises redis.RedisError."""

    def __init__(self, settings: Settings, view: View) -> None:
        self._settings = settings
        self._redis = view.redis
        self._prefix = view.prefix
        self._scripts = view.scripts
        self.channel: str = view.prefix + "advisory_claim_events"

    def make(self, principal: str, paths: Sequence[bytes], intent: str, seconds: float) -> AdvisoryClaim:
        """Make a claim on path prefixes, which ends after `seconds`. Raises LimitReached."""
        id_, settings = new_ulid(), self._settings
        ends = self._scripts(
            "make_advisory_claim", id_, principal, intent, int(seconds * 1000), settings.max_claims_per_principal,
            settings.max_claims, *map(_member, paths),
        )  # fmt: skip
        if ends == -1:
            most = settings.max_claims_per_principal
            raise LimitReached(f"{principal} has {most} advisory claims (max_claims_per_principal)")
        if ends == -2:
            raise LimitReached(f"there are {settings.max_claims} advisory claims (max_claims)")
        return AdvisoryClaim(id_, principal, intent, ends / 1000, tuple(paths))

    def renew(self, id_: str, seconds: float, intent: str | None = None) -> AdvisoryClaim | None:
        """Let a claim end `seconds` from now, perhaps with other words; None where it has ended."""
        given = ("", "") if intent is None else ("1", intent)
        if not self._scripts("renew_advisory_claim", id_, int(seconds * 1000), *given):
            return None
        return self.some([id_]).get(id_)

    def end(self, id_: str) -> bool:
        """End a claim; tell whether there was one."""
        return bool(self._scripts("end_advisory_claims", id_, 0))

    def end_expired(self) -> int:
        """Forget some claims whose time is over, and tell that they have ended; return how many."""
        return int(self._scripts("end_advisory_claims", "", _ENDED_AT_ONCE))

    def some(self, ids: Iterable[str]) -> dict[str, AdvisoryClaim]:
        """Return those of these claims that have not ended, by id."""
        wanted = list(dict.fromkeys(ids))
        rows = self._scripts("advisory_claims_by_id", *wanted) if wanted else []
        return {id_: _claim(id_, *row) for id_, row in zip(wanted, rows, strict=True) if row}

    def of(self, principal: str, after: str, limit: int) -> list[str]:
        """Return the ids of a principal's claims behind `after`, in the order in which they were made.

        Some may have ended.
        """
        key = f"{self._prefix}advisory_claims_of:{principal}"
        ids = sorted(member.decode() for member in self._redis.zrange(key, 0, -1))
        return [id_ for id_ in ids if id_ > after][:limit]

    def at(
        self, path: bytes | None, after: Claimed | None, limit: int, within: Iterable[bytes] = (b"/",)
    ) -> list[Claimed]:
        """Return what is claimed above, at and below a path (None: everything), behind `after`, in order of bytes.

        Only what the path prefixes of `within` hold, which are in order and do not hold each other: another path is
        told to nobody, not even by the position at which a list goes on.
        """
        ranges = _in_both(_ranges_of(path), [_held_by(prefix) for prefix in within])
        return self._find(ranges, after and _row(after), limit, "")

    def over(self, files: Iterable[bytes], limit: int, but: str = "") -> list[Claimed]:
        """Return which claims hold some of these files, without those of the principal `but`.

        It asks for the files and the directories above them, each once; of many it takes the first ones, some 2,000.
        """
        held: dict[bytes, None] = {}
        for file in files:
            held.update(dict.fromkeys(holders(file)))
            if len(held) >= _MOST_RANGES:
                break
        return self._find([_exactly(prefix) for prefix in held], None, limit, but)

    def _find(self, ranges: Iterable[tuple[bytes, bytes]], after: bytes | None, limit: int, but: str) -> list[Claimed]:
        bounds: list[bytes] = []
        for low, high in ranges:
            if after is None or after < low:
                bounds += [b"[" + low, b"(" + high]
            elif after < high:
                bounds += [b"(" + after, b"(" + high]
        if not bounds:
            return []
        members = self._scripts("advisory_claims_at", but, limit, _LOOK, *bounds)
        rows = (member.rpartition(b"\0") for member in members)
        return [(path or b"/", id_.decode()) for path, _, id_ in rows]


def overlap(a: bytes, b: bytes) -> bool:
    """Tell whether two path prefixes have files in common; a file and the directory of its name do."""
    a, b = (each.removesuffix(b"/") + b"/" for each in (a, b))
    return b"/" in (a, b) or a.startswith(b) or b.startswith(a)


def _member(path: bytes) -> bytes:
    """Return a path as the set of paths has it: everything comes before all else."""
    return b"" if path == b"/" else path


def _row(claimed: Claimed) -> bytes:
    return _member(claimed[0]) + b"\0" + claimed[1].encode()


def _exactly(path: bytes) -> tuple[bytes, bytes]:
    """Return the range of the claims on one path: from, and up to without."""
    return _member(path) + b"\0", _member(path) + b"\1"


def _ranges_of(path: bytes | None) -> list[tuple[bytes, bytes]]:
    """Return the ranges of a path's claims, in the order of bytes."""
    if path is None:
        return [_EVERYTHING]
    everything, *above, bare = holders(path.removesuffix(b"/"))
    # A file that has the name of a directory is in its way. `0` is the byte behind the slash.
    held = [everything, *chain.from_iterable((each.removesuffix(b"/"), each) for each in above), bare]
    return [*map(_exactly, held), (bare + b"/", bare + b"0")]


def _held_by(prefix: bytes) -> tuple[bytes, bytes]:
    """Return the range of the claims on what a path prefix holds."""
    if prefix == b"/":
        return _EVERYTHING
    return (prefix, prefix[:-1] + b"0") if prefix.endswith(b"/") else _exactly(prefix)


def _in_both(some: Sequence[Range], others: Sequence[Range]) -> list[Range]:
    """Return what ranges have in common with others, all of them in order."""
    found, i, j = list[Range](), 0, 0
    while i < len(some) and j < len(others):
        low, high = max(some[i][0], others[j][0]), min(some[i][1], others[j][1])
        if low < high:
            found.append((low, high))
        if some[i][1] < others[j][1]:
            i += 1
        else:
            j += 1
    return found


def _claim(id_: str, principal: bytes, intent: bytes, ends: bytes, paths: bytes) -> AdvisoryClaim:
    prefixes = tuple(path or b"/" for path in paths.split(b"\0"))
    return AdvisoryClaim(id_, principal.decode(), intent.decode(), int(ends) / 1000, prefixes)
