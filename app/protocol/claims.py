"""Advisory claims as requests ask for them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from marshmallow import ValidationError
from marshmallow.fields import Raw
from werkzeug.datastructures import MultiDict

from app.protocol import fields
from app.protocol.loading import LimitedSchema, load_object
from app.protocol.paths import check_list, check_paths
from app.protocol.problems import invalid
from app.protocol.queries import Query, load_query
from storage.base.settings import Settings

DEFAULT_TTL = 600
"""Seconds for which a claim is made that says nothing of it."""


def lifetime(value: Any, limit: fields.Limit) -> int:
    """Return a number of seconds from 1."""
    seconds = fields.natural(value)
    if seconds > limit[1]:
        raise ValidationError(f"is above {limit[1]} ({limit[0]})")
    return seconds


def purpose(value: Any, limit: fields.Limit) -> str:
    """Return a text that says what for."""
    text = fields.text(value, limit)
    if not text.strip() or "\0" in text:
        raise ValidationError("is empty, or contains a NUL")
    return text


class ClaimSchema(LimitedSchema):
    """A claim that is asked for."""

    paths = Raw(required=True)
    intent = fields.Checked(purpose, "max_claim_intent_bytes", required=True)
    ttl = fields.Checked(lifetime, "max_claim_ttl")


class RenewalSchema(LimitedSchema):
    """For how long a claim shall last from now on, and perhaps what for."""

    ttl = fields.Checked(lifetime, "max_claim_ttl", required=True)
    intent = fields.Checked(purpose, "max_claim_intent_bytes")


class WantedClaim(NamedTuple):
    """A claim that is asked for."""

    paths: tuple[bytes, ...]
    intent: str
    ttl: int  # seconds


@lru_cache(maxsize=4)
def _schemas(settings: Settings) -> tuple[ClaimSchema, RenewalSchema]:
    return ClaimSchema(settings), RenewalSchema(settings)


def load_claim(data: Any, settings: Settings) -> WantedClaim:
    """Return the claim that a request asks for. Raises a Problem."""
    loaded = load_object(_schemas(settings)[0], data)
    check_list("paths", loaded["paths"], ("max_claim_paths", settings.max_claim_paths))
    paths = tuple(path.encode() for path in check_paths(loaded["paths"], settings))
    return WantedClaim(paths, loaded["intent"], loaded.get("ttl", min(DEFAULT_TTL, settings.max_claim_ttl)))


def load_renewal(data: Any, settings: Settings) -> tuple[int, str | None]:
    """Return the seconds for which a claim is renewed, and its new intent. Raises a Problem."""
    loaded = load_object(_schemas(settings)[1], data)
    return loaded["ttl"], loaded.get("intent")


def load_claims_query(args: MultiDict[str, str], settings: Settings) -> Query:
    """Return which claims a request asks for: a directory's path may end with a slash. Raises a Problem."""
    given = MultiDict(args)
    if given.getlist("path") == ["/"]:
        del given["path"]  # everything
    elif "path" in given and "encoding" not in given:
        given.setlist("path", [path.removesuffix("/") for path in given.getlist("path")])
    query = load_query(given, settings, "limit", "cursor", "path", "encoding", "principal")
    if "path" in args and query.principal is not None:
        raise invalid("principal", "cannot stand beside path")
    return query
