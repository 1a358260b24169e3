"""The refs of a bare repository, read from its files: a process for each listing would cost more than all the rest.

A store has one branch and tags, and only its own process writes them. Git's formats: gitrepository-layout(5),
git-pack-refs(1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from app.gateway.wire.protocol import MAIN, Ref
from storage.base.small_files import read_small
from storage.git.run_git import Git, isolated_environment

_OID = re.compile(rb"[0-9a-f]{40}")
_TAGS = "refs/tags"


@dataclass(frozen=True, slots=True)
class Refs:
    """What a store has: the newest commit of its branch, None while it is empty, and its tags in order of names."""

    main: bytes | None
    tags: tuple[Ref, ...] = ()


class RefReader:
    """Reads the refs of one store; tags are read again where their files have changed. Safe for threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._main_file = path / MAIN.decode()
        # What tags were read from, by their names, and the tags.
        self._tags: tuple[dict[str, object], tuple[Ref, ...]] | None = None

    def read(self) -> Refs:
        """Return the refs as they are now. Raises OSError where there is no repository, and GitFailed."""
        return Refs(self._main(), self._read_tags())

    def _main(self) -> bytes | None:
        try:
            text = read_small(self._main_file).strip()
        except FileNotFoundError:
            return self._packed_main()
        return text if _OID.fullmatch(text) else None

    def _packed_main(self) -> bytes | None:
        try:
            packed = (self._path / "packed-refs").read_bytes()
        except FileNotFoundError:
            (self._path / "HEAD").stat()  # else there is no repository at all
            return None
        found = re.search(rb"^([0-9a-f]{40}) " + MAIN + rb"$", packed, re.MULTILINE)
        return found[1] if found else None

    def _read_tags(self) -> tuple[Ref, ...]:
        known = self._tags
        # A file that is made, renamed or removed changes the time of its folder, as a new folder does that of its own.
        if known and all(self._version(name) == seen for name, seen in known[0].items()):
            return known[1]
        top = self._path / _TAGS
        folders = [str(path.relative_to(self._path)) for path in top.rglob("*") if path.is_dir()]
        seen = {name: self._version(name) for name in ("packed-refs", _TAGS, *folders)}
        tags = self._list_tags()
        self._tags = (seen, tags)
        return tags

    def _version(self, name: str) -> object:
        try:
            found = (self._path / name).stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _list_tags(self) -> tuple[Ref, ...]:
        git = Git(environment=isolated_environment(self._path))
        shown = git.output("for-each-ref", "--format=%(objectname) %(*objectname) %(refname)", _TAGS)
        tags = []
        for line in shown.splitlines():
            oid, peeled, name = line.split(b" ", 2)
            tags.append(Ref(name, oid, peeled))
        return tuple(tags)
