"""Tokens and policies as requests bring them and answers show them."""

from __future__ import annotations

import re
import time
from functools import lru_cache, partial
from typing import Any, NamedTuple

from marshmallow import ValidationError
from marshmallow.fields import Raw
from msgspec import to_builtins

from app.protocol import fields
from app.protocol.changesets.schemas import MAX_IDENT_BYTES
from app.protocol.loading import ErrorsAt, LimitedSchema, load_object, safe_name
from app.protocol.paths import check_list, check_paths, path_prefix
from app.protocol.problems import invalid
from storage.access.policy import EVERYONE, GROUP, Authors, Grant, Identity, Person, Policy, Quota, Role
from storage.access.tokens import Token
from storage.base.issuers import MOST_TEXT
from storage.base.settings import Settings
from storage.git.fsck import check_ident

MAX_TEXT = 200
_MOST = 1 << 50
MOST_CLAIMS = 20
_PRINCIPAL = re.compile(r"(?!group:)[a-z][a-z0-9-]{0,30}:[A-Za-z0-9._@/+-]{1,200}", re.ASCII)
_GROUP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_ROLES = {role.value: role for role in Role}


def principal(value: Any) -> str:
    """Return the id of a principal, such as `user:ada`."""
    if type(value) is not str or not _PRINCIPAL.fullmatch(value):
        raise ValidationError("must be a principal: a kind and a name, such as user:ada or ci:github/owner/repo")
    return value


def grantee(value: Any) -> str:
    """Return to whom a grant gives something."""
    if value == EVERYONE or (type(value) is str and value.startswith(GROUP)):
        return str(value)
    return principal(value)


def short_text(value: Any) -> str:
    """Return a text of a line or two."""
    return fields.text(value, ("", MAX_TEXT))


def rate(value: Any) -> float:
    """Return a number that is not negative."""
    if type(value) not in (int, float) or not 0 <= value <= _MOST:
        raise ValidationError("must be a number from 0, which is no limit")
    return float(value)


def count(value: Any) -> int:
    """Return a whole number that is not negative."""
    if type(value) is not int or not 0 <= value <= _MOST:
        raise ValidationError("must be a whole number from 0, which is no limit")
    return value


def filled(value: Any, what: str) -> str:
    """Return a text that is not empty."""
    if not (text := fields.text(value, ("", MOST_TEXT))):
        raise ValidationError(f"must be {what}: a text that is not empty")
    return text


class TokenSchema(LimitedSchema):
    """A token that is asked for."""

    principal = fields.Checked(principal, required=True)
    name = fields.Checked(short_text)
    role = fields.choice(_ROLES)
    paths = Raw()
    expires = fields.Checked(fields.time)


class PolicySchema(LimitedSchema):
    """A policy; `version` may stand there as a read gave it, and If-Match decides."""

    version = Raw()
    groups = Raw()
    grants = Raw(required=True)
    people = Raw()
    identities = Raw()
    authors = fields.choice({each.value: each for each in Authors})
    quotas = Raw()


class GrantSchema(LimitedSchema):
    """A role for somebody on a path prefix."""

    to = fields.Checked(grantee, required=True)
    role = fields.choice(_ROLES, required=True)
    path = Raw(required=True)
    until = fields.Checked(fields.time)


class IdentitySchema(LimitedSchema):
    """The principal for which an issuer's JSON Web Tokens stand."""

    issuer = fields.Checked(partial(filled, what="the `iss` of tokens"), required=True)
    claims = Raw(required=True)
    principal = fields.Checked(principal, required=True)


class PersonSchema(LimitedSchema):
    """How a principal is named in commits."""

    name = fields.Checked(partial(fields.text, limit=("", MAX_IDENT_BYTES)), required=True)
    emails = Raw(required=True)


class QuotaSchema(LimitedSchema):
    """What a principal may use."""

    requests_per_second = fields.Checked(rate)
    bodies_bytes = fields.Checked(count)
    queued = fields.Checked(count)


class _Schemas(NamedTuple):
    token: TokenSchema
    policy: PolicySchema
    grant: GrantSchema
    person: PersonSchema
    quota: QuotaSchema
    identity: IdentitySchema


@lru_cache(maxsize=4)
def _schemas(settings: Settings) -> _Schemas:
    return _Schemas(
        TokenSchema(settings),
        PolicySchema(settings),
        GrantSchema(settings),
        PersonSchema(settings),
        QuotaSchema(settings),
        IdentitySchema(settings),
    )


class WantedToken(NamedTuple):
    """A token that is asked for."""

    principal: str
    name: str
    role: Role | None
    paths: tuple[str, ...]
    expires: int | None


def load_token(data: Any, settings: Settings) -> WantedToken:
    """Return the token that a request asks for. Raises a Problem."""
    loaded = load_object(_schemas(settings).token, data)
    paths = tuple(check_paths(loaded["paths"], settings)) if "paths" in loaded else ()
    expires = loaded["expires"][0] if "expires" in loaded else None
    if expires is not None and expires <= time.time():
        raise invalid("expires", "is over")
    return WantedToken(loaded["principal"], loaded.get("name", ""), loaded.get("role"), paths, expires)


def load_policy(data: Any, settings: Settings) -> Policy:
    """Return the policy of a request, without a version. Raises a Problem that names the field."""
    schemas = _schemas(settings)
    loaded = load_object(schemas.policy, data)
    groups = _groups(loaded.get("groups", {}), settings)
    check_list("grants", loaded["grants"], ("max_grants", settings.max_grants))
    grants = []
    for i, item in enumerate(loaded["grants"]):
        at = f"grants[{i}]"
        grant = load_object(schemas.grant, item, at)
        with ErrorsAt(f"{at}.path"):
            path = path_prefix(grant["path"], settings)
        if grant["to"].startswith(GROUP) and grant["to"].removeprefix(GROUP) not in groups:
            raise invalid(f"{at}.to", "is a group that `groups` does not have")
        if grant["role"] is Role.ADMIN and path != "/":
            raise invalid(f"{at}.path", "must be /: admins are of the whole repository")
        until = grant["until"][0] if "until" in grant else None
        grants.append(Grant(to=grant["to"], role=grant["role"], path=path, until=until))
    people = _people(loaded.get("people", {}), schemas.person)
    quotas = _quotas(loaded.get("quotas", {}), schemas.quota, groups)
    identities = _identities(loaded.get("identities", []), schemas.identity, settings)
    return Policy(
        groups=groups, grants=tuple(grants), people=people, authors=loaded.get("authors", Authors.ANY), quotas=quotas,
        identities=identities,
    )  # fmt: skip


def _groups(value: Any, settings: Settings) -> dict[str, tuple[str, ...]]:
    if type(value) is not dict:
        raise invalid("groups", "must be an object: names, each with a list of principals")
    groups = {}
    for name, members in value.items():
        at = f"groups.{name[:MAX_TEXT]}"
        if not _GROUP_NAME.fullmatch(name):
            raise invalid(at, "is not a name of 1 to 100 letters, digits, dots, dashes and underscores")
        if type(members) is not list:
            raise invalid(at, "must be a list of principals")
        with ErrorsAt(at):
            fields.within(len(members), ("max_grants", settings.max_grants), "members")
        for i, member in enumerate(members):
            with ErrorsAt(f"{at}[{i}]"):
                principal(member)
        groups[name] = tuple(dict.fromkeys(members))
    return groups


def _people(value: Any, schema: PersonSchema) -> dict[str, Person]:
    if type(value) is not dict:
        raise invalid("people", "must be an object: principals, each with name and emails")
    people = {}
    for who, item in value.items():
        at = f"people.{who[:MAX_TEXT]}"
        with ErrorsAt(at):
            principal(who)
        loaded = load_object(schema, item, at)
        check_list(f"{at}.emails", loaded["emails"], ("", 100))
        for i, email in enumerate(loaded["emails"]):
            with ErrorsAt(f"{at}.emails[{i}]"):
                check_ident("-", fields.text(email, ("", MAX_IDENT_BYTES)))
        with ErrorsAt(f"{at}.name"):
            check_ident(loaded["name"], "")
        people[who] = Person(name=loaded["name"], emails=tuple(loaded["emails"]))
    return people


def _quotas(value: Any, schema: QuotaSchema, groups: dict[str, tuple[str, ...]]) -> dict[str, Quota]:
    if type(value) is not dict:
        raise invalid("quotas", "must be an object: principals, groups or everyone, each with limits")
    quotas = {}
    for to, item in value.items():
        at = f"quotas.{to[:MAX_TEXT]}"
        with ErrorsAt(at):
            grantee(to)
        if to.startswith(GROUP) and to.removeprefix(GROUP) not in groups:
            raise invalid(at, "is a group that `groups` does not have")
        quotas[to] = Quota(**load_object(schema, item, at))
    return quotas


def _identities(value: Any, schema: IdentitySchema, settings: Settings) -> tuple[Identity, ...]:
    if type(value) is not list:
        raise invalid("identities", "must be a list")
    with ErrorsAt("identities"):
        fields.within(len(value), ("max_grants", settings.max_grants), "identities")
    identities = []
    for i, item in enumerate(value):
        at = f"identities[{i}]"
        loaded = load_object(schema, item, at)
        claims = loaded["claims"]
        if type(claims) is not dict or not 0 < len(claims) <= MOST_CLAIMS:
            # Without any, everybody to whom the issuer gives a token would be this principal.
            raise invalid(f"{at}.claims", f"must be an object of 1 to {MOST_CLAIMS} claims, each with its value")
        for name, expected in claims.items():
            with ErrorsAt(f"{at}.claims.{safe_name(name)}"):
                filled(name, "a claim")
                filled(expected, "the value of the claim")
        identities.append(Identity(issuer=loaded["issuer"], claims=claims, principal=loaded["principal"]))
    return tuple(identities)


def token_json(token: Token) -> dict[str, Any]:
    """Return a token as the API shows it: without its hash."""
    return {
        "id": token.id,
        "principal": token.principal,
        "name": token.name,
        "role": token.role,
        "paths": list(token.paths),
        "expires": fields.shown_time(token.expires),
        "by": token.by,
        "made_by": list(token.made_by),
    }


def policy_json(policy: Policy) -> dict[str, Any]:
    """Return a policy as the API shows it, and takes it back."""
    return {
        "version": policy.version,
        "authors": policy.authors,
        "groups": {name: list(members) for name, members in policy.groups.items()},
        "grants": [grant_json(grant) for grant in policy.grants],
        "people": {who: {"name": each.name, "emails": list(each.emails)} for who, each in policy.people.items()},
        "quotas": {to: quota_json(quota) for to, quota in policy.quotas.items()},
        "identities": [to_builtins(identity) for identity in policy.identities],
    }


def quota_json(quota: Quota) -> dict[str, Any]:
    """Return a quota as the API shows it: the limits that it sets."""
    shown = {name: getattr(quota, name) for name in Quota.__struct_fields__}
    return {name: value for name, value in shown.items() if value is not None}


def grant_json(grant: Grant) -> dict[str, Any]:
    """Return a grant as the API shows it."""
    shown = {"to": grant.to, "role": grant.role, "path": grant.path}
    return shown if grant.until is None else {**shown, "until": fields.shown_time(grant.until)}


def right_json(grant: Grant) -> dict[str, Any]:
    """Return what a grant gives to whoever asks."""
    return {name: value for name, value in grant_json(grant).items() if name != "to"}
