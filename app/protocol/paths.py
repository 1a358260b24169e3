"""Lists of path prefixes, as slices, tokens and queries have them."""

from typing import Any

from marshmallow import ValidationError

from app.protocol import fields
from app.protocol.loading import ErrorsAt
from app.protocol.problems import invalid
from storage.base.settings import Settings
from storage.git.fsck import check_path


def check_paths(items: Any, settings: Settings, field: str = "paths") -> list[str]:
    """Return a list of path prefixes: `/`, directories that end with a slash, and files. Raises a Problem."""
    check_list(field, items, ("max_slice_paths", settings.max_slice_paths))
    seen: set[str] = set()
    for i, item in enumerate(items):
        with ErrorsAt(f"{field}[{i}]"):
            path_prefix(item, settings)
            if item in seen:
                raise ValidationError("is given twice")
        seen.add(item)
    return list(items)


def path_prefix(value: Any, settings: Settings) -> str:
    """Return a path prefix. Raises ValidationError and PathError."""
    path = fields.utf8(value)
    if path != b"/":
        check_path(path.removesuffix(b"/"), settings.max_path_bytes)
    return str(value)


def check_list(field: str, items: Any, limit: tuple[str, int]) -> None:
    """Check that a field is a list with items, within a limit. Raises a Problem."""
    if type(items) is not list or not items:
        raise invalid(field, "must be a list with at least one item")
    with ErrorsAt(field):
        fields.within(len(items), limit, "items")
