"""Slices as requests bring them: one, many, and the other paths of one."""

from functools import lru_cache, partial
from typing import Any, NamedTuple

from marshmallow.fields import Raw

from app.protocol import fields
from app.protocol.loading import ErrorsAt, LimitedSchema, load_object
from app.protocol.paths import check_list, check_paths
from app.protocol.problems import Invalid
from app.protocol.url_names import check_name
from storage.backends.turns import breathe
from storage.base.settings import Settings


class SliceSchema(LimitedSchema):
    """A slice, as it is asked for."""

    name = fields.Checked(partial(fields.text, check=check_name), required=True)
    paths = Raw(required=True)


class SlicePathsSchema(LimitedSchema):
    """A slice's other paths, and the version that it must still have."""

    paths = Raw(required=True)
    version = fields.Checked(fields.natural)


class BulkSlicesSchema(LimitedSchema):
    """The envelope of a request for many slices."""

    slices = Raw(required=True)


class _Schemas(NamedTuple):
    one: SliceSchema
    paths: SlicePathsSchema
    many: BulkSlicesSchema


@lru_cache(maxsize=4)
def _schemas(settings: Settings) -> _Schemas:
    return _Schemas(SliceSchema(settings), SlicePathsSchema(settings), BulkSlicesSchema(settings))


def load_slice(data: Any, settings: Settings) -> tuple[str, list[str]]:
    """Return the name and the paths of a slice that is asked for. Raises a Problem."""
    return _slice(data, settings, "")


def load_slices(data: Any, settings: Settings) -> list[tuple[str, list[str]] | Invalid]:
    """Return name and paths of each slice of a bulk request, or its problem. Raises a Problem of the envelope."""
    items = load_object(_schemas(settings).many, data)["slices"]
    check_list("slices", items, ("max_bulk_slices", settings.max_bulk_slices))
    lists = [item.get("paths") for item in items if type(item) is dict]
    count = sum(len(paths) for paths in lists if type(paths) is list)
    with ErrorsAt("slices"):
        fields.within(count, ("max_bulk_paths", settings.max_bulk_paths), "paths together")
    loaded: list[tuple[str, list[str]] | Invalid] = []
    for position, item in enumerate(items):
        breathe()
        try:
            loaded.append(_slice(item, settings, f"slices[{position}]"))
        except Invalid as problem:
            loaded.append(problem)
    return loaded


def _slice(data: Any, settings: Settings, prefix: str) -> tuple[str, list[str]]:
    loaded = load_object(_schemas(settings).one, data, prefix)
    return loaded["name"], check_paths(loaded["paths"], settings, (prefix and prefix + ".") + "paths")


def load_slice_paths(data: Any, settings: Settings) -> tuple[list[str], int | None]:
    """Return the paths that a slice shall have, and the version that it must still have. Raises a Problem."""
    loaded = load_object(_schemas(settings).paths, data)
    return check_paths(loaded["paths"], settings), loaded.get("version")
