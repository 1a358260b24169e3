"""The body of `resolve`: the result for each path in conflict."""

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from marshmallow.fields import Raw

from app.protocol import fields
from app.protocol.changesets.schemas import MODES
from app.protocol.loading import ErrorsAt, LimitedSchema, load_object, load_path, safe_name
from app.protocol.problems import invalid
from storage.backends.turns import breathe
from storage.base.settings import Settings
from storage.git.fsck import check_message
from storage.git.objects import SUBMODULE_MODE
from storage.git.paths import path_json


@dataclass(frozen=True, slots=True)
class Resolution:
    """What shall stand at a path that is in conflict."""

    take: str | None = None  # "ours", what stands in the head, or "theirs", what was submitted
    content: bytes | None = None
    mode: int | None = None
    delete: bool = False


class ResolveSchema(LimitedSchema):
    """The whole body."""

    paths = Raw()
    paths_base64 = Raw()
    message = fields.Checked(partial(fields.text, check=check_message), "max_message_bytes")


class ResolutionSchema(LimitedSchema):
    """One path's; exactly one of `take`, a content and `delete`."""

    take = fields.choice({"ours": "ours", "theirs": "theirs"})
    content = fields.Checked(fields.encoded, "max_blob_bytes")
    content_base64 = fields.Checked(fields.from_base64, "max_blob_bytes")
    delete = fields.Checked(fields.flag)
    mode = fields.choice({text: mode for text, mode in MODES.items() if mode != SUBMODULE_MODE})


def resolved_field(path: bytes) -> str:
    """Return the field of the body that has the resolution of a path."""
    [(at, name)] = path_json("paths", path).items()
    return f"{at}.{name}"


@lru_cache(maxsize=4)
def _schemas(settings: Settings) -> tuple[ResolveSchema, ResolutionSchema]:
    return ResolveSchema(settings), ResolutionSchema(settings)


def load_resolutions(data: Any, settings: Settings) -> tuple[dict[bytes, Resolution], str | None]:
    """Return the resolution of each path, and the message if one is given. Raises a Problem."""
    body, resolution = _schemas(settings)
    loaded = load_object(body, data)
    if "paths" not in loaded and "paths_base64" not in loaded:
        raise invalid("paths", "is missing")
    resolutions: dict[bytes, Resolution] = {}
    for at in ("paths", "paths_base64"):
        named = loaded.get(at, {})
        if type(named) is not dict or (at in loaded and not named):
            raise invalid(at, "must be an object with at least one path")
        with ErrorsAt(at):
            fields.within(len(resolutions) + len(named), ("max_changes", settings.max_changes), "paths")
        for name, given in named.items():
            field = f"{at}.{safe_name(name)}"
            path = load_path(name, settings, field, encoded=at == "paths_base64")
            resolutions[path] = _resolution(resolution, given, field)
    return resolutions, loaded.get("message")


def _resolution(schema: ResolutionSchema, data: Any, field: str) -> Resolution:
    breathe()
    loaded = load_object(schema, data, field)
    delete = loaded.get("delete", False)
    if sum(name in loaded for name in ("take", "content", "content_base64")) + delete != 1:
        raise invalid(field, "give exactly one of take, content, content_base64 and delete")
    content = loaded["content"] if "content" in loaded else loaded.get("content_base64")
    if "mode" in loaded and content is None:
        raise invalid(f"{field}.mode", "belongs to a content")
    return Resolution(loaded.get("take"), content, loaded.get("mode"), delete)
