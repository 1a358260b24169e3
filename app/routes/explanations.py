"""Showing what a changeset says and what collides: the diff of each file, and the hunks of each conflict."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar, cast

from flask import Blueprint, Response, current_app, jsonify, request
from flask.blueprints import BlueprintSetupState

from app import cursors
from app.errors import not_found
from app.queries import load_path, load_query
from app.refusals import refusing_for_sure
from app.routes.changesets import standing_of
from app.routes.pages import blob_response, page_room
from app.services import services
from storage.explain import Explainer, Explanation, Lines
from storage.ids import ChangesetId, ObjectId, PackId
from storage.inbox import read_changesets
from storage.linediff import LineDiff, line_diff
from storage.manifest import Changeset
from storage.objects import EXECUTABLE_MODE, FILE_MODE, SUBMODULE_MODE, Version
from storage.packs import Location
from storage.queue import Standing
from storage.seen import look
from storage.store import ObjectMissing
from storage.threeway import ConflictClass, is_binary

routes = Blueprint("explanations", __name__)

# Files whose contents are read at once, of so many bytes unless one alone has more; and changes for which it is looked
# up at once what was seen.
_TOGETHER = 16
_TOGETHER_BYTES = 256 << 10
_LOOKUPS = 100
_SIDES = ("base", "head", "submitted")
_EXPLAINED = {ConflictClass.CONTENT, ConflictClass.ADD_ADD}
_TEXT_MODES = {FILE_MODE, EXECUTABLE_MODE}

Json = dict[str, Any]
T = TypeVar("T")

Changed = tuple[bytes, Version | None, Version | None]
"""A path, with what was seen there and what was submitted."""


@routes.record_once
def _open(state: BlueprintSetupState) -> None:
    settings = state.app.extensions["sluice"].settings
    state.app.extensions["sluice-explainer"] = Explainer(settings.merge_timeout)


@routes.get("/changesets/<changeset>/diff")
@refusing_for_sure
def diff(changeset: str) -> Response:
    """Show what a changeset's writer changed, against what the writer saw."""
    after, limit = _position("diff", changeset)
    said = _read(changeset, standing_of(changeset))
    contents = _Contents(said)

    def show(batch: Sequence[Changed]) -> Iterator[tuple[Json, int]]:
        for group in contents.groups(batch, lambda each: each[1:]):
            yield from (_shown_diff(each, contents) for each in group)

    return _page("diff", changeset, _changed(said, after, contents), limit, show)


@routes.get("/changesets/<changeset>/conflicts")
@refusing_for_sure
def conflicts(changeset: str) -> Response:
    """Show the conflicts of a changeset, with what an editor needs; none where it is not conflicted."""
    after, limit = _position("explained", changeset)
    standing = standing_of(changeset)
    found = (standing.outcome or {}).get("conflicts", [])
    waiting = sorted(
        (each for each in found if each["path"].encode() > after), key=lambda each: bytes(each["path"].encode())
    )
    contents = _Contents(_read(changeset, standing)) if waiting else None

    def show(batch: Sequence[Json]) -> Iterator[tuple[Json, int]]:
        assert contents is not None
        for group in contents.groups(batch, lambda each: _versions(each) or ()):
            yield from _shown_conflicts(group, contents)

    return _page("explained", changeset, iter(waiting), limit, show)


@routes.get("/changesets/<changeset>/conflicts/<side>/<path:path>")
@refusing_for_sure
def side(changeset: str, side: str, path: str) -> Response:
    """Return the bytes of one side of a conflict: base, head or submitted."""
    if side not in _SIDES:
        raise not_found("side", side)
    raw = load_path(path, services().settings)
    load_query(request.args, services().settings)
    standing = standing_of(changeset)
    found = (standing.outcome or {}).get("conflicts", [])
    version = next((_version(each[side]) for each in found if each["path"].encode() == raw), None)
    if version is None or version.mode == SUBMODULE_MODE or version.is_tree:
        raise not_found(side, path)
    places = _Contents(_read(changeset, standing)).places
    try:
        content = services().repo.objects.blob(version.oid, places.get(version.oid))
    except ObjectMissing:
        raise not_found(side, path) from None  # a base by versions may name what was never stored here
    return blob_response(version, content)


def _position(name: str, changeset: str) -> tuple[bytes, int]:
    """Return the path behind which the page begins, and how many items it may have."""
    query = load_query(request.args, services().settings, "limit", "cursor")
    if query.cursor is None:
        return b"", query.limit
    return bytes(cursors.decode(query.cursor, name, {"changeset": changeset}, (bytes,))[0]), query.limit  # type: ignore[arg-type]


def _page(
    name: str,
    changeset: str,
    found: Iterator[T],
    limit: int,
    show: Callable[[Sequence[T]], Iterator[tuple[Json, int]]],
) -> Response:
    """Answer with a page of `found`; `show` yields items, with how much text each shows."""
    items: list[Json] = []
    # An item is shown that is ready after the end: a page has one at least.
    room, end = page_room(), time.monotonic() + services().settings.merge_timeout
    left, full = 0, False
    while not full and (batch := list(islice(found, min(_TOGETHER, limit - len(items))))):
        left = len(batch)
        for item, size in show(batch):
            items.append(item)
            left, room = left - 1, room - size
            time.sleep(0)  # others may run: an item is bounded, and a page is many
            full = room <= 0 or len(items) == limit or time.monotonic() > end
            if full:
                break
    more = left > 0 or next(found, None) is not None
    following = cursors.encode(name, {"changeset": changeset}, (items[-1]["path"].encode(),)) if more else None
    return jsonify({"items": items, "next": following})


def _read(changeset: str, standing: Standing) -> Changeset:
    pack = PackId(standing.outcome["pack"]) if standing.outcome else standing.pack
    assert pack is not None, "what stands somewhere has a pack"
    repo = services().repo
    return read_changesets(repo.archive, repo.queue, [(ChangesetId(changeset), pack)])[0]


def _changed(said: Changeset, after: bytes, contents: _Contents) -> Iterator[Changed]:
    """Yield what a changeset changes, by path, behind `after`; what it leaves as it was is no change."""
    changes = iter(sorted((each for each in said.changes if each.path > after), key=lambda each: each.path))
    while batch := list(islice(changes, _LOOKUPS)):
        seen = look(services().repo, said, [change.path for change in batch])
        contents.places |= seen.places
        for change in batch:
            old = seen.versions[change.path]
            new = change.version(old)
            if old is not None and old.mode == 0:
                old = Version(FILE_MODE, old.oid)  # a delete by versions says no mode
            if old != new:
                yield change.path, old, new


def _shown_diff(changed: Changed, contents: _Contents) -> tuple[Json, int]:
    path, old, new = changed
    before, after = contents.of(old), contents.of(new)
    found = LineDiff(binary=False)  # of what is too large, or was never stored here, nothing is said
    if (before is not None or old is None) and (after is not None or new is None):
        found = line_diff(path, before, after)
    status = "added" if old is None else "deleted" if new is None else "modified"
    item = {
        "path": path.decode(),
        "status": status,
        "old": _version_json(old),
        "new": _version_json(new),
        "binary": found.binary,
        "additions": found.additions,
        "deletions": found.deletions,
        "patch": None if found.patch is None else found.patch.decode(errors="replace"),
    }
    return item, len(found.patch or b"")


def _shown_conflicts(group: Sequence[Json], contents: _Contents) -> Iterator[tuple[Json, int]]:
    versions = [_versions(each) for each in group]
    texts = [_texts(three, contents) if three else None for three in versions]
    explainer = cast(Explainer, current_app.extensions["sluice-explainer"])
    explained = explainer.together([three for three in texts if three])
    for conflict, three in zip(group, texts, strict=True):
        item = conflict | _explanation_json(next(explained) if three else None)
        yield item, len(current_app.json.dumps(item))


def _versions(conflict: Json) -> tuple[Version | None, Version, Version] | None:
    """Return the versions of a conflict that has texts to show."""
    if conflict["class"] not in _EXPLAINED:
        return None
    base, head, submitted = (_version(conflict[side]) for side in ("base", "head", "submitted"))
    if head is None or submitted is None or not {head.mode, submitted.mode} <= _TEXT_MODES:
        return None
    # A base of another kind, such as a symlink, says nothing of the lines.
    return base if base and base.mode in _TEXT_MODES else None, head, submitted


def _texts(
    three: tuple[Version | None, Version, Version], contents: _Contents
) -> tuple[bytes | None, bytes, bytes] | None:
    base, ours, theirs = (contents.of(version) for version in three)
    if ours is None or theirs is None or (base is None and three[0] is not None):
        return None
    return None if any(map(is_binary, (base or b"", ours, theirs))) else (base, ours, theirs)


def _explanation_json(found: Explanation | None) -> Json:
    if found is None:
        return {"hunks": None, "marked": None}
    hunks = None
    if found.hunks is not None:
        hunks = [
            {side: _lines_json(getattr(each, side)) for side in ("base", "ours", "theirs")} for each in found.hunks
        ]
    try:
        marked = {"marked": found.marked.decode()}
    except UnicodeDecodeError:
        marked = {"marked_base64": b64encode(found.marked).decode()}
    return {"hunks": hunks, **marked}


def _lines_json(lines: Lines) -> Json:
    return {"start": lines.start, "lines": [line.decode(errors="replace") for line in lines.lines]}


def _version_json(version: Version | None) -> Json | None:
    return {"mode": f"{version.mode:06o}", "id": version.oid.hex()} if version else None


def _version(said: Json | None) -> Version | None:
    return Version(int(said["mode"], 8), ObjectId(bytes.fromhex(said["id"]))) if said else None


class _Contents:
    """The contents that are shown: stored ones, and those that a submission pack alone has."""

    def __init__(self, said: Changeset) -> None:
        self._repo = services().repo
        self._most = services().settings.max_shown_bytes
        self.places = {
            change.oid: Location(said.pack, change.place) for change in said.changes if change.oid and change.place
        }
        self._texts: dict[ObjectId, bytes | None] = {}

    def groups(self, wanted: Sequence[T], versions: Callable[[T], Iterable[Any]]) -> Iterator[list[T]]:
        """Yield these in order, in groups whose `versions` are read together, in place of those before."""
        oids = [[each.oid for each in versions(item) if each and each.mode != SUBMODULE_MODE] for item in wanted]
        sizes = self._sizes(list(dict.fromkeys(oid for some in oids for oid in some)))
        group: list[T] = []
        reading: dict[ObjectId, int] = {}
        for item, some in zip(wanted, oids, strict=True):
            more = {oid: sizes[oid] for oid in some if oid in sizes}
            if group and sum((reading | more).values()) > _TOGETHER_BYTES:
                self._read(list(reading))
                yield group
                group, reading = [], {}
            group.append(item)
            reading |= more
        self._read(list(reading))
        yield group

    def _sizes(self, oids: Sequence[ObjectId]) -> dict[ObjectId, int]:
        """Return the sizes of those that are stored and not too large."""
        places = zip(oids, self._repo.objects.locate(oids) if oids else [], strict=True)
        found = {oid: place or self.places.get(oid) for oid, place in places}
        return {oid: at.place.size for oid, at in found.items() if at is not None and at.place.size <= self._most}

    def _read(self, oids: Sequence[ObjectId]) -> None:
        texts = self._repo.bucket.together([lambda oid=oid: self._blob(oid) for oid in oids])  # type: ignore[misc]
        self._texts = dict(zip(oids, texts, strict=True))

    def of(self, version: Version | None) -> bytes | None:
        """Return what a diff compares of a version; None where it is absent, too large or not stored."""
        if version is None:
            return None
        if version.mode == SUBMODULE_MODE:
            return b"Subproject commit %s\n" % version.oid.hex().encode()
        return self._texts.get(version.oid)

    def _blob(self, oid: ObjectId) -> bytes | None:
        try:
            content = self._repo.objects.blob(oid, self.places.get(oid))
        except ObjectMissing:
            return None
        return content if len(content) <= self._most else None
