"""What `sluice submit` submits: changes from a slice's files to a directory's, or those of a range of Git commits."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.checkout import STATE
from app.client import Json, content
from storage.objects import Kind, object_id
from storage.trees import covers

_EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
_ABSENT = "000000"
_SUBMODULE = "160000"
_REGULAR = {"100644", "100755"}
_NOT_SUBMITTED = {".git", STATE}


class SubmissionError(Exception):
    """What is there cannot be submitted as it is."""


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of the directory."""

    mode: str
    data: bytes

    @property
    def id(self) -> str:
        """The id that Git gives this content."""
        return object_id(Kind.BLOB, self.data).hex()


def read_directory(directory: Path, paths: Collection[bytes]) -> tuple[dict[str, LocalFile], int]:
    """Return the directory's files that a slice of `paths` covers, and how many it does not cover.

    Whatever is called .git is left out, and what `sluice resolve` keeps there. Raises SubmissionError.
    """
    files: dict[str, LocalFile] = {}
    outside = 0
    for found in _walk(directory):
        name = _utf8(os.fsencode(found.relative_to(directory)))
        if not covers(paths, name.encode()):
            outside += 1
            continue
        status = found.lstat()
        if stat.S_ISLNK(status.st_mode):
            files[name] = LocalFile("120000", os.fsencode(found.readlink()))
        elif stat.S_ISREG(status.st_mode):
            files[name] = LocalFile("100755" if status.st_mode & stat.S_IXUSR else "100644", found.read_bytes())
        else:
            raise SubmissionError(f"{name} is neither a file nor a symlink")
    return files, outside


def _walk(directory: Path) -> Iterator[Path]:
    for each in sorted(directory.iterdir()):
        if each.name in _NOT_SUBMITTED:
            continue
        if each.is_dir() and not each.is_symlink():
            yield from _walk(each)
        else:
            yield each


def changes_to(files: Mapping[str, LocalFile], stored: Mapping[str, Json], delete: bool) -> list[Json]:
    """Return the changes that make the `stored` files (as the API lists a tree) into `files`.

    What is stored and not in `files` is deleted only if `delete` says so or if it is in the way of a file. What lies
    within a submodule belongs to another repository; a submodule itself goes only if a file takes its place.
    """
    modules = {path for path, entry in stored.items() if entry["mode"] == _SUBMODULE}
    mine = {path: file for path, file in files.items() if not modules.intersection(_above(path))}
    folders = {folder for path in mine for folder in _above(path)}
    changes: list[Json] = []
    for path in stored:
        in_the_way = path in folders or not mine.keys().isdisjoint(_above(path))
        if path not in mine and (in_the_way or (delete and path not in modules)):
            changes.append({"op": "delete", "path": path})
    for path, file in mine.items():
        entry = stored.get(path)
        if entry is not None and entry["id"] == file.id and entry["mode"] == file.mode:
            continue
        if entry is not None and entry["id"] == file.id and {entry["mode"], file.mode} == _REGULAR:
            changes.append({"op": "mode", "path": path, "mode": file.mode})
        else:
            changes.append({"op": "put", "path": path, "mode": file.mode, **content(file.data)})
    return changes


def _above(path: str) -> list[str]:
    """Return the directories above a path."""
    parts = path.split("/")
    return ["/".join(parts[:i]) for i in range(1, len(parts))]


def changeset_of(repository: Path, commits: str) -> Json:
    """Return a range of commits (`A..B`, `A...B`, or one commit) as one changeset, with each change's version as base.

    Author, time and message are those of the last commit; where there are several, the message lists them. Raises
    SubmissionError.
    """
    old, new = _ends(repository, commits)
    fields = _git(repository, "diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", old, new).split(b"\0")
    metas, paths = fields[0:-1:2], [_utf8(path) for path in fields[1::2]]
    rows = [meta.decode().lstrip(":").split(" ") for meta in metas]
    contents = _contents(repository, [oid for _, mode, _, oid, _ in rows if mode not in {_ABSENT, _SUBMODULE}])
    changes: list[Json] = []
    for path, (old_mode, mode, old_oid, oid, _) in zip(paths, rows, strict=True):
        change: Json = {"path": path, "base": None if old_mode == _ABSENT else old_oid}
        if mode == _ABSENT:
            change |= {"op": "delete"}
        elif mode == _SUBMODULE:
            change |= {"op": "put", "mode": mode, "id": oid}
        elif oid == old_oid and {old_mode, mode} == _REGULAR:
            change |= {"op": "mode", "mode": mode}
        else:
            change |= {"op": "put", "mode": mode, **content(contents[oid])}
        changes.append(change)
    name, email, time = _git(repository, "log", "-1", "--format=%an%x00%ae%x00%aI", new).decode().strip().split("\0")
    message = _message(repository, old, new)
    return {"author": {"name": name, "email": email}, "time": time, "message": message, "changes": changes}


def _ends(repository: Path, commits: str) -> tuple[str, str]:
    """Return the two ends of a range, as ids of a tree or commit, and of a commit."""
    first, dots, last = commits.partition("...")
    if not dots:
        first, dots, last = commits.partition("..")
    new = _commit(repository, (last if dots else first) or "HEAD")
    if dots:
        old = _commit(repository, first or "HEAD")
        return (_git(repository, "merge-base", old, new).decode().strip() if dots == "..." else old), new
    parents = _git(repository, "rev-parse", f"{new}^@").decode().split()
    return (parents[0] if parents else _EMPTY_TREE), new


def _commit(repository: Path, name: str) -> str:
    return _git(repository, "rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}").decode().split()[-1]


def _message(repository: Path, old: str, new: str) -> str:
    """Return the message of the range, without trailers that would count as Sluice's own."""
    span = [new, "-1"] if old == _EMPTY_TREE else ["--reverse", "--first-parent", f"{old}..{new}"]
    messages = _git(repository, "log", "-z", "--format=%B", *span).decode(errors="replace").strip("\0").split("\0")
    text = messages[-1]
    if len(messages) > 1:
        subjects = [message.strip().partition("\n")[0] for message in messages]
        text = f"{subjects[-1]}\n\n" + "\n".join(f"* {subject}" for subject in subjects)
    kept = [line for line in text.splitlines() if not line.lower().lstrip().startswith("changeset-id")]
    return "\n".join(kept).strip() or "(none)"


def _contents(repository: Path, oids: list[str]) -> dict[str, bytes]:
    """Return blobs' bytes by id."""
    found: dict[str, bytes] = {}
    if not oids:
        return found
    data = _git(repository, "cat-file", "--batch", stdin="".join(f"{oid}\n" for oid in oids).encode())
    start = 0
    for oid in oids:
        end = data.index(b"\n", start)
        head = data[start:end].split()
        if len(head) != 3:
            raise SubmissionError(f"{oid} is not in {repository}: is it a partial clone?")
        start = end + 1 + int(head[2])
        found[oid] = data[end + 1 : start]
        start += 1
    return found


def _git(repository: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    done = subprocess.run(["git", "-C", str(repository), *arguments], input=stdin, capture_output=True, check=False)
    if done.returncode:
        raise SubmissionError(f"{repository}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _utf8(path: bytes) -> str:
    try:
        return path.decode()
    except UnicodeDecodeError:
        raise SubmissionError(f"the path {path!r} is not UTF-8, which Sluice's API needs") from None
