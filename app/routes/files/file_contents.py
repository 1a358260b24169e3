"""The contents of several files of a slice, in one answer."""

import re
import sys
from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import chain
from typing import Any, NamedTuple, cast

import msgspec
from flask import Blueprint, Response

from app.downloads.contents import Stored, groups
from app.downloads.files import File
from app.protocol import cursors
from app.protocol.bodies import load_json
from app.protocol.queries import WantedFiles, load_cursor_commit, load_files
from app.routes.files.trees import commit_of, sizes_of
from app.routes.pages import of_commit
from app.routes.slices import find_slice
from app.service.body_limit import body
from app.service.services import services
from storage.backends.turns import in_thread, taking_turns
from storage.base.ids import ObjectId, oid_of
from storage.git.objects import SUBMODULE_MODE, Version
from storage.git.paths import path_json, paths_json
from storage.git.trees import covers, lookup_many

routes = Blueprint("file_contents", __name__)

# What takes six bytes in JSON: a content that has it is shorter in base64.
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
# Compressed contents that are read at once: all that an answer may have.
_ANY = sys.maxsize


@routes.post("/slices/<slice:name>/files")
def contents(name: str) -> Response:
    """Return the contents of some files at a commit, those that have room in an answer."""
    repo, data = services().repo, body()
    with taking_turns(len(data)):
        wanted = load_files(load_json(data, repo.settings), repo.settings)
    asked = _look(name, wanted)
    if len(asked.there) < len(asked.paths):
        # That something is missing counts only where Redis cannot know less than it did before.
        with repo.queue.consistent_read():
            asked = _look(name, wanted)
    there, paths, commit = asked.there, asked.paths, asked.commit
    sizes = sizes_of(repo.kinds, [file.oid for file in there.values() if file.mode != SUBMODULE_MODE])
    taken = _first(paths, lambda path: sizes.get(there[path].oid, 0) if path in there else 0)
    files = [there[path] for path in taken if path in there]
    shown: dict[str, Any] = {
        "commit": commit.hex(),
        "files": (),
        **paths_json("missing", [path for path in taken if path not in there]),
        "next": asked.cursor(len(taken)) if taken != paths else None,
    }
    with services().downloads.reading(sum(sizes.get(file.oid, 0) for file in files)):
        stored = list(chain.from_iterable(groups(repo, files, _ANY)))
        answer = in_thread(_encode, shown, stored)
    response = Response(answer, mimetype="application/json")
    response.headers["X-Git-Commit"] = commit.hex()  # older clients know it by this name
    return of_commit(response, commit.hex())


class _Asked(NamedTuple):
    """What a request asks for, as of now."""

    commit: ObjectId
    start: int  # how many of its paths were answered before
    paths: Sequence[bytes]
    there: dict[bytes, File]  # those of them that are files of the slice
    filters: cursors.Filters

    def cursor(self, count: int) -> str:
        """Return the cursor behind so many of the paths."""
        return cursors.encode("files", self.filters, (self.start + count, self.commit.hex()))


def _look(name: str, wanted: WantedFiles) -> _Asked:
    """Look up what a request asks for. Raises a Problem."""
    slice_ = find_slice(name)
    filters = {"slice": slice_.id, "paths": sha256(b"\0".join(wanted.paths)).hexdigest()}
    commit, start = ObjectId(wanted.commit) if wanted.commit else oid_of(services().repo.view.head().main), 0
    if wanted.cursor is not None:
        start, at = cast(tuple[int, str], cursors.decode(wanted.cursor, "files", filters, (int, str)))
        commit = load_cursor_commit(at, wanted.commit)
    paths = wanted.paths[start:]
    there = _files_at(commit_of(commit).tree, [path for path in paths if covers(slice_.paths, path)])
    return _Asked(commit, start, paths, there, filters)


def _files_at(root: ObjectId, paths: Sequence[bytes]) -> dict[bytes, File]:
    """Return which of these paths are files, symlinks or submodules, and what they are."""
    repo = services().repo

    def read() -> dict[bytes, Version | None]:
        repo.objects.prefetch_paths(root, paths)
        return lookup_many(repo.objects.tree, root, paths)

    versions = repo.confirmed(read)
    return {
        path: File(path, version.mode, version.oid)
        for path, version in versions.items()
        if version is not None and not version.is_tree
    }


def _first(paths: Sequence[bytes], size_of: Callable[[bytes], int]) -> Sequence[bytes]:
    """Return as many of these, and at least one, as have `max_read_bytes` together."""
    size = 0
    for count, path in enumerate(paths):
        size += size_of(path)
        if count and size > services().settings.max_read_bytes:
            return paths[:count]
    return paths


def _encode(shown: dict[str, Any], stored: Sequence[Stored]) -> bytes:
    """Return the JSON of an answer, with the contents of its files inflated."""
    return msgspec.json.encode({**shown, "files": [_content_json(each) for each in stored]}) + b"\n"


def _content_json(stored: Stored) -> dict[str, Any]:
    file = stored.file
    shown: dict[str, Any] = {**path_json("path", file.path), "mode": f"{file.mode:06o}", "id": file.oid.hex()}
    if file.mode == SUBMODULE_MODE:
        return shown
    content = stored.content()
    shown["size"] = len(content)
    if not _CONTROL.search(content):
        with suppress(UnicodeDecodeError):
            return shown | {"content": content.decode()}
    return shown | {"content_base64": b64encode(content).decode()}
