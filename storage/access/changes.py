"""What another policy would change, and for whom. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypedDict

from storage.access.policy import EVERYONE, Grant, Identity, Policy, Quota, grants_of, quota_of


class Change(TypedDict):
    """What somebody would gain and lose, as role and path."""

    principal: str
    gains: list[str]
    loses: list[str]


def changes(old: Policy, new: Policy) -> list[Change]:
    """Return what a new policy changes, by principal; `everyone` stands for those that neither names."""
    made = []
    for principal in sorted(_named(old) | _named(new)):
        before, after = _shown(old, principal), _shown(new, principal)
        if before != after:
            made.append(Change(principal=principal, gains=sorted(after - before), loses=sorted(before - after)))
    return made


def _named(policy: Policy) -> set[str]:
    """Return all principals that a policy names, and everyone."""
    members = {member for group in policy.groups.values() for member in group}
    mapped = {identity.principal for identity in policy.identities}
    named = [*(grant.to for grant in policy.grants), *policy.quotas]
    return {EVERYONE, *members, *mapped, *(to for to in named if not to.startswith("group:"))}


def _shown(policy: Policy, principal: str) -> set[str]:
    quota = quota_of(policy, principal)
    limits = {name: getattr(quota, name) for name in Quota.__struct_fields__}
    quotas = {f"quota {name} {value:g}" for name, value in limits.items() if value is not None}
    identities = {_identity(each) for each in policy.identities if each.principal == principal}
    return {_text(grant) for grant in grants_of(policy, principal)} | quotas | identities


def _identity(identity: Identity) -> str:
    claims = " and ".join(f"{name}={value}" for name, value in sorted(identity.claims.items()))
    return f"tokens of {identity.issuer} with {claims}"


def _text(grant: Grant) -> str:
    end = "" if grant.until is None else f" until {datetime.fromtimestamp(grant.until, UTC).isoformat()}"
    return f"{grant.role} on {grant.path}{end}"
