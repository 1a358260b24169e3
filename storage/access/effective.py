"""What somebody may do by one token: its grants, cut down to what the token is limited to. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from storage.access.policy import RIGHTS, Grant, Right, Role

# Each of them has the rights of those before it.
_RISING = (Role.READER, Role.WRITER, Role.MAINTAINER, Role.ADMIN)


def effective(grants: Iterable[Grant], role: Role | None, paths: Sequence[str]) -> list[Grant]:
    """Return the grants that are left of these by a token that is limited to a role and to path prefixes.

    One that says no more than another is left out. The order is that of the grants.
    """
    left: dict[tuple[Role, str, int | None], Grant] = {}
    for grant in grants:
        least = _least(grant.role, role)
        for prefix in paths or ["/"]:
            common = _common(grant.path, prefix)
            if least is not None and common is not None:
                left.setdefault((least, common, grant.until), replace(grant, role=least, path=common))
    return [each for each in left.values() if not any(_says_more(other, each) for other in left.values())]


def _least(given: Role, limit: Role | None) -> Role | None:
    """Return the role whose rights two have in common, None where they have none."""
    if limit is None or given is limit:
        return given
    common = RIGHTS[given] & RIGHTS[limit]
    return next((role for role in _RISING if RIGHTS[role] == common), None) if common else None


def _common(one: str, other: str) -> str | None:
    """Return the prefix of all paths that two prefixes hold, None where they hold none in common."""
    return other if _holds(one, other) else one if _holds(other, one) else None


def _says_more(one: Grant, other: Grant) -> bool:
    """Tell whether a grant gives all that another does, and more."""
    lasts = one.until is None or (other.until is not None and one.until >= other.until)
    rights: Right = RIGHTS[other.role] & RIGHTS[one.role]
    gives = rights == RIGHTS[other.role] and _holds(one.path, other.path)
    same = (one.role, one.path, one.until) == (other.role, other.path, other.until)
    return lasts and gives and not same


def _holds(prefix: str, path: str) -> bool:
    return prefix in ("/", path) or (prefix.endswith("/") and path.startswith(prefix))
