"""Mirrors as requests bring them and answers show them."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any, NamedTuple

from marshmallow import ValidationError
from marshmallow.fields import Raw

from app.protocol import fields
from app.protocol.loading import ErrorsAt, LimitedSchema, load_object
from storage.base.settings import Settings
from storage.mirrors.records import Direction, Mirror, Stopped
from storage.mirrors.remotes import NAME, check_ref, check_url

MAX_DETAIL = 1000
"""Bytes of what is said of a mirror for people."""
MAX_BEHIND = 1_000_000_000
REPORTED = (Stopped.ASKED, Stopped.DIVERGED, Stopped.CONFLICT)
"""Why a request may have a mirror stopped."""
_WORD = 40


class MirrorSchema(LimitedSchema):
    """A mirror that is asked for."""

    name = Raw(required=True)
    url = Raw(required=True)
    ref = Raw(required=True)
    direction = Raw()
    slice = Raw(allow_none=True)
    start = Raw(allow_none=True)


class MirrorStopSchema(LimitedSchema):
    """Why a mirror is to be stopped."""

    reason = Raw()
    detail = fields.Checked(partial(fields.text, limit=("", MAX_DETAIL)))


class MirrorReportSchema(LimitedSchema):
    """What the process that takes a mirror's commits has seen."""

    remote = Raw()
    taken = Raw(allow_none=True)
    behind = Raw(required=True)
    error = fields.Checked(partial(fields.text, limit=("", _WORD)))
    detail = fields.Checked(partial(fields.text, limit=("", MAX_DETAIL)))


class WantedMirror(NamedTuple):
    """A mirror that is asked for; its slice by name or id."""

    name: str
    url: str
    ref: str
    direction: Direction
    slice: str | None
    start: str


class Report(NamedTuple):
    """What was seen of a mirror; ids in hexadecimal, empty where there is none."""

    remote: str
    taken: str
    behind: int
    error: str
    detail: str


@lru_cache(maxsize=4)
def _schemas(settings: Settings) -> tuple[MirrorSchema, MirrorStopSchema, MirrorReportSchema]:
    return MirrorSchema(settings), MirrorStopSchema(settings), MirrorReportSchema(settings)


def load_mirror(data: Any, settings: Settings) -> WantedMirror:
    """Return the mirror that a request asks for. Raises a Problem that names the field."""
    loaded = load_object(_schemas(settings)[0], data)
    with ErrorsAt("name"):
        name = fields.text(loaded["name"])
        if not NAME.fullmatch(name):
            raise ValidationError("must be 1 to 63 lower-case letters, digits, `.`, `_` and `-`")
    with ErrorsAt("url"):
        url = _checked(
            lambda text: check_url(text, settings.mirror_private_targets, bool(settings.mirror_ssh_command)),
            loaded["url"],
        )
    with ErrorsAt("ref"):
        ref = _checked(check_ref, loaded["ref"])
    with ErrorsAt("direction"):
        direction = Direction(_one_of(loaded.get("direction", Direction.OUT), list(Direction)))
    slice_name = loaded.get("slice")
    with ErrorsAt("slice"):
        if slice_name is not None:
            fields.text(slice_name, ("max_path_bytes", settings.max_path_bytes))
        elif direction == Direction.IN:
            raise ValidationError("is missing: the slice that takes the commits")
    with ErrorsAt("start"):
        start = loaded.get("start")
        if start is not None:
            fields.oid(start, "the id of a commit")
            if direction == Direction.OUT:
                raise ValidationError("is only of a mirror whose commits are taken")
    return WantedMirror(name, url, ref, direction, slice_name, start or "")


def load_stop(data: Any, settings: Settings) -> tuple[Stopped, str]:
    """Return why a request wants a mirror stopped, and the details. Raises a Problem that names the field."""
    loaded = load_object(_schemas(settings)[1], data)
    with ErrorsAt("reason"):
        reason = Stopped(_one_of(loaded.get("reason", Stopped.ASKED), list(REPORTED)))
    return reason, loaded.get("detail", "")


def load_report(data: Any, settings: Settings) -> Report:
    """Return what a request says was seen of a mirror. Raises a Problem that names the field."""
    loaded = load_object(_schemas(settings)[2], data)
    ids = {}
    for name in ("remote", "taken"):
        with ErrorsAt(name):
            ids[name] = loaded.get(name) or ""
            if ids[name]:
                fields.oid(ids[name], "the id of a commit")
    with ErrorsAt("behind"):
        behind = loaded["behind"]
        if type(behind) is not int or not 0 <= behind <= MAX_BEHIND:
            raise ValidationError(f"must be a whole number from 0 to {MAX_BEHIND}")
    return Report(ids["remote"], ids["taken"], behind, loaded.get("error", ""), loaded.get("detail", ""))


def _checked(check: Any, value: Any) -> str:
    text = fields.text(value)
    try:
        check(text)
    except ValueError as error:
        raise ValidationError(str(error)) from None
    return text


def _one_of(value: Any, known: list[Any]) -> str:
    if not isinstance(value, str) or value not in known:
        raise ValidationError(f"must be one of {', '.join(known)}")
    return str(value)


def mirror_json(mirror: Mirror) -> dict[str, Any]:
    """Return a mirror as the API shows it."""
    return {
        "name": mirror.name,
        "url": mirror.url,
        "ref": mirror.ref,
        "direction": mirror.direction,
        "slice": mirror.slice,
        "start": mirror.start or None,
        "stopped": mirror.stopped,
        "detail": mirror.detail or None,
        "stopped_at": fields.shown_time(mirror.since),
        "created_at": fields.shown_time(mirror.created),
    }
