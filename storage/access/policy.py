"""The policy: one versioned document that says who may do what, as the log has it. Pure.

A principal is who acts: a person, a service or an agent, such as `user:ada`, `agent:fixer-12` or
`ci:github/owner/repo`. A grant gives a role to a principal, to the members of a group (`group:web`), or to everybody
who has authenticated (`everyone`), on a path prefix as slices have them: `/`, a directory (`docs/`) or a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntFlag, StrEnum

from msgspec import Struct, field

EVERYONE = "everyone"
GROUP = "group:"
ROOT = "root"
"""The principal of the root token, which may do everything whatever the policy says."""


class Right(IntFlag):
    """What may be done at a path."""

    READ = 1
    WRITE = 2  # submit, and resolve and abandon one's own
    MAINTAIN = 4  # define slices, release, resolve and abandon others', ask for merges
    ADMIN = 8  # the policy and tokens
    CHECK = 16  # report checks
    IMPERSONATE = 32  # submit with another author than oneself


class Role(StrEnum):
    """What a grant gives. Each of the first four has the rights of those before it."""

    READER = "reader"
    WRITER = "writer"
    MAINTAINER = "maintainer"
    ADMIN = "admin"
    CHECKER = "checker"
    IMPERSONATE = "impersonate"


RIGHTS: Mapping[Role, Right] = {
    Role.READER: Right.READ,
    Role.WRITER: Right.READ | Right.WRITE,
    Role.MAINTAINER: Right.READ | Right.WRITE | Right.MAINTAIN,
    Role.ADMIN: Right.READ | Right.WRITE | Right.MAINTAIN | Right.ADMIN,
    Role.CHECKER: Right.CHECK,
    Role.IMPERSONATE: Right.IMPERSONATE,
}
ROLE_WITH: Mapping[Right, Role] = {
    Right.READ: Role.READER,
    Right.WRITE: Role.WRITER,
    Right.MAINTAIN: Role.MAINTAINER,
    Right.ADMIN: Role.ADMIN,
    Right.CHECK: Role.CHECKER,
    Right.IMPERSONATE: Role.IMPERSONATE,
}
"""The least role with a right."""
EVERYTHING = Right(sum(Right))


class Authors(StrEnum):
    """Whose name a changeset may carry as its author."""

    ANY = "any"  # as in Gerrit: cherry-picks and stacks carry those of others
    OWN = "own"  # one's own, by the policy's e-mails; any other needs `impersonate`


class Grant(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A role for somebody on a path prefix."""

    to: str
    role: Role
    path: str
    until: int | None = None  # seconds since 1970; from then on it gives nothing


class Person(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a principal is named in commits."""

    name: str
    emails: tuple[str, ...]  # the first is the author's where a request gives none


class Quota(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a principal may use; None: as another quota or the settings say, 0: without a limit."""

    requests_per_second: float | None = None
    bodies_bytes: int | None = None  # received and not answered, in one API process
    queued: int | None = None  # changesets that are queued or held


NO_QUOTA = Quota()


class Identity(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The principal for which an issuer's JSON Web Tokens stand that have these claims."""

    issuer: str
    claims: dict[str, str]
    principal: str


class Policy(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The document. Version 0 is that of a repository without one: it gives nobody anything."""

    version: int = 0
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    grants: tuple[Grant, ...] = ()
    people: dict[str, Person] = field(default_factory=dict)
    authors: Authors = Authors.ANY
    quotas: dict[str, Quota] = field(default_factory=dict)  # by principal, group or `everyone`, as grants have it
    identities: tuple[Identity, ...] = ()  # the first that fits counts


def quota_of(policy: Policy, principal: str) -> Quota:
    """Return the quota of a principal: its own, else the largest of its groups', else everybody's; for each limit."""
    if not policy.quotas:
        return NO_QUOTA
    groups = [policy.quotas[to] for to in _groups_of(policy, principal) if to in policy.quotas]
    found: dict[str, float | None] = {}
    for name in Quota.__struct_fields__:
        own, everyone = (getattr(policy.quotas.get(to), name, None) for to in (principal, EVERYONE))
        shared = [value for each in groups if (value := getattr(each, name)) is not None]
        largest = max(shared, key=lambda value: value or float("inf"), default=None)
        found[name] = next((value for value in (own, largest, everyone) if value is not None), None)
    return Quota(**found)  # type: ignore[arg-type]


def _groups_of(policy: Policy, principal: str) -> set[str]:
    return {GROUP + name for name, members in policy.groups.items() if principal in members}


def grants_of(policy: Policy, principal: str) -> list[Grant]:
    """Return the grants that concern a principal: its own, those of its groups, and everybody's."""
    groups = _groups_of(policy, principal)
    return [grant for grant in policy.grants if grant.to in groups or grant.to in (principal, EVERYONE)]


def has_admin(policy: Policy) -> bool:
    """Tell whether somebody may change the policy: an admin of `/`, for good, whom the policy names."""
    return any(
        grant.role is Role.ADMIN and grant.path == "/" and grant.until is None and grant.to != EVERYONE
        and (not grant.to.startswith(GROUP) or policy.groups.get(grant.to.removeprefix(GROUP)))
        for grant in policy.grants
    )  # fmt: skip
