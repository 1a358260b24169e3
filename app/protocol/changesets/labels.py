"""Labels: what writers want to find changesets by later, such as a ticket."""

import re
import unicodedata
from typing import Any

from marshmallow import ValidationError

from app.protocol import fields
from app.protocol.loading import ErrorsAt, safe_name
from app.protocol.problems import invalid
from storage.base.settings import Settings

KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")
"""What a label's key is. It has no colon, which stands between key and value where a list is asked for a label."""


def load_labels(value: Any, settings: Settings, field: str) -> dict[str, str]:
    """Return the labels of a changeset, in the order of their keys. Raises Invalid."""
    if type(value) is not dict:
        raise invalid(field, "must be an object")
    with ErrorsAt(field):
        fields.within(len(value), ("max_labels", settings.max_labels), "labels")
    labels = {}
    for key, text in sorted(value.items()):
        with ErrorsAt(f"{field}.{safe_name(key)}"):
            if not KEY.fullmatch(key):
                raise ValidationError("has a key that does not match " + KEY.pattern)
            labels[key] = label_text(text)
    with ErrorsAt(field):
        size = sum(len(key) + len(text.encode()) for key, text in labels.items())
        fields.within(size, ("max_label_bytes", settings.max_label_bytes))
    return labels


def label_text(value: Any) -> str:
    """Return the value of a label: one line that is not empty."""
    text = fields.text(value)
    if not text.strip() or any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text):
        raise ValidationError("must be one line of text that is not empty")
    return text


def label(value: Any) -> tuple[str, str]:
    """Return the label that a query asks for, `key:value`."""
    key, colon, text = fields.text(value).partition(":")
    if not colon or not KEY.fullmatch(key):
        raise ValidationError("must be a label, key:value")
    return key, label_text(text)
