"""Marshmallow fields without coercion, with strict UTF-8 and named limits.

The stock fields turn numbers into texts, texts into numbers and `true` into 1. These accept one type each. A limit is
the name of a setting, looked up when the schema is made, so that its error message can name it.
"""

import binascii
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from marshmallow import Schema, ValidationError
from marshmallow.fields import Field

from storage.backends.turns import breathe
from storage.base.ids import is_ulid
from storage.git.fsck import FsckError, PathError, check_path

_OID = re.compile(r"[0-9a-f]{40}")
_KEY = re.compile(r"[\x20-\x7e]{1,200}")
# RFC 3339's form of ISO 8601; datetime alone takes many more, such as week dates.
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:[Zz]|[+-]\d\d:?\d\d)", re.ASCII)
_WHOLE = re.compile(r"[0-9]{1,9}", re.ASCII)
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)
_BASE64_PIECE = 1 << 20  # whole groups of four characters
_NO_OBJECT = "0" * 40
# The last second of 9999-12-30 in UTC: with any offset, of less than a day, it can still be written and read.
_LAST = 253402214399

Data = Mapping[str, Any] | None


def utf8(value: Any) -> bytes:
    """Return a text's bytes.

    Raises ValidationError where it is no text, or has half of a surrogate pair, which UTF-8 cannot carry.
    """
    if type(value) is not str:
        raise ValidationError("must be a text")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise ValidationError("is not Unicode: it has half of a surrogate pair") from None


def within(size: int, limit: tuple[str, int], unit: str = "bytes") -> None:
    """Raise ValidationError where `size` exceeds a limit, naming it."""
    name, most = limit
    if size > most:
        raise ValidationError(f"has {size} {unit}; at most {most} are allowed ({name})")


def oid(value: Any, what: str = "an id") -> bytes:
    """Return an object id's 20 bytes."""
    if type(value) is not str or not _OID.fullmatch(value) or value == _NO_OBJECT:
        raise ValidationError(f"must be {what}: 40 hexadecimal digits in lower case")
    return bytes.fromhex(value)


class Limited(Field[Any]):
    """A field with the limit that a setting gives."""

    def __init__(self, limit: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.limit_name = limit
        self.limit = ("", 1 << 62)

    def _bind_to_schema(self, field_name: str, parent: Schema | Field[Any]) -> None:
        super()._bind_to_schema(field_name, parent)
        if self.limit_name:
            self.limit = (self.limit_name, getattr(parent.settings, self.limit_name))  # type: ignore[union-attr]


class Text(Limited):
    """A text; with a check from storage/git/fsck.py, whose ValueError says what is wrong."""

    def __init__(self, limit: str | None = None, check: Callable[[str], None] | None = None, **kwargs: Any) -> None:
        super().__init__(limit, **kwargs)
        self.check = check

    def _deserialize(self, value: Any, attr: str | None, data: Data, **kwargs: Any) -> str:
        within(len(utf8(value)), self.limit)
        if self.check:
            try:
                self.check(value)
            except FsckError as error:
                raise ValidationError(str(error)) from None
        return str(value)


class Bytes(Limited):
    """A text, as its bytes."""

    def _deserialize(self, value: Any, attr: str | None, data: Data, **kwargs: Any) -> bytes:
        content = utf8(value)
        within(len(content), self.limit)
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


class Base64(Limited):
    """Bytes in base64: the standard alphabet, padded, nothing else in it."""

    def _deserialize(self, value: Any, attr: str | None, data: Data, **kwargs: Any) -> bytes:
        if type(value) is not str:
            raise ValidationError("must be a text in base64")
        try:
            content = _decoded(value.encode("ascii"))
        except ValueError:
            raise ValidationError("is not base64") from None
        within(len(content), self.limit)
        return content


class Path(Limited):
    """A file's path, as bytes, and whether it is ordinary (see check_path)."""

    def __init__(self) -> None:
        super().__init__("max_path_bytes", required=True)

    def _deserialize(self, value: Any, attr: str | None, data: Data, **kwargs: Any) -> tuple[bytes, bool]:
        path = utf8(value)
        try:
            return path, check_path(path, self.limit[1])
        except PathError as error:
            raise ValidationError(str(error)) from None


class Choice(Field[Any]):
    """One of a few texts, which may stand for values."""

    def __init__(self, choices: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.choices = choices

    def _deserialize(self, value: Any, attr: str | None, data: Data, **kwargs: Any) -> Any:
        if type(value) is not str or value not in self.choices:
            raise ValidationError(f"must be one of {', '.join(self.choices)}")
        return self.choices[value]


class Flag(Field[Any]):
    """true or false."""

    def _deserialize(self, value: Any, attr: str | None, data: Data, **kwargs: Any) -> bool:
        if type(value) is not bool:
            raise ValidationError("must be true or false")
        return value


class Oid(Field[Any]):
    """An object's id: 40 hexadecimal digits, as 20 bytes."""

    def _deserialize(self, value: Any, attr: str | None, data: Data, **kwargs: Any) -> bytes:
        return oid(value)


class Base(Field[Any]):
    """A commit's id (as bytes), a changeset's id (str) or, where `positions`, an earlier item's number (int)."""

    def __init__(self, positions: bool) -> None:
        super().__init__()
        self.positions = positions

    def _deserialize(self, value: Any, attr: str | None, data: Data, **kwargs: Any) -> bytes | str | int:
        if type(value) is str:
            if is_ulid(value):
                return value
            return oid(value, "a commit's id or a changeset's")
        if type(value) is int and self.positions:
            return value
        raise ValidationError(
            "must be a commit's id, a changeset's id" + (", or an earlier item's number" if self.positions else "")
        )


class Key(Field[Any]):
    """An idempotency key."""

    def _deserialize(self, value: Any, attr: str | None, data: Data, **kwargs: Any) -> str:
        if type(value) is not str or not _KEY.fullmatch(value):
            raise ValidationError("must be 1 to 200 printable ASCII characters")
        return value


class Time(Field[Any]):
    """A time with its offset: seconds since the epoch, and minutes east of Greenwich."""

    def _deserialize(self, value: Any, attr: str | None, data: Data, **kwargs: Any) -> tuple[int, int]:
        if type(value) is not str or not _TIME.fullmatch(value):
            raise ValidationError("must be a time in ISO 8601 with its offset, such as 2026-01-31T12:00:00+01:00")
        try:
            time = datetime.fromisoformat(value.upper())
            seconds = int(time.timestamp())
        except (ValueError, OverflowError):
            raise ValidationError("is no time that exists") from None
        offset = time.utcoffset()
        assert offset is not None
        # Git cannot write a time before 1970; fsck calls it a bad date.
        if seconds < 0:
            raise ValidationError("is before 1970, which Git cannot store")
        if seconds > _LAST:
            raise ValidationError("is beyond the year 9999 in some zone")
        return seconds, int(offset.total_seconds()) // 60


class Whole(Limited):
    """A whole number from 1, in a query."""

    def _deserialize(self, value: Any, attr: str | None, data: Data, **kwargs: Any) -> int:
        if not _WHOLE.fullmatch(value) or int(value) == 0:
            raise ValidationError("must be a whole number from 1")
        if int(value) > self.limit[1]:
            raise ValidationError(f"is above {self.limit[1]} ({self.limit[0]})")
        return int(value)


class Natural(Field[Any]):
    """A whole number from 1, in a body: a text is none."""

    def _deserialize(self, value: Any, attr: str | None, data: Data, **kwargs: Any) -> int:
        if type(value) is not int or not 0 < value < 1 << 31:
            raise ValidationError("must be a whole number from 1")
        return value


class Number(Natural):
    """A whole number from 1, in a query, where all is text."""

    def _deserialize(self, value: Any, attr: str | None, data: Data, **kwargs: Any) -> int:
        return super()._deserialize(int(value) if _WHOLE.fullmatch(value) else None, attr, data, **kwargs)


class Seconds(Limited):
    """A time span in seconds, in a query; one above the limit counts as the limit."""

    def _deserialize(self, value: Any, attr: str | None, data: Data, **kwargs: Any) -> float:
        if not _SECONDS.fullmatch(value):
            raise ValidationError("must be a number of seconds")
        return min(float(value), float(self.limit[1]))
