"""The body of `resolve`: the result for each path in conflict."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from marshmallow import ValidationError
from marshmallow.fields import Raw

from app.protocol import fields
from app.protocol.loading import FieldErrors, LimitedSchema, field_error, load_object, message_of, safe_name
from app.protocol.schemas import MODES
from storage.backends.turns import breathe
from storage.base.settings import Settings
from storage.git.fsck import PathError, check_message, check_path
from storage.git.objects import SUBMODULE_MODE


@dataclass(frozen=True, slots=True)
class Resolution:
    """What shall stand at a path that is in conflict."""

    take: str | None = None  # "ours", what stands in the head, or "theirs", what was submitted
    content: bytes | None = None
    mode: int | None = None
    delete: bool = False


class ResolveSchema(LimitedSchema):
    """The whole body."""

    paths = Raw(required=True)
    message = fields.Text("max_message_bytes", check=check_message)


class ResolutionSchema(LimitedSchema):
    """One path's; exactly one of `take`, a content and `delete`."""

    take = fields.Choice({"ours": "ours", "theirs": "theirs"})
    content = fields.Bytes("max_blob_bytes")
    content_base64 = fields.Base64("max_blob_bytes")
    delete = fields.Flag()
    mode = fields.Choice({text: mode for text, mode in MODES.items() if mode != SUBMODULE_MODE})


@lru_cache(maxsize=4)
def _schemas(settings: Settings) -> tuple[ResolveSchema, ResolutionSchema]:
    return ResolveSchema(settings), ResolutionSchema(settings)


def load_resolutions(data: Any, settings: Settings) -> tuple[dict[bytes, Resolution], str | None]:
    """Return the resolution of each path, and the message if one is given. Raises a Problem."""
    whole, one = _schemas(settings)
    try:
        loaded = load_object(whole, data)
        if type(loaded["paths"]) is not dict or not loaded["paths"]:
            raise field_error("paths", "must be an object with at least one path")
        fields.within(len(loaded["paths"]), ("max_changes", settings.max_changes), "paths")
        found = {_path(name, settings): _resolution(one, each, name) for name, each in loaded["paths"].items()}
        return found, loaded.get("message")
    except FieldErrors as error:
        raise error.problem() from None
    except ValidationError as error:
        raise field_error("paths", message_of(error)).problem() from None


def _path(name: str, settings: Settings) -> bytes:
    try:
        path = fields.utf8(name)
        check_path(path, settings.max_path_bytes)
    except (PathError, ValidationError) as error:
        raise field_error(f"paths.{safe_name(name)}", message_of(error)) from None
    return path


def _resolution(schema: ResolutionSchema, data: Any, name: str) -> Resolution:
    breathe()
    field = f"paths.{safe_name(name)}"
    loaded = load_object(schema, data, field)
    delete = loaded.get("delete", False)
    given = [each for each in ("take", "content", "content_base64") if each in loaded] + ["delete"] * delete
    if len(given) != 1:
        raise field_error(field, "give exactly one of take, content, content_base64 and delete")
    content = loaded["content"] if "content" in loaded else loaded.get("content_base64")
    if "mode" in loaded and content is None:
        raise field_error(f"{field}.mode", "belongs to a content")
    return Resolution(loaded.get("take"), content, loaded.get("mode"), delete)
