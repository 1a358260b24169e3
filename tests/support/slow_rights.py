"""What a policy and a token give, by a slow and obvious reading in the words of docs/access.md."""

from __future__ import annotations

from collections.abc import Sequence

from storage.access.policy import EVERYONE, RIGHTS, Policy, Right, Role


def allowed(policy: Policy, principal: str, right: Right, path: str, now: int | None) -> bool:
    """Tell whether a principal has a right at a path: every grant is looked at. `now` None: as if none ended."""
    groups = ["group:" + name for name, members in policy.groups.items() if principal in members]
    for grant in policy.grants:
        concerns = grant.to in (principal, EVERYONE, *groups)
        lasts = grant.until is None or now is None or now < grant.until
        if concerns and lasts and covers(grant.path, path) and right in RIGHTS[grant.role]:
            return True
    return False


def within(role: Role | None, paths: Sequence[str], right: Right, path: str) -> bool:
    """Tell whether a token that is limited to a role and to paths leaves a right at a path."""
    return (role is None or right in RIGHTS[role]) and (not paths or any(covers(prefix, path) for prefix in paths))


def covers(prefix: str, path: str) -> bool:
    """Tell whether a path prefix holds a path."""
    return prefix == "/" or prefix == path or (prefix[-1] == "/" and path.startswith(prefix))
