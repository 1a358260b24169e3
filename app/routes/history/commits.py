"""Single commits, comparisons of two, the history of a path, and who wrote which line of a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from flask import Blueprint, Response, jsonify, request
from msgspec import to_builtins

from app.access.commits import knows
from app.access.current import caller
from app.protocol import cursors
from app.protocol.history.names import load_range
from app.protocol.problems import Problem, invalid, not_found
from app.protocol.queries import Query, load_oid, load_query
from app.routes.files.contents import Contents
from app.routes.files.diffs import Changed, shown_diff, text_json
from app.routes.history.touches import Told, said, told, told_of
from app.routes.pages import of_commit, page
from app.routes.slices import find_slice
from app.service.confirm_refusals import confirm_refusals
from app.service.services import services
from storage.access.policy import Right
from storage.base.ids import ObjectId, oid_of
from storage.git.objects import EMPTY_TREE, Version
from storage.git.paths import as_text, recorded_path
from storage.log.records import RecordedVersion
from storage.operations.tags import tag_of
from storage.operations.versions.ancestry import WalkTooLong
from storage.operations.versions.blame import Blamed, Span, blame
from storage.operations.versions.blame_parts import NoLines, Older
from storage.operations.versions.comparison import Compared, NothingInCommon, changed_behind, compare
from storage.operations.versions.imported_history import Mark, path_commits
from storage.operations.versions.path_history import Touch
from storage.operations.versions.places import CommitKind, CommitUnknown, Place, imported_place, place_of
from storage.view.tags import tags_of

routes = Blueprint("commits", __name__)

Json = dict[str, Any]

# Paths that a page looks at, at most, where some of them may not be read; and rows that are shown together.
_MOST_LOOKED_AT = 10_000
_TOGETHER = 16


@routes.get("/commits/<commit>")
@confirm_refusals
def show(commit: str) -> Response:
    """Show a commit, with what it changed."""
    oid = ObjectId(load_oid(commit, "commit"))
    query = load_query(request.args, services().settings, "limit", "cursor")
    repo = services().repo
    place = _shown_place(oid)
    parents = place.commit.parents
    old = repo.objects.commit(parents[0]).tree if parents else EMPTY_TREE
    filters = {"commit": commit}
    after = _after(query, "commit", filters)
    rows, looked = _readable(old, place.commit.tree, after, query.limit + 1)

    def show_rows(batch: Sequence[Changed]) -> Iterator[Json]:
        yield from map(_change_json, batch)

    shown = page(
        "commit", filters, rows, query.limit, lambda row: (row[0],), show_rows, looked=looked, more=_commit_json(place)
    )
    return of_commit(shown, commit)


@routes.get("/compare/<path:ends>")
@confirm_refusals
def comparison(ends: str) -> Response:
    """Compare two commits: what the second has that the first lacks."""
    names = load_range(ends)
    query = load_query(request.args, services().settings, "limit", "cursor")
    repo = services().repo
    first, second = (_place(_named(name)) for name in names)
    if query.cursor is not None:
        # The pages are all of the commits that the first one compared.
        after, *compared_ids = cursors.decode(query.cursor, "compare", {"range": ends}, (bytes, str, str))
        first, second = (_place(ObjectId(load_oid(str(each), "cursor"))) for each in compared_ids)
        start = bytes(after)  # type: ignore[arg-type]
    else:
        start = b""
    compared = _compared(first, second)
    base = repo.objects.commit(compared.merge_base)
    rows, looked = _readable(base.tree, second.commit.tree, start, query.limit + 1)
    contents = Contents()

    def show_rows(batch: Sequence[Changed]) -> Iterator[Json]:
        for group in contents.groups(batch, lambda changed: (changed.old, changed.new)):
            yield from (shown_diff(changed, contents) for changed in group)

    more = {"base": first.oid.hex(), "head": second.oid.hex(), "merge_base": compared.merge_base.hex()}
    if caller().reads_all:
        more |= {"ahead": compared.ahead, "behind": compared.behind}  # type: ignore[dict-item]
    ids = (first.oid.hex(), second.oid.hex())
    shown = page(
        "compare", {"range": ends}, rows, query.limit, lambda row: (row[0], *ids), show_rows,
        looked=None if looked is None else (looked[0], *ids), together=_TOGETHER,
        seconds=services().settings.merge_timeout, more=more,
    )  # fmt: skip
    return of_commit(shown, second.oid.hex())


def _compared(first: Place, second: Place) -> Compared:
    try:
        return compare(services().repo, first, second, caller().reads_all)
    except WalkTooLong as error:
        raise invalid("range", str(error)) from None
    except NothingInCommon:
        raise invalid("range", "is of two commits that have none in common") from None


@routes.get("/history")
@confirm_refusals
def history() -> Response:
    """List the commits that changed a path, newest first."""
    query = load_query(
        request.args, services().settings, "limit", "cursor", "path", "prefix", "encoding", "slice", "commit"
    )
    path = _path(query)
    if not caller().may(Right.READ, [path]):
        raise not_found("path", as_text(path))
    slice_id = find_slice(query.slice).id if query.slice is not None else None
    filters = {"path": recorded_path(path), "slice": slice_id, "commit": query.commit.hex() if query.commit else None}
    after = None
    if query.cursor is not None:
        is_imported, position = cursors.decode(query.cursor, "history", filters, (int, int))
        after = Mark(bool(is_imported), int(position))
    place = _place(ObjectId(query.commit)) if query.commit else None
    try:
        found = path_commits(services().repo, path, slice_id, place, after, query.limit + 1)
    except WalkTooLong as error:
        raise invalid("commit", str(error)) from None

    def show_rows(batch: Sequence[Touch]) -> Iterator[Json]:
        told = told_of(batch)
        for touch in batch:
            yield {"commit": touch.oid.hex()} | told[touch.oid] | _versions(touch.old, touch.new)

    def position_of(touch: Touch) -> cursors.Position:
        return int(touch.changeset is None), touch.position

    return page(
        "history", filters, found.rows, query.limit, position_of, show_rows,
        looked=(int(found.looked.is_imported), found.looked.position) if found.looked else None,
        together=100 if caller().reads_all else 16, seconds=services().settings.merge_timeout,
    )  # fmt: skip


@routes.get("/blame")
@confirm_refusals
def lines() -> Response:
    """Tell which commit each line of a file came with."""
    query = load_query(request.args, services().settings, "path", "encoding", "commit")
    if query.path is None:
        raise invalid("path", "is missing")
    if not caller().may(Right.READ, [query.path]):
        raise not_found("file", as_text(query.path))
    repo = services().repo
    at = ObjectId(query.commit) if query.commit else oid_of(repo.view.head().main)
    try:
        found = blame(repo, query.path, _place(at))
    except WalkTooLong as error:
        raise invalid("commit", str(error)) from None
    except NoLines as error:
        raise invalid("path", str(error)) from None
    if found is None:
        raise not_found("file", as_text(query.path))
    return of_commit(jsonify(_blame_json(found)), at.hex())


def _blame_json(found: Blamed) -> Json:
    told = told_of(span.touch for span in found.spans)
    return {
        "items": [_span_json(span, told) for span in found.spans],
        "older": [_older_json(each) for each in found.older],
        "before": found.older[0].before.hex() if found.older else None,
        "limit": found.limit,
        **text_json("content", found.text),
    }


def _span_json(span: Span, told: Told) -> Json:
    oid = span.touch.oid
    return {"start": span.start, "lines": span.count, "commit": oid.hex(), **told[oid]}


def _older_json(older: Older) -> Json:
    lines = older.lines
    return {
        "start": lines.start + 1, "lines": lines.count, "source": lines.source + 1, "before": older.before.hex()
    }  # fmt: skip


def _commit_json(place: Place) -> Json:
    """Return a commit as far as the caller may know of it."""
    who, commit = caller(), place.commit
    shown: Json = {
        "commit": place.oid.hex(),
        "kind": place.kind,
        "parents": [parent.hex() for parent in commit.parents],
    }
    if who.reads_all:
        shown["tree"] = commit.tree.hex()
    if place.changeset is None or place.state is None:
        came_with_import = place.kind in (CommitKind.IMPORTED, CommitKind.FIRST)  # the empty beginning changes nothing
        if who.reads_all or (came_with_import and knows(services().repo, who, commit)):
            shown |= said(commit)
        return shown
    if place.changeset in (known := told([(place.changeset, place.state)])):
        about = {name: value for name, value in known[place.changeset].items() if name != "message_cut"}
        shown |= {"changeset": place.changeset} | about | said(commit)
    return shown


def _change_json(changed: Changed) -> Json:
    return text_json("path", changed.path) | _versions(changed.old, changed.new)


def _versions(old: Version | None, new: Version | None) -> Json:
    """Return two versions; a directory's id, by which guesses of hidden files can be verified, is in none of them."""
    shown: Json = {"change": "added" if old is None else "deleted" if new is None else "modified"}
    for name, version in (("old", old), ("new", new)):
        shown[name] = None if version is None or version.is_tree else to_builtins(RecordedVersion.of(version))
    return shown


def _readable(old: ObjectId, new: ObjectId, after: bytes, limit: int) -> tuple[list[Changed], tuple[bytes] | None]:
    """Return files that differ and may be read, and how far was looked where that is not to the end."""
    repo, who = services().repo, caller()

    def read() -> tuple[list[Changed], tuple[bytes] | None]:
        changed = changed_behind(repo.objects.tree, old, new, after)
        rows: list[Changed] = []
        last = after
        for row in islice(changed, _MOST_LOOKED_AT):
            last = row[0]
            if who.reads_all or who.may(Right.READ, [row[0]]):
                rows.append(Changed(*row))
                if len(rows) == limit:
                    return rows, None
        return rows, (last,) if next(changed, None) is not None else None

    return repo.confirmed(read)


def _after(query: Query, name: str, filters: cursors.Filters) -> bytes:
    if query.cursor is None:
        return b""
    return bytes(cursors.decode(query.cursor, name, filters, (bytes,))[0])  # type: ignore[arg-type]


def _path(query: Query) -> bytes:
    """Return the file or the directory that a list is about; `/` where neither is given."""
    if query.path is not None and query.prefix:
        raise invalid("prefix", "does not go with path")
    if query.path is not None:
        return query.path
    return query.prefix.rstrip(b"/") + b"/" if query.prefix else b"/"


def _place(oid: ObjectId) -> Place:
    """Return where a commit stands, or refuse."""
    place = _shown_place(oid)
    if place.kind is CommitKind.IMPORTED and place.number is None:
        raise _no_commit(oid.hex())  # of a history without a graph
    return place


def _shown_place(oid: ObjectId) -> Place:
    """Return a commit that can be shown, or refuse."""
    repo = services().repo
    try:
        return place_of(repo, oid)
    except CommitUnknown:
        try:
            return imported_place(repo, oid)
        except CommitUnknown:
            raise _no_commit(oid.hex()) from None


def _named(name: str) -> ObjectId:
    """Return the commit that a side of a comparison names, or refuse."""
    repo = services().repo
    head = repo.view.head()
    if name in ("main", "next"):
        return oid_of(head.main if name == "main" else head.tip)
    tagged = tags_of(repo.view, [name]).get(name) if caller().reads_all else None
    if tagged is not None:
        commit = tag_of(repo, name, tagged).commit
        if commit is None:
            raise _no_commit(name)
        return commit
    try:
        return ObjectId(load_oid(name, "range"))
    except Problem:
        raise _no_commit(name) from None


def _no_commit(name: str) -> Problem:
    return not_found("commit", name)
