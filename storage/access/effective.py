"""What somebody may do by one token: its grants, cut down to what the token is limited to. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import takewhile

from msgspec.structs import replace

from storage.access.policy import RIGHTS, Grant, Role

# Each of them has the rights of those before it.
_RISING = (Role.READER, Role.WRITER, Role.MAINTAINER, Role.ADMIN)


def effective(grants: Iterable[Grant], role: Role | None, paths: Sequence[str]) -> list[Grant]:
    """Return the grants that are left of these by a token that is limited to a role and to path prefixes.

    One that says no more than another is left out. The order is that of the grants. The cost is that of the grants and
    of what is left, with the directories above each: not their product.
    """
    limits, there = sorted(paths or ["/"]), set(paths or ["/"])
    left: dict[tuple[Role, str, int | None], Grant] = {}
    by_path: dict[str, list[Grant]] = {}
    for grant in grants:
        least = _least(grant.role, role)
        for common in _common(grant.path, limits, there) if least is not None else ():
            made = replace(grant, role=least, path=common)
            if left.setdefault((made.role, common, grant.until), made) is made:
                by_path.setdefault(common, []).append(made)
    return [
        each
        for each in left.values()
        if not any(_says_more(other, each) for prefix in _holding(each.path) for other in by_path.get(prefix, ()))
    ]


def _least(given: Role, limit: Role | None) -> Role | None:
    """Return the role whose rights two have in common, None where they have none."""
    if limit is None or given is limit:
        return given
    common = RIGHTS[given] & RIGHTS[limit]
    return next((role for role in _RISING if RIGHTS[role] == common), None) if common else None


def _common(path: str, limits: list[str], there: set[str]) -> Iterable[str]:
    """Return the prefixes that hold all paths which a grant's and a token's prefix hold both; `limits` are sorted."""
    if not there.isdisjoint(_holding(path)):
        return (path,)
    if path == "/":
        return limits
    if not path.endswith("/"):
        return ()
    first = bisect_left(limits, path)
    return takewhile(lambda limit: limit.startswith(path), limits[first:])


def _holding(path: str) -> list[str]:
    """Return the prefixes that hold a path or prefix: `/`, the directories above it, and itself."""
    ends = [at + 1 for at, letter in enumerate(path[:-1]) if letter == "/"]
    return list(dict.fromkeys(["/", *(path[:end] for end in ends), path]))


def _says_more(one: Grant, other: Grant) -> bool:
    """Tell whether a grant, on a prefix that holds the other's, gives all that the other does, and more."""
    lasts = one.until is None or (other.until is not None and one.until >= other.until)
    gives = RIGHTS[other.role] & RIGHTS[one.role] == RIGHTS[other.role]
    same = (one.role, one.path, one.until) == (other.role, other.path, other.until)
    return lasts and gives and not same
