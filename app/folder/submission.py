"""What `sluice submit DIR` submits: the changes from what the user of a folder saw to the folder's current files."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.client.api_client import Json, content
from app.folder.ignored import IgnoreRules
from app.folder.own_files import is_data_folder, is_own, is_own_name
from storage.base.errors import BadInput
from storage.git.objects import REGULAR_MODE_TEXTS, Kind, ModeText, object_id
from storage.git.trees import covers


class SubmissionError(BadInput):
    """The folder cannot be submitted as it is."""


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of the folder; its bytes only where they are not those that are stored."""

    mode: str
    id: str  # that Git gives this content
    data: bytes | None

    @classmethod
    def of(cls, mode: str, data: bytes) -> LocalFile:
        """Return a file with this content."""
        return cls(mode, object_id(Kind.BLOB, data).hex(), data)


@dataclass(slots=True)
class Folder:
    """The files of a folder that a slice covers, and how many others there are."""

    files: dict[str, LocalFile] = field(default_factory=dict)
    outside: list[str] = field(default_factory=list)  # not covered by the slice
    ignored: int = 0
    data_folders: list[str] = field(default_factory=list)  # of a stack, with its secrets


def read_folder(
    directory: Path, paths: Collection[bytes], stored: Mapping[str, Json], rules: IgnoreRules | None
) -> Folder:
    """Return the folder's files within `paths`; `stored` are those that the user saw, as the API lists a tree.

    What Git ignores by `rules` is left out unless it is stored, or tracked by Git. What is Git's or Sluice's own is
    left out in any case.
    """
    contents = Folder()
    tracked = {os.fsencode(path) for path in stored} | (rules.tracked() if rules else set())
    try:
        for raw in sorted(_Walk(directory, tracked, rules, contents).names()):
            _take(directory, raw, paths, stored, contents)
    except OSError as error:
        raise SubmissionError(f"{error.filename} cannot be read: {error.strerror}") from error
    return contents


def _take(directory: Path, raw: bytes, paths: Collection[bytes], stored: Mapping[str, Json], contents: Folder) -> None:
    if not covers(paths, raw):
        contents.outside.append(raw.decode(errors="replace"))
        return
    name = raw.decode(errors="surrogateescape")
    file = _local_file(directory / name, name)
    if _same(file, stored.get(name)):
        file = LocalFile(file.mode, file.id, None)
    contents.files[name] = file


def local_file(path: Path) -> LocalFile | None:
    """Return the file or symlink at a path; None if there is neither."""
    try:
        return _local_file(path, str(path)) if os.path.lexists(path) else None
    except SubmissionError:
        return None


def _local_file(path: Path, name: str) -> LocalFile:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return LocalFile.of(ModeText.SYMLINK, os.fsencode(path.readlink()))
    if stat.S_ISREG(status.st_mode):
        return LocalFile.of(ModeText.EXECUTABLE if status.st_mode & stat.S_IXUSR else ModeText.FILE, path.read_bytes())
    raise SubmissionError(f"{name} is neither a file nor a symlink")


class _Walk:
    """One walk through a folder, level by level, so that Git is asked once a level and not once a folder."""

    def __init__(self, directory: Path, tracked: set[bytes], rules: IgnoreRules | None, contents: Folder) -> None:
        self._top = directory
        self._tracked = tracked
        self._tracked_folders = {folder for path in tracked for folder in _folders_above(path)}
        self._rules = rules
        self._contents = contents

    def names(self) -> Iterator[bytes]:
        """Yield the names of what may be submitted, relative to the folder."""
        level = [b""]
        while level:
            files, folders = self._listed(level)
            ignored = self._rules.ignored([*files, *folders]) if self._rules else set()
            taken = [file for file in files if file not in ignored or file in self._tracked]
            self._contents.ignored += len(files) - len(taken)
            yield from taken
            level = []
            for folder in folders:
                if folder not in ignored:
                    level.append(folder)
                    continue
                kept = list(self._tracked_below(folder))
                self._contents.ignored += self._count(folder) - len(kept)
                yield from kept

    def _listed(self, folders: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
        """Return the files and the folders in `folders`, but for those that are never submitted."""
        files, below = [], []
        for folder in folders:
            for name, is_folder in self._entries(folder):
                if not is_folder:
                    files.append(name)
                elif is_data_folder(self._top / os.fsdecode(name)):
                    self._contents.data_folders.append(os.fsdecode(name))
                else:
                    below.append(name)
        return files, below

    def _entries(self, folder: bytes) -> list[tuple[bytes, bool]]:
        above = folder + b"/" if folder else b""
        with os.scandir(self._top / os.fsdecode(folder)) as entries:
            return [
                (above + os.fsencode(entry.name), entry.is_dir(follow_symlinks=False))
                for entry in entries
                if not is_own_name(entry.name)
            ]

    def _tracked_below(self, folder: bytes) -> Iterator[bytes]:
        """Yield what is stored or tracked in an ignored folder: ignoring a folder does not forget what it had."""
        if folder not in self._tracked_folders:
            return
        files, below = self._listed([folder])
        yield from (file for file in files if file in self._tracked)
        for child in below:
            yield from self._tracked_below(child)

    def _count(self, folder: bytes) -> int:
        return sum(self._count(name) if is_folder else 1 for name, is_folder in self._entries(folder))


def _folders_above(path: bytes) -> Iterator[bytes]:
    while b"/" in path:
        path = path.rpartition(b"/")[0]
        yield path


def changes_to(
    files: Mapping[str, LocalFile],
    stored: Mapping[str, Json],
    delete: bool,
    spared: Collection[str] = (),
) -> list[Json]:
    """Return the changes that make the `stored` files (as the API lists a tree) into `files`.

    What is stored and not in `files` is deleted only if `delete` says so or if it is in the way of a file; what is
    never submitted is not missed, and `spared` names folders of that kind. What lies within a submodule belongs to
    another repository; a submodule itself goes only if a file takes its place.
    """
    modules = {path for path, entry in stored.items() if entry["mode"] == ModeText.SUBMODULE}
    mine = {path: file for path, file in files.items() if not modules.intersection(_above(path))}
    folders = {folder for path in mine for folder in _above(path)}
    changes: list[Json] = []
    for path in stored:
        in_the_way = path in folders or not mine.keys().isdisjoint(_above(path))
        gone = delete and path not in modules and not _is_spared(path, spared)
        if path not in mine and (in_the_way or gone):
            changes.append({"op": "delete", "path": path})
    for path, file in mine.items():
        entry = stored.get(path)
        if _same(file, entry):
            continue
        if entry is not None and entry["id"] == file.id and {entry["mode"], file.mode} == REGULAR_MODE_TEXTS:
            changes.append({"op": "mode", "path": path, "mode": file.mode})
        else:
            assert file.data is not None
            changes.append({"op": "put", "path": path, "mode": file.mode, **content(file.data)})
    return changes


def missing_files(files: Mapping[str, LocalFile], stored: Mapping[str, Json], spared: Collection[str]) -> int:
    """Return how many stored files are not in the folder."""
    return sum(
        path not in files and entry["mode"] != ModeText.SUBMODULE and not _is_spared(path, spared)
        for path, entry in stored.items()
    )


def _same(file: LocalFile, entry: Json | None) -> bool:
    return entry is not None and entry["id"] == file.id and entry["mode"] == file.mode


def _is_spared(path: str, spared: Collection[str]) -> bool:
    return is_own(path) or any(folder in spared for folder in _above(path))


def _above(path: str) -> list[str]:
    """Return the directories above a path."""
    parts = path.split("/")
    return ["/".join(parts[:i]) for i in range(1, len(parts))]
