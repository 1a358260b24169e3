"""What marshmallow fields take here: no coercion, strict UTF-8 and named limits.

The stock fields turn numbers into texts, texts into numbers and `true` into 1. The functions here accept one type each,
and raise ValidationError, or fsck's error, on any other value; `Checked` makes a field of one. A limit is the name of a
setting, looked up when the schema is made, so that its error message can name it.
"""

import binascii
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from marshmallow import Schema, ValidationError
from marshmallow.fields import Field

from storage.backends.turns import breathe
from storage.base.ids import is_ulid
from storage.git.fsck import FsckError, PathError, check_path
from storage.git.paths import is_text, recorded_path

_OID = re.compile(r"[0-9a-f]{40}")
MAX_PRIORITY = 100
_KEY = re.compile(r"[\x20-\x7e]{1,200}")
# RFC 3339's form of ISO 8601; datetime alone takes many more, such as week dates.
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:[Zz]|[+-]\d\d:?\d\d)", re.ASCII)
_WHOLE = re.compile(r"[0-9]{1,9}", re.ASCII)
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)
_BASE64_PIECE = 1 << 20  # whole groups of four characters
_NO_OBJECT = "0" * 40
# The last second of 9999-12-30 in UTC: with any offset, of less than a day, it can still be written and read.
_LAST = 253402214399

Limit = tuple[str, int]  # the name of a setting, and its value
_NO_LIMIT = ("", 1 << 62)


class Checked(Field[Any]):
    """A field whose value is what `check` returns; where `limit` names a setting, `check` is given that limit."""

    def __init__(self, check: Callable[..., Any], limit: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.check = check
        self.limit_name = limit

    def _bind_to_schema(self, field_name: str, parent: Schema | Field[Any]) -> None:
        super()._bind_to_schema(field_name, parent)
        if self.limit_name:
            limit = getattr(parent.settings, self.limit_name)  # type: ignore[union-attr]
            self.check = partial(self.check, limit=(self.limit_name, limit))

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        try:
            return self.check(value)
        except (FsckError, PathError) as error:
            raise ValidationError(str(error)) from None


def utf8(value: Any) -> bytes:
    """Return a text's bytes; UTF-8 cannot carry half of a surrogate pair."""
    if type(value) is not str:
        raise ValidationError("must be a text")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise ValidationError("is not Unicode: it has half of a surrogate pair") from None


def within(size: int, limit: Limit, unit: str = "bytes") -> None:
    """Raise ValidationError where `size` exceeds a limit, naming it."""
    name, most = limit
    if size > most:
        raise ValidationError(f"has {size} {unit}; at most {most} are allowed ({name})")


def oid(value: Any, what: str = "an id") -> bytes:
    """Return an object id's 20 bytes; `what` is how an error calls it."""
    if type(value) is not str or not _OID.fullmatch(value) or value == _NO_OBJECT:
        raise ValidationError(f"must be {what}: 40 hexadecimal digits in lower case")
    return bytes.fromhex(value)


def text(value: Any, limit: Limit = _NO_LIMIT, check: Callable[[str], None] | None = None) -> str:
    """Return a text; with a check from storage/git/fsck.py."""
    within(len(utf8(value)), limit)
    if check:
        check(value)
    return str(value)


def encoded(value: Any, limit: Limit) -> bytes:
    """Return a text's bytes, within a limit."""
    content = utf8(value)
    within(len(content), limit)
    return content


def _decoded(text: bytes) -> bytes:
    """Decode base64, and let others run in between. Raises ValueError."""
    parts = []
    for i in range(0, len(text), _BASE64_PIECE):
        piece = text[i : i + _BASE64_PIECE]
        part = binascii.a2b_base64(piece, strict_mode=True)
        # strict_mode alone takes padding that is not needed, and bits behind the last byte.
        if binascii.b2a_base64(part, newline=False) != piece or (piece.endswith(b"=") and i + len(piece) < len(text)):
            raise ValueError
        parts.append(part)
        breathe()
    return b"".join(parts)


def from_base64(value: Any, limit: Limit) -> bytes:
    """Return bytes in base64: the standard alphabet, padded, nothing else in it."""
    if type(value) is not str:
        raise ValidationError("must be a text in base64")
    try:
        content = _decoded(value.encode("ascii"))
    except ValueError:
        raise ValidationError("is not base64") from None
    within(len(content), limit)
    return content


def path(value: Any, limit: Limit) -> tuple[bytes, bool]:
    """Return a file's path, and whether it is ordinary (see check_path)."""
    as_bytes = utf8(value)
    return as_bytes, check_path(as_bytes, limit[1])


def path_base64(value: Any, limit: Limit) -> tuple[bytes, bool]:
    """Return a path that is not UTF-8, as `path` does: any other has one spelling, and this is not it."""
    as_bytes = _not_utf8(value, limit)
    return as_bytes, check_path(as_bytes, limit[1])


def prefix_base64(value: Any, limit: Limit) -> bytes:
    """Return a directory's path that is not UTF-8, within a limit."""
    return _not_utf8(value, limit)


def _not_utf8(value: Any, limit: Limit) -> bytes:
    content = from_base64(value, limit)
    if is_text(recorded_path(content)):
        raise ValidationError("is the base64 of a text in UTF-8, which is given as it is")
    return content


def choice(choices: Mapping[str, Any], **kwargs: Any) -> Checked:
    """Return the field of one of a few texts, which may stand for values."""
    return Checked(partial(one_of, choices), **kwargs)


def one_of(choices: Mapping[str, Any], value: Any) -> Any:
    """Return what one of a few texts stands for."""
    if type(value) is not str or value not in choices:
        raise ValidationError(f"must be one of {', '.join(choices)}")
    return choices[value]


def flag(value: Any) -> bool:
    """Return true or false."""
    if type(value) is not bool:
        raise ValidationError("must be true or false")
    return value


def priority(value: Any) -> int:
    """Return a changeset's priority."""
    if type(value) is not int or not -MAX_PRIORITY <= value <= MAX_PRIORITY:
        raise ValidationError(f"must be a whole number from -{MAX_PRIORITY} to {MAX_PRIORITY}")
    return value


def base(value: Any) -> bytes | str:
    """Return a commit's id (as bytes) or a changeset's (str)."""
    if type(value) is not str:
        raise ValidationError("must be a commit's id, a changeset's id")
    return value if is_ulid(value) else oid(value, "a commit's id or a changeset's")


def item_base(value: Any) -> bytes | str | int:
    """Return as `base` does, or an earlier item's number (int)."""
    if type(value) is int:
        return value
    if type(value) is not str:
        raise ValidationError("must be a commit's id, a changeset's id, or an earlier item's number")
    return base(value)


def key(value: Any) -> str:
    """Return an idempotency key."""
    if type(value) is not str or not _KEY.fullmatch(value):
        raise ValidationError("must be 1 to 200 printable ASCII characters")
    return value


def time(value: Any) -> tuple[int, int]:
    """Return a time with its offset: seconds since the epoch, and minutes east of Greenwich."""
    if type(value) is not str or not _TIME.fullmatch(value):
        raise ValidationError("must be a time in ISO 8601 with its offset, such as 2026-01-31T12:00:00+01:00")
    try:
        moment = datetime.fromisoformat(value.upper())
        seconds = int(moment.timestamp())
    except (ValueError, OverflowError):
        raise ValidationError("is no time that exists") from None
    offset = moment.utcoffset()
    assert offset is not None
    # Git cannot write a time before 1970; fsck calls it a bad date.
    if seconds < 0:
        raise ValidationError("is before 1970, which Git cannot store")
    if seconds > _LAST:
        raise ValidationError("is beyond the year 9999 in some zone")
    return seconds, int(offset.total_seconds()) // 60


def whole(value: str, limit: Limit) -> int:
    """Return a whole number from 1, in a query."""
    if not _WHOLE.fullmatch(value) or int(value) == 0:
        raise ValidationError("must be a whole number from 1")
    if int(value) > limit[1]:
        raise ValidationError(f"is above {limit[1]} ({limit[0]})")
    return int(value)


def natural(value: Any) -> int:
    """Return a whole number from 1, in a body: a text is none."""
    if type(value) is not int or not 0 < value < 1 << 31:
        raise ValidationError("must be a whole number from 1")
    return value


def number(value: str) -> int:
    """Return a whole number from 1, in a query, where all is text."""
    return natural(int(value) if _WHOLE.fullmatch(value) else None)


def span(value: str, limit: Limit) -> float:
    """Return a time span in seconds, in a query; one above the limit counts as the limit."""
    if not _SECONDS.fullmatch(value):
        raise ValidationError("must be a number of seconds")
    return min(float(value), float(limit[1]))


def shown_time(seconds: float | None) -> str | None:
    """Return a time as answers have it, None where there is none."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
