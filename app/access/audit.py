"""The audit as requests ask for it and answers show it: under the names that GitHub's audit log has."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any

from marshmallow import ValidationError
from msgspec import to_builtins

from app.protocol import fields
from app.protocol.loading import LimitedSchema, load_object
from app.protocol.problems import invalid
from app.protocol.queries import each_once
from storage.access.tokens import is_well_formed
from storage.base.settings import Settings
from storage.log.audit import ACTIONS, Act

KINDS = frozenset(action.partition(".")[0] for action in ACTIONS)
_ID = re.compile(r"(0|[1-9][0-9]{0,9})(?:-(0|[1-9][0-9]{0,4}))?", re.ASCII)
MOST_TEXT = 400
# What stands under other names, or in another form.
_SHOWN_ELSEWHERE = {"action", "actor", "time", "seq", "index", "subject_token", "token_hash", "expires"}


def known_action(value: Any) -> str:
    """Return an action, or a kind of them, such as `changeset`."""
    if value not in ACTIONS and value not in KINDS:
        raise ValidationError(f"must be one of {', '.join(ACTIONS)}, or what stands before the dot of one")
    return str(value)


def place_in_log(value: Any) -> tuple[int, int | None]:
    """Return the entry and the number in it that an id names; the number is None where it names the whole entry."""
    match = _ID.fullmatch(value) if type(value) is str else None
    if match is None:
        raise ValidationError("is not the _document_id of a row, nor a `through`")
    return int(match[1]), int(match[2]) if match[2] else None


_text = partial(fields.text, limit=("", MOST_TEXT))


def id_of_token(value: Any) -> str:
    """Return the id of a token."""
    if is_well_formed(text := _text(value)):
        raise ValidationError("is a token, which is a secret, and not the id of one; `sluice token list` shows ids")
    return text


class AuditSchema(LimitedSchema):
    """The arguments of a list of the audit."""

    limit = fields.Checked(fields.whole, "max_page")
    cursor = fields.Checked(fields.text)
    actor = fields.Checked(_text)
    action = fields.Checked(known_action)
    token_id = fields.Checked(id_of_token)
    slice = fields.Checked(fields.text)
    changeset = fields.Checked(fields.text)
    since = fields.Checked(fields.time)
    until = fields.Checked(fields.time)
    order = fields.choice({"newest": True, "oldest": False})
    after = fields.Checked(place_in_log)


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """What is asked of the audit; what was not given is None."""

    limit: int
    newest_first: bool
    given: Mapping[str, str]  # the filters as they were spelled, by which a cursor knows its list
    cursor: str | None = None
    actor: str | None = None
    action: str | None = None
    token_id: str | None = None
    slice: str | None = None
    changeset: str | None = None
    since: int | None = None
    until: int | None = None
    after: tuple[int, int | None] | None = None

    def wants(self, act: Act, slice_id: str | None) -> bool:
        """Tell whether an act is one of those that are asked for; `slice_id` is that of the slice."""
        return (
            (self.actor is None or (act.actor is not None and act.actor.principal == self.actor))
            and (self.token_id is None or (act.actor is not None and act.actor.token == self.token_id))
            and (self.action is None or self.action in (act.action, act.action.partition(".")[0]))
            and (slice_id is None or act.slice == slice_id)
        )


@lru_cache(maxsize=4)
def _schema(settings: Settings) -> AuditSchema:
    return AuditSchema(settings)


def load_audit_query(args: Mapping[str, Any], settings: Settings) -> AuditQuery:
    """Return what a request asks of the audit. Raises a Problem."""
    given = each_once(args)
    loaded = load_object(_schema(settings), given)
    newest_first = loaded.pop("order", "after" not in loaded)
    if newest_first and "after" in loaded:
        raise invalid("after", "goes with order=oldest")
    if "changeset" in loaded and loaded.keys() & {"after", "since", "until"}:
        raise invalid("changeset", "does not go with after, since and until")
    filters = {name: text for name, text in given.items() if name not in ("limit", "cursor")}
    limit = loaded.pop("limit", min(settings.default_page, settings.max_page))
    for name in loaded.keys() & {"since", "until"}:
        loaded[name] = loaded[name][0]
    return AuditQuery(limit, newest_first, filters, **loaded)


def act_json(act: Act) -> dict[str, Any]:
    """Return a row of the audit."""
    who = act.actor
    shown: dict[str, Any] = {
        "_document_id": f"{act.seq}-{act.index}" if act.seq else None,
        "created_at": None if act.time is None else _time(act.time),
        "action": act.action,
        "actor": who.principal if who else None,
        "actor_ip": (who.address or None) if who else None,
        "token_id": (who.token or None) if who else None,
        "request_id": (who.request or None) if who else None,
    }
    if act.subject_token:
        shown["token"] = act.subject_token
    if act.token_hash:
        shown["hashed_token"] = b64encode(bytes.fromhex(act.token_hash)).decode()
    if act.expires is not None:
        shown["expires"] = _time(act.expires)
    return shown | {name: value for name, value in to_builtins(act).items() if name not in _SHOWN_ELSEWHERE}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
