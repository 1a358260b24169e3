"""How the versions of a file differ, as answers show it."""

from base64 import b64encode
from typing import Any, NamedTuple

from msgspec import to_builtins

from app.routes.files.contents import Contents, Omitted
from storage.git.objects import Version
from storage.git.unified_diff import LineDiff, line_diff
from storage.log.records import RecordedVersion


class Changed(NamedTuple):
    """A path, with the version before and the one after."""

    path: bytes
    old: Version | None
    new: Version | None
    source: bytes | None = None  # where the version before was, if it moved from there


def shown_diff(changed: Changed, contents: Contents) -> dict[str, Any]:
    """Return how a file's versions differ, as answers show it."""
    path, old, new, source = changed
    before, after = (contents.of(version) if version else None for version in (old, new))
    omitted = next((content for content in (before, after) if isinstance(content, Omitted)), None)
    compared = LineDiff(binary=False)  # of what is too large, or was never stored here, no lines are shown
    if not isinstance(before, Omitted) and not isinstance(after, Omitted):
        compared = line_diff(path, before, after, source)
        omitted = Omitted.BINARY if compared.binary else None
    item = {
        **text_json("path", path),  # of an imported history it may be no text
        "status": _status(changed),
        "old": to_builtins(RecordedVersion.of(old)),
        "new": to_builtins(RecordedVersion.of(new)),
        "binary": compared.binary,
        "additions": compared.additions,
        "deletions": compared.deletions,
        "patch": None,
    }
    if source is not None:
        item |= text_json("from", source)
    return item | (text_json("patch", compared.patch) if compared.patch is not None else {"omitted": omitted})


def _status(changed: Changed) -> str:
    if changed.source is not None:
        return "renamed"
    return "added" if changed.old is None else "deleted" if changed.new is None else "modified"


def text_json(name: str, text: bytes) -> dict[str, Any]:
    """Return a text under `name`; where it is not UTF-8 its bytes, under `<name>_base64`: none is changed."""
    try:
        return {name: text.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": b64encode(text).decode()}
