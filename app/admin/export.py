"""Exporting everything as a bare Git repository, for users who leave, and for checks by Git itself."""

import struct
import tempfile
from collections.abc import Iterator
from hashlib import sha1
from pathlib import Path
from typing import IO

from storage.backends.bucket import Bucket, Missing
from storage.base.errors import Refused
from storage.base.ids import PackId
from storage.base.progress import Progress, batched_with_progress, no_progress
from storage.base.settings import Settings
from storage.git import packs
from storage.git.imported.git_output import INHERITED
from storage.git.objects import object_id
from storage.git.run_git import Git, GitFailed, plain_environment
from storage.log.entry import Import
from storage.log.log import Log
from storage.log.references import References
from storage.log.summary import LogSummary, lost, read_log

_AT_ONCE = 16


class ExportError(Refused):
    """An object that the log names is missing, or Git refused the export."""


def export(settings: Settings, directory: Path, progress: Progress = no_progress) -> LogSummary:
    """Write a bare repository with `main` (the global commits), `next` (the chain) and all tags into `directory`.

    Safe beside writers and compactions, however long it takes. Git itself indexes and checks every object (`index-pack
    --strict`); those of an import as they came, since what is odd of them is known. Returns what the log has. Raises
    OSError where the directory has something in it or cannot be made.
    """
    if directory.exists() and any(directory.iterdir()):
        raise FileExistsError(f"{directory} is not empty")
    bucket = Bucket(settings)
    log = Log(bucket)
    contents = read_log(log)
    progress("log", contents.entries, contents.entries)
    directory.mkdir(parents=True, exist_ok=True)
    git(None, "init", "--quiet", "--bare", "--initial-branch=main", str(directory))
    _take_in_imported(bucket, contents.named, directory, progress)
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        pack = Path(folder) / "all.pack"
        _write_pack(pack, _objects(bucket, log, contents, progress))
        progress("git", 0, 2)
        with pack.open("rb") as stream:
            git(directory, "index-pack", "--stdin", _strict(contents.imported), stdin=stream)
    refs = {"refs/heads/main": contents.main, "refs/heads/next": contents.tip}
    refs |= {f"refs/tags/{name}": oid for name, oid in contents.tags.items()}
    git(directory, "update-ref", "--stdin", stdin="".join([f"create {r} {oid}\n" for r, oid in refs.items()]).encode())
    progress("git", 1, 2)
    # Drops what no branch reaches (trees that only writers saw, manifests), and finds deltas.
    git(directory, "repack", "-a", "-d", "--quiet")
    progress("git", 2, 2)
    return contents


def _take_in_imported(bucket: Bucket, named: References, directory: Path, progress: Progress) -> None:
    """Have Git take in the packs of an import, one after the other, as Git has made them."""
    for number, pack in enumerate(named.imported):
        progress("imported", number, len(named.imported))
        try:
            git(directory, "index-pack", "--stdin", stdin=bucket.get(pack + ".pack"))
        except Missing as error:
            raise ExportError(f"{pack}.pack is named by the log and missing in the bucket") from error
    progress("imported", len(named.imported), len(named.imported))


def _strict(imported: Import | None) -> str:
    """Return how strictly Git looks at what Sluice made: its trees have what is odd of those that they follow."""
    inherited = sorted({odd.name for odd in imported.odd} & INHERITED) if imported else []
    return "--strict=" + ",".join([f"{name}=ignore" for name in inherited]) if inherited else "--strict"


def _objects(bucket: Bucket, log: Log, contents: LogSummary, progress: Progress) -> Iterator[bytes]:
    """Yield every object once, as packs store it.

    Where packs were deleted meanwhile the log is read on, and the copies are read, with what came since.
    """
    seen: set[bytes] = set()
    read: set[tuple[PackId, int]] = set()
    while True:
        wanted = [(pack, only) for pack, only in _packs(contents.named) if _key(pack, only) not in read]
        missing = []
        for chunk in batched_with_progress(wanted, _AT_ONCE, "packs", progress):
            for (pack, only), data in zip(chunk, bucket.get_many(pack + ".pack" for pack, _ in chunk), strict=True):
                if data is None:
                    missing.append(pack + ".pack")
                    continue
                read.add(_key(pack, only))
                for location, kind, content in packs.scan(data):
                    oid = object_id(kind, content)
                    if oid not in seen and (only is None or oid.hex() in only):
                        seen.add(oid)
                        yield data[location.offset : location.offset + location.length]
        if not missing:
            return
        if gone := lost(log, contents, missing):
            raise ExportError(f"{gone[0]} is named by the log and missing in the bucket")


def _packs(named: References) -> Iterator[tuple[PackId, set[str] | None]]:
    """Yield the packs that are needed, and of submission packs the blobs that were committed."""
    yield from ((pack, None) for pack in named.packs if pack not in named.imported)
    yield from ((pack, blobs) for pack, blobs in named.submitted.items() if blobs)


def _key(pack: PackId, only: set[str] | None) -> tuple[PackId, int]:
    # More may have been committed of a submission pack since it was read, never less.
    return pack, len(only or ())


def _write_pack(path: Path, objects: Iterator[bytes]) -> None:
    """Write objects as one pack; their number stands in its header and is known at the end."""
    count = 0
    with path.open("wb+") as file:
        file.write(struct.pack(">4sII", b"PACK", 2, 0))
        for stored in objects:
            file.write(stored)
            count += 1
        file.seek(0)
        file.write(struct.pack(">4sII", b"PACK", 2, count))
        file.seek(0)
        digest = sha1()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
        file.write(digest.digest())


def git(directory: Path | None, *arguments: str, stdin: bytes | IO[bytes] = b"") -> str:
    """Run git in `directory`, without this user's configuration; return what it printed. Raises ExportError."""
    try:
        return Git(directory, plain_environment()).output(*arguments, stdin=stdin).decode(errors="replace")
    except GitFailed as error:
        raise ExportError(str(error)) from error
