"""The files of a slice at a commit: in pages, as a manifest in lines, and as an archive."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, cast
from urllib.parse import quote

from flask import Blueprint, Response, request
from werkzeug.exceptions import NotAcceptable

from app.access.current import caller
from app.downloads.archive import FORMATS, archive
from app.downloads.manifest import MEDIA_TYPE, manifest
from app.protocol import cursors
from app.protocol.problems import invalid, not_found
from app.protocol.queries import Query, load_cursor_commit, load_query
from app.routes.files.diffs import text_json
from app.routes.pages import of_commit, page
from app.routes.slices import find_slice
from app.service.services import services
from storage.access.policy import Right
from storage.base.ids import ObjectId, oid_of
from storage.git.objects import SUBMODULE_MODE, Commit, CorruptObject, Tree, Version
from storage.git.paths import as_text, recorded_path
from storage.git.trees import Run, project, runs, walk
from storage.lookup.object_kinds import Kinds
from storage.lookup.object_store import ObjectMissing
from storage.operations import history
from storage.view.snapshot import Slice

routes = Blueprint("trees", __name__)

# Rows of a page that are looked up at once.
_ROWS = 1000
_PAGES = "application/json"
_COMMIT_SHOWN = 12  # digits of a commit in an archive's name


@dataclass(frozen=True, slots=True)
class _Listing:
    """What a page of a tree is of; its pages are all of the commit and the slice's definition of the first one."""

    slice: Slice
    commit: ObjectId
    prefix: bytes
    after: bytes  # the path behind which the page begins
    seq: int  # the entry at which the slice still had the definition of the first page

    def cursor(self, after: bytes) -> str:
        """Return the cursor behind a path."""
        return cursors.encode("tree", self.filters, self.position(after))

    def position(self, after: bytes) -> cursors.Position:
        """Return the position of `cursor`."""
        return after, self.commit.hex(), self.slice.version, self.seq

    @property
    def filters(self) -> cursors.Filters:
        """What a cursor belongs to."""
        return {"slice": self.slice.id, "prefix": recorded_path(self.prefix)}


class _Projected:
    """The tree of a slice at a commit."""

    def __init__(self, commit: ObjectId, paths: frozenset[bytes]) -> None:
        """Read what is above the slice's paths. Raises a Problem where the commit is none, and Unavailable."""
        self.commit = commit_of(commit)
        self._repo = services().repo
        self.root, self._made = self._repo.confirmed(lambda: self._project(paths))

    def _project(self, paths: frozenset[bytes]) -> tuple[ObjectId, dict[ObjectId, Tree]]:
        objects = self._repo.objects
        if paths != {b"/"}:
            objects.prefetch_paths(self.commit.tree, list(paths))
        return project(objects.tree, self.commit.tree, paths)

    def tree(self, oid: ObjectId) -> Tree:
        """Return a tree of it. Raises as ObjectStore.tree does."""
        return self._made[oid] if oid in self._made else self._repo.objects.tree(oid)

    def trees(self, oids: Sequence[ObjectId]) -> Mapping[ObjectId, Tree]:
        """Return trees of it, read together. Raises as ObjectStore.trees does, and Recovering."""
        stored = [oid for oid in oids if oid not in self._made]
        return {**self._made, **(self._repo.confirmed(lambda: self._repo.objects.trees(stored)) if stored else {})}


@routes.get("/slices/<slice:name>/tree")
def tree(name: str) -> Response:
    """List a slice's files at a commit, in pages or in lines."""
    accepted = request.accept_mimetypes
    chosen = accepted.best_match([_PAGES, MEDIA_TYPE]) if accepted.provided else _PAGES
    if chosen is None:
        raise NotAcceptable
    response = _pages(name) if chosen == _PAGES else _lines(name)
    response.vary.add("Accept")
    return response


def _pages(name: str) -> Response:
    query = load_query(request.args, services().settings, "limit", "cursor", "commit", "prefix", "encoding")
    listed = _listing_of(name, query)
    projected = _Projected(listed.commit, listed.slice.paths)

    def read() -> list[tuple[bytes, Version]]:
        return list(islice(walk(projected.tree, projected.root, listed.after, listed.prefix), query.limit + 1))

    files = services().repo.confirmed(read)

    def show(batch: Sequence[tuple[bytes, Version]]) -> Iterator[dict[str, Any]]:
        sizes = sizes_of(services().repo.kinds, [version.oid for _, version in batch if version.mode != SUBMODULE_MODE])
        yield from (_file_json(path, version, sizes.get(version.oid)) for path, version in batch)

    shown = page(
        "tree",
        listed.filters,
        files,
        query.limit,
        lambda row: listed.position(row[0]),
        show,
        together=_ROWS,
        more={"commit": listed.commit.hex(), "tree": projected.root.hex()},
    )
    return of_commit(shown, listed.commit.hex())


def _lines(name: str) -> Response:
    query = load_query(request.args, services().settings, "cursor", "commit", "prefix", "encoding", "sizes")
    listed = _listing_of(name, query)
    projected = _Projected(listed.commit, listed.slice.paths)
    about = {"commit": listed.commit.hex(), "tree": projected.root.hex(), "slice": listed.slice.id}
    rows = runs(projected.trees, projected.root, listed.after, listed.prefix)
    # Most of it is made when the request is over.
    sizes = partial(sizes_of, services().repo.kinds) if query.sizes else None
    lines = manifest(about, rows, listed.cursor, sizes)
    return _download(lines, MEDIA_TYPE, listed.commit)


def sizes_of(kinds: Kinds, oids: Sequence[ObjectId]) -> dict[ObjectId, int]:
    """Return the sizes of those objects that are stored. Raises as Kinds.of does."""
    return {oid: described.size for oid, described in kinds.of(oids).items()}


def _download(pieces: Generator[bytes, None, None], media_type: str, commit: ObjectId) -> Response:
    response = services().downloads.response(pieces, media_type)
    response.headers["X-Git-Commit"] = commit.hex()  # older clients know it by this name
    response.headers["X-Accel-Buffering"] = "no"
    return of_commit(response, commit.hex())


def _listing_of(name: str, query: Query) -> _Listing:
    """Return what a page is of: the slice as the first page of a tree had it."""
    repo = services().repo
    # Before the slice is read: a definition that comes later stands behind this entry.
    head = repo.view.head()
    slice_ = find_slice(name)
    prefix = (query.prefix or b"").rstrip(b"/") + b"/" if query.prefix else b""
    if query.cursor is None:
        commit = oid_of(head.main) if query.commit is None else ObjectId(query.commit)
        return _Listing(slice_, commit, prefix, b"", head.applied)
    filters = {"slice": slice_.id, "prefix": recorded_path(prefix)}
    position = cursors.decode(query.cursor, "tree", filters, (bytes, str, int, int))
    after, at, version, seq = cast(tuple[bytes, str, int, int], position)
    commit = load_cursor_commit(at, query.commit)
    if version == slice_.version:
        return _Listing(slice_, commit, prefix, after, head.applied)
    before = repo.confirmed(lambda: history.slice_before(repo, slice_.id, version, seq))
    if before is None or not caller().may(Right.READ, before.paths):
        raise invalid(
            "cursor", f"is of version {version} of the slice, which has version {slice_.version}: begin again"
        )
    return _Listing(before, commit, prefix, after, seq)


def _file_json(path: bytes, version: Version, size: int | None) -> dict[str, Any]:
    submodule = version.mode == SUBMODULE_MODE
    return {
        **text_json("path", path),
        "mode": f"{version.mode:06o}",
        "type": "commit" if submodule else "blob",
        "id": version.oid.hex(),
        "size": None if submodule else size,
    }


@routes.get("/slices/<slice:name>/files")
def files(name: str) -> Response:
    """Return a slice's files at a commit as an archive."""
    repo, query = (
        services().repo,
        load_query(request.args, services().settings, "format", "commit", "prefix", "encoding"),
    )
    listed = _listing_of(name, query)
    projected = _Projected(listed.commit, listed.slice.paths)
    if listed.prefix and next(_runs(projected, listed), None) is None:
        raise not_found("directory", as_text(listed.prefix))
    made = FORMATS[query.format](listed.commit.hex(), projected.commit.committer.time)
    tag = f"{listed.commit.hex()}-{projected.root.hex()}{made.suffix}"
    if request.if_none_match.contains_weak(tag):
        response = of_commit(Response(status=304), listed.commit.hex())
    else:
        pieces = archive(made, lambda: _runs(projected, listed), repo)
        response = _download(pieces, made.media_type, listed.commit)
    response.set_etag(tag, weak=not made.is_stable)
    file_name = f"{listed.slice.name.replace('/', '-')}-{listed.commit.hex()[:_COMMIT_SHOWN]}{made.suffix}"
    response.headers.set("Content-Disposition", "attachment", **_named(file_name))
    return response


def _named(file_name: str) -> dict[str, str]:
    """Return what a Content-Disposition says of a name: beside one in ASCII what RFC 6266 has for others."""
    if file_name.isascii():
        return {"filename": file_name}
    return {
        "filename": file_name.encode("ascii", "replace").decode().replace("?", "_"),
        "filename*": f"UTF-8''{quote(file_name, safe='')}",
    }


def _runs(projected: _Projected, listed: _Listing) -> Iterator[Run]:
    return runs(projected.trees, projected.root, b"", listed.prefix)


def commit_of(commit: ObjectId) -> Commit:
    """Return a commit that was asked for, or refuse."""
    repo = services().repo
    try:
        return repo.confirmed(lambda: repo.objects.commit(commit))
    except (CorruptObject, ObjectMissing):
        raise invalid("commit", f"{commit.hex()} is no commit of this repository") from None
