"""Tags as requests bring them and answers show them."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any, NamedTuple

from app.protocol import fields
from app.protocol.loading import ErrorsAt, LimitedSchema, load_object
from storage.base.ids import ObjectId
from storage.base.settings import Settings
from storage.git.fsck import FsckError, check_tag_name


def check_tag_message(text: str) -> None:
    """Check the message of a tag. Raises FsckError."""
    if not text.strip("\n"):
        raise FsckError("is empty")
    if "\0" in text:
        raise FsckError("contains a NUL")


class TagSchema(LimitedSchema):
    """A tag, as it is asked for."""

    commit = fields.Checked(fields.oid, required=True)
    message = fields.Checked(partial(fields.text, check=check_tag_message), "max_message_bytes", allow_none=True)


class WantedTag(NamedTuple):
    """A tag that is asked for; without a message it is a lightweight one."""

    commit: ObjectId
    message: str | None


@lru_cache(maxsize=4)
def _schema(settings: Settings) -> TagSchema:
    return TagSchema(settings)


def load_tag(data: Any, settings: Settings) -> WantedTag:
    """Return the tag that a request asks for. Raises a Problem that names the field."""
    loaded = load_object(_schema(settings), data)
    return WantedTag(ObjectId(loaded["commit"]), loaded.get("message"))


def load_tag_name(name: str) -> str:
    """Return the name of a tag that stands in a URL. Raises a Problem."""
    with ErrorsAt("tag"):
        check_tag_name(name)
    return name
