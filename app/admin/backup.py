"""Backup: a copy of the bucket in a folder, from which the log and everything that it names can be restored.

Every object in the bucket is written once, so a backup copies the names that the folder lacks. The log is listed first:
the objects that its entries name were stored before them, so they exist, and writers need not stop. Packs are copied
before entries, and entries in order, so the folder is a consistent prefix at any moment. The manifest, written last and
atomically, has the size and SHA-256 of every file. The next run continues an interrupted one; it checks files that the
manifest does not list yet by their own hashes. Nothing is ever deleted from the folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha1, sha256
from pathlib import Path
from typing import NamedTuple

from storage.backends.bucket import READERS, Bucket, Missing
from storage.base.errors import Refused
from storage.base.ids import is_ulid, submission_pack
from storage.base.progress import Progress, batched_with_progress, no_progress
from storage.base.settings import Settings
from storage.git.packs import TRAILER_BYTES
from storage.log.entry import NO_HASH, CorruptEntry, Entry, digest
from storage.log.log import check, name_of
from storage.log.references import References
from storage.lookup.archive import PACK_FILES

FORMAT = 1
LOG = "log/"
MARKERS = "restored/"  # what restores leave in a bucket; see app/admin/restore.py
PROBES = "probe/"
# The rest is derived from these and the log, or of this bucket only, or not ours.
_FOLDERS = ("inbox/", "packs/")
_ENTRY = re.compile(r"log/[0-9]{12,}\.json")
_MANIFEST = "manifest.jsonl"
_LOCK = "backup.lock"
_TEMPORARY = "part-"
_AT_ONCE = 64
# Listings that are made anew because something that was listed has been collected before it was copied.
_MAX_TURNS = 3
_MAX_PROBLEMS = 100


class BackupError(Refused):
    """The folder cannot be backed up to, or the bucket cannot be backed up."""


class Sum(NamedTuple):
    """A file's row in the manifest."""

    size: int
    sha256: str


@dataclass(slots=True)
class Manifest:
    """What a backup has: the first `entries` entries of the log, and all files by name."""

    repository: str
    entries: int
    hash: str  # of the last entry
    at: str  # when it was made
    files: dict[str, Sum] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())

    def encode(self) -> bytes:
        """Return a line of JSON, one for each file, and one with the SHA-256 of those before."""
        head = {
            "format": FORMAT, "repository": self.repository, "entries": self.entries, "hash": self.hash, "at": self.at,
            "files": len(self.files),
        }  # fmt: skip
        rows = [[name, *row] for name, row in sorted(self.files.items())]
        body = "".join([json.dumps(line) + "\n" for line in [head, *rows]]).encode()
        return body + json.dumps({"sha256": sha256(body).hexdigest()}).encode() + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """Read what `encode` wrote. Raises BackupError."""
        body = data[: data.rstrip(b"\n").rfind(b"\n") + 1]
        try:
            head, *rows = [json.loads(line) for line in body.splitlines()]
            if json.loads(data[len(body) :])["sha256"] != sha256(body).hexdigest() or head["files"] != len(rows):
                raise BackupError(f"{_MANIFEST} is damaged")
            if head["format"] != FORMAT:
                raise BackupError(f"{_MANIFEST} has a format that this version does not know")
            files = {name: Sum(size, of) for name, size, of in rows}
            return cls(head["repository"], head["entries"], head["hash"], head["at"], files)
        except (ValueError, KeyError, TypeError) as error:
            raise BackupError(f"{_MANIFEST} is damaged") from error


class Folder:
    """A folder that has a backup, or will have one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other backups out, in a folder that is a backup's or empty. Raises BackupError."""
        self.path.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in self.path.iterdir()}
        if names and not names & {_LOCK, _MANIFEST}:
            raise BackupError(f"{self.path} has something else in it: {', '.join(sorted(names)[:3])}")
        with (self.path / _LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BackupError(f"another backup writes to {self.path}") from None
            for left in self.path.glob(f"{_TEMPORARY}*"):
                left.unlink()
            yield

    def manifest(self) -> tuple[Manifest, str] | None:
        """Return the manifest and its own SHA-256, None where there is none. Raises BackupError."""
        try:
            data = (self.path / _MANIFEST).read_bytes()
        except FileNotFoundError:
            return None
        return Manifest.decode(data), sha256(data).hexdigest()

    def sizes(self) -> dict[str, int]:
        """Return the sizes of all files by name."""
        sizes: dict[str, int] = {}
        for folder in [path for path in self.path.iterdir() if path.is_dir()]:
            with os.scandir(folder) as files:
                sizes |= {f"{folder.name}/{file.name}": file.stat().st_size for file in files}
        return sizes

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        return (self.path / name).read_bytes()

    def write(self, name: str, data: bytes) -> Sum:
        """Write a file atomically."""
        target = self.path / name
        target.parent.mkdir(exist_ok=True)
        temporary = self.path / (_TEMPORARY + name.replace("/", "-"))
        temporary.write_bytes(data)
        temporary.replace(target)
        return Sum(len(data), digest(data))

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest, after everything that it lists has been flushed to the disk."""
        os.sync()
        self.write(_MANIFEST, manifest.encode())
        os.sync()


@dataclass(slots=True)
class Report:
    """What a backup has now, and what this run copied."""

    entries: int = 0
    files: int = 0
    bytes: int = 0
    copied: int = 0
    copied_bytes: int = 0
    problems: list[str] = field(default_factory=list)  # what the bucket should have and has not, or has damaged

    def wrong(self, problem: str) -> None:
        """Note a problem."""
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(problem)


def backup(settings: Settings, directory: Path, progress: Progress = no_progress) -> Report:
    """Bring the backup in `directory` up to the bucket. Safe beside writers, and after a run that died at any point."""
    folder = Folder(directory)
    with folder.locked():
        run = _Run(Bucket(settings), folder, progress)
        for _ in range(_MAX_TURNS):
            if run.turn(settings.repository):
                break
    return run.report


class _Copied(NamedTuple):
    """The result of copying a file."""

    sum: Sum | None  # None where it is damaged
    is_new: bool  # written by this run


class _Run:
    """One run."""

    def __init__(self, bucket: Bucket, folder: Folder, progress: Progress) -> None:
        self._bucket = bucket
        self._folder = folder
        self._progress = progress
        self._known: dict[str, Sum] = {}  # files that are there and whole
        self._before: set[str] = set()  # those of the last manifest
        self.report = Report()

    def turn(self, repository: str) -> bool:
        """List, copy and write the manifest; tell whether nothing was collected between listing and copying."""
        self.report.problems.clear()
        entries = self._list_log()
        sizes = self._folder.sizes()
        self._know(sizes, entries)
        listed = [name for folder in _FOLDERS for name in self._bucket.list_keys(folder) if _is_ours(name)]
        gone = self._copy([name for name in listed if name not in self._known], sizes)
        last_hash = self._copy_log(entries, sizes)
        for name in sorted(self._before - self._known.keys()):
            self.report.wrong(f"{name} was in this backup before, and is gone from it and from the bucket")
        at = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = Manifest(repository, entries, last_hash, at, self._known)
        self._folder.finish(manifest)
        self.report.entries, self.report.files, self.report.bytes = entries, len(self._known), manifest.size
        return not gone

    def _list_log(self) -> int:
        """Return how many entries the log has."""
        entries = 0
        for name in self._bucket.list_keys(LOG):
            if not _ENTRY.fullmatch(name):
                continue
            if name != name_of(entries + 1):
                break
            entries += 1
        if not entries:
            raise BackupError("there is no log in the bucket: is SLUICE_REPOSITORY right?")
        return entries

    def _know(self, sizes: dict[str, int], entries: int) -> None:
        """Take what the last manifest lists and is there, and check that the log is the same."""
        if (last_run := self._folder.manifest()) is None:
            return
        manifest, _ = last_run
        last = name_of(manifest.entries)
        if manifest.entries > entries or digest(self._bucket.get(last)) != manifest.files[last].sha256:
            raise BackupError(
                f"{self._folder.path} is a backup of another log: the bucket's has not its entry {manifest.entries}"
            )
        self._before = set(manifest.files)
        self._known |= {name: file for name, file in manifest.files.items() if sizes.get(name) == file.size}

    def _copy(self, missing: Sequence[str], sizes: dict[str, int]) -> bool:
        """Copy files, several at once; tell whether one of them is no longer in the bucket."""
        gone = False
        for chunk in batched_with_progress(missing, _AT_ONCE, "copy", self._progress):
            # Where one fails, the others are waited for: nobody writes to the folder when it is no longer locked.
            with ThreadPoolExecutor(READERS) as pool:
                copied = list(pool.map(lambda name: self._copy_one(name, name in sizes), chunk))
            for name, copy in zip(chunk, copied, strict=True):
                if copy is None:
                    gone = True
                elif copy.sum is not None:
                    self._take(name, copy.sum, copy.is_new)
        return gone

    def _copy_one(self, name: str, is_there: bool) -> _Copied | None:
        """Return the result of copying a file, None if the bucket no longer has it."""
        if is_there and _has_hash(name):
            # A run that died has written it.
            data = self._folder.read(name)
            if _is_whole(data):
                return _Copied(Sum(len(data), digest(data)), is_new=False)
        try:
            data = self._bucket.get(name)
        except Missing:
            self.report.wrong(f"{name} was collected before it was copied")
            return None
        if _has_hash(name) and not _is_whole(data):
            self.report.wrong(f"{name} is damaged in the bucket")
            return _Copied(None, is_new=False)
        return _Copied(self._folder.write(name, data), is_new=True)

    def _take(self, name: str, sum_: Sum, is_new: bool) -> None:
        self._known[name] = sum_
        if is_new:
            self.report.copied += 1
            self.report.copied_bytes += sum_.size

    def _copy_log(self, entries: int, sizes: dict[str, int]) -> str:
        """Copy the missing entries in order, each checked against the one before; return the last one's hash.

        Checks that the packs that they name are here.
        """
        seq = next((i for i in range(1, entries + 1) if name_of(i) not in self._known), entries + 1)
        # An entry's hash is the SHA-256 of its file.
        previous = self._known[name_of(seq - 1)].sha256 if seq > 1 else NO_HASH
        named = References()
        while seq <= entries:
            self._progress("log", seq - 1, entries)
            names = [name_of(i) for i in range(seq, min(seq + _AT_ONCE, entries + 1))]
            absent = [name for name in names if name not in sizes]
            fetched = dict(zip(absent, self._bucket.get_many(absent), strict=True))
            for name in names:
                entry, data, is_new = self._entry(seq, previous, fetched.get(name))
                previous = digest(data)
                self._take(name, self._folder.write(name, data) if is_new else Sum(len(data), previous), is_new)
                named.add(entry)
                seq += 1
        self._progress("log", entries, entries)
        for name in sorted(named.files() - self._known.keys()):
            self.report.wrong(f"{name} is named by the log and missing in the bucket")
        return previous

    def _entry(self, seq: int, previous: str, fetched: bytes | None) -> tuple[Entry, bytes, bool]:
        """Return entry `seq`, its bytes and whether these are the bucket's: a run that died may have written them."""
        if fetched is None:
            data = self._folder.read(name_of(seq))
            try:
                return check(seq, data, previous), data, False
            except CorruptEntry:
                fetched = self._bucket.get(name_of(seq))
        return check(seq, fetched, previous), fetched, True


def _is_ours(name: str) -> bool:
    """Tell whether this is a pack, an index or a table, and not an unknown object."""
    stem, dot, suffix = name.removeprefix("packs/").partition(".")
    return submission_pack(name) is not None or (is_ulid(stem) and dot + suffix in PACK_FILES)


def _has_hash(name: str) -> bool:
    return name.endswith(PACK_FILES)


def _is_whole(data: bytes) -> bool:
    """Tell whether a pack or an index ends with the hash of the bytes before it."""
    return sha1(data[:-TRAILER_BYTES]).digest() == data[-TRAILER_BYTES:]
