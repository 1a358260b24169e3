"""Showing a changeset's changes and conflicts: the diff of each file, and the hunks of each conflict."""

from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar, cast

from flask import Blueprint, Response, current_app, request
from flask.blueprints import BlueprintSetupState

from app.access.current import caller
from app.access.visibility import is_hidden, shown_conflicts
from app.intake.successors import read_changeset
from app.protocol import cursors
from app.protocol.loading import load_path
from app.protocol.problems import not_found
from app.protocol.queries import load_query
from app.routes.changesets import state_of
from app.routes.files.contents import Contents, Omitted
from app.routes.files.diffs import Changed, shown_diff, text_json
from app.routes.pages import blob_response, page
from app.service.confirm_refusals import confirm_refusals
from app.service.services import services
from storage.base.ids import ChangesetId
from storage.git.conflict_hunks import Explainer, Explanation, Lines
from storage.git.objects import EXECUTABLE_MODE, FILE_MODE, SUBMODULE_MODE, UNKNOWN_MODE, Version
from storage.git.paths import raw_path
from storage.git.threeway import ConflictClass, is_binary
from storage.log.manifest import Changeset
from storage.log.records import RecordedConflict, version_of
from storage.lookup.object_store import ObjectMissing
from storage.operations.seen import seen_by_writer

routes = Blueprint("explanations", __name__)

# Rows of a page that are looked at together; and changes for which it is looked up at once what was seen.
_TOGETHER = 16
_LOOKUPS = 100
_SIDES = ("base", "head", "submitted")
_EXPLAINED = {ConflictClass.CONTENT, ConflictClass.ADD_ADD}
_TEXT_MODES = {FILE_MODE, EXECUTABLE_MODE}

Json = dict[str, Any]
T = TypeVar("T")

Show = Callable[[Sequence[T]], Iterator[Json]]
"""Yields an item for each of a list's next rows."""


@routes.record_once
def _open(state: BlueprintSetupState) -> None:
    state.app.extensions["sluice-explainer"] = Explainer(state.app.extensions["sluice"].settings.merge_timeout)


@routes.get("/changesets/<changeset>/diff")
@confirm_refusals
def diff(changeset: str) -> Response:
    """Show what a changeset's writer changed, against what the writer saw."""
    after, limit = _position("diff", changeset)
    submission = read_changeset(services().repo, ChangesetId(changeset), state_of(changeset))
    contents = Contents(submission)

    def show(batch: Sequence[Changed]) -> Iterator[Json]:
        for group in contents.groups(batch, lambda changed: (changed.old, changed.new)):
            yield from (shown_diff(changed, contents) for changed in group)

    return _page("diff", changeset, _changed(submission, after, contents), limit, lambda changed: changed.path, show)


@routes.get("/changesets/<changeset>/conflicts")
@confirm_refusals
def conflicts(changeset: str) -> Response:
    """Show the conflicts of a changeset, with what an editor needs; none where it is not conflicted."""
    after, limit = _position("explained", changeset)
    state = state_of(changeset)
    recorded = state.outcome.conflicts if state.outcome else ()
    waiting = sorted((conflict for conflict in recorded if _path(conflict) > after), key=_path)
    contents = Contents(read_changeset(services().repo, ChangesetId(changeset), state)) if waiting else None

    def show(batch: Sequence[RecordedConflict]) -> Iterator[Json]:
        assert contents is not None
        for group in contents.groups(batch, lambda conflict: _versions(conflict) or ()):
            yield from _shown_conflicts(group, contents)

    return _page("explained", changeset, iter(waiting), limit, _path, show)


@routes.get("/changesets/<changeset>/conflicts/<side>/<path:path>")
@confirm_refusals
def side(changeset: str, side: str, path: str) -> Response:
    """Return the bytes of one side of a conflict: base, head or submitted."""
    if side not in _SIDES:
        raise not_found("side", side)
    settings = services().settings
    raw = load_path(path, settings, encoded=load_query(request.args, settings, "encoding").encoding)
    state = state_of(changeset)
    recorded = state.outcome.conflicts if state.outcome else ()
    conflict = next((conflict for conflict in recorded if _path(conflict) == raw), None)
    if conflict is None or (side == "head" and is_hidden(caller(), conflict)):
        raise not_found(side, path)
    version = version_of(getattr(conflict, side))
    if version is None or version.mode == SUBMODULE_MODE or version.is_tree:
        raise not_found(side, path)
    repo = services().repo
    locations = Contents(read_changeset(repo, ChangesetId(changeset), state)).locations
    try:
        content = repo.objects.blob(version.oid, locations.get(version.oid))
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
    name: str, changeset: str, rows: Iterator[T], limit: int, path: Callable[[T], bytes], show: Show[T]
) -> Response:
    """Answer with a page of `rows`, by path; of expensive items, so it ends by time as well."""
    return page(
        name,
        {"changeset": changeset},
        rows,
        limit,
        lambda row: (path(row),),
        show,
        together=_TOGETHER,
        seconds=services().settings.merge_timeout,
    )


def _changed(submission: Changeset, after: bytes, contents: Contents) -> Iterator[Changed]:
    """Yield what a changeset changes, by path, behind `after`; what it leaves as it was is no change."""
    sources = {change.source for change in submission.changes}
    ordered = sorted(submission.changes, key=lambda change: change.path)
    changes = (change for change in ordered if change.path > after and change.path not in sources)
    while batch := list(islice(changes, _LOOKUPS)):
        seen = seen_by_writer(services().repo, submission, [change.seen_at for change in batch])
        contents.locations |= seen.locations
        for change in batch:
            old = seen.versions[change.seen_at]
            new = change.version(old)
            if old != new or change.source is not None:
                yield Changed(change.path, old, new, change.source)


def _shown_conflicts(group: Sequence[RecordedConflict], contents: Contents) -> Iterator[Json]:
    versions = [_versions(conflict) for conflict in group]
    texts = [_texts(three, contents) if three else None for three in versions]
    explainer = cast(Explainer, current_app.extensions["sluice-explainer"])
    explained = explainer.together([three for three in texts if three and not isinstance(three, Omitted)])
    for shown, three in zip(shown_conflicts(caller(), group), texts, strict=True):
        if three is None or isinstance(three, Omitted):
            yield shown | {"hunks": None, "marked": None} | ({"omitted": three} if three else {})
        else:
            yield shown | _explanation_json(next(explained))


def _path(conflict: RecordedConflict) -> bytes:
    return raw_path(conflict.path)


def _versions(conflict: RecordedConflict) -> tuple[Version | None, Version, Version] | None:
    """Return the versions of a conflict that has texts to show."""
    if conflict.kind not in _EXPLAINED:
        return None
    base, head, submitted = map(version_of, (conflict.base, conflict.head, conflict.submitted))
    if head is None or submitted is None or not {head.mode, submitted.mode} <= _TEXT_MODES:
        return None
    # A base of another kind, such as a symlink, says nothing of the lines; of an unknown one they are compared.
    return base if base and base.mode in {*_TEXT_MODES, UNKNOWN_MODE} else None, head, submitted


def _texts(
    three: tuple[Version | None, Version, Version], contents: Contents
) -> tuple[bytes | None, bytes, bytes] | Omitted:
    texts = [contents.of(version) if version else None for version in three]
    omitted = next((text for text in texts if isinstance(text, Omitted)), None)
    if omitted is not None:
        return omitted
    base, ours, theirs = texts
    assert not isinstance(base, Omitted) and isinstance(ours, bytes) and isinstance(theirs, bytes)
    return Omitted.BINARY if any(map(is_binary, (base or b"", ours, theirs))) else (base, ours, theirs)


def _explanation_json(explained: Explanation | None) -> Json:
    if explained is None:
        return {"hunks": None, "marked": None, "omitted": Omitted.TOO_LARGE}
    hunks = None
    if explained.hunks is not None:
        hunks = [
            {side: _lines_json(getattr(hunk, side)) for side in ("base", "ours", "theirs")} for hunk in explained.hunks
        ]
    return {"hunks": hunks, **text_json("marked", explained.marked)}


def _lines_json(lines: Lines) -> Json:
    try:
        return {"start": lines.start, "lines": [line.decode() for line in lines.lines]}
    except UnicodeDecodeError:
        return {"start": lines.start, "lines_base64": [b64encode(line).decode() for line in lines.lines]}
