"""Git's part: a bare repository of everything that the log names, in which Git itself makes trees and merges.

One `git fast-import` makes every changeset's full tree, and answers what is at a path; one `git cat-file --batch`
reads; merges are the Judge's. Neither code of storage/ nor configuration of the machine influences a tree here.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Container, Iterable, Sequence
from typing import NamedTuple

from app.admin.submitters import SUBMITTERS
from storage.backends.bucket import Bucket, Missing
from storage.base.batched import batched_by_size
from storage.base.errors import Corrupt
from storage.base.ids import ObjectId, PackId
from storage.base.progress import Progress, batched_with_progress
from storage.git import packs
from storage.git.objects import Version, object_id
from storage.git.packs import PackWriter
from storage.git.paths import quoted
from storage.git.run_git import GitFailed, ScratchRepository

_AT_ONCE = 16
# Objects of one pack of the repository; as much is held in memory.
_PACK_BYTES = 64 << 20
# What is asked before an answer is read: more than a pipe holds, and both sides would wait for each other.
_ASKED_BYTES = 16 << 10
_CONFIG = "[core]\n\tcompression = 1\n"
_FORMAT = f"--format=%H%x09%T%x09%P%x09%(trailers:key=Changeset-Id,valueonly,separator=%x20)%x09{SUBMITTERS}"
_BRANCH = b"refs/heads/deep"
_NONE = ObjectId(b"")


class GitRefused(Corrupt):
    """Git does not take what the log says, or does not know it."""


class CommitInfo(NamedTuple):
    """A commit, as Git reads it."""

    tree: str
    parents: list[str]
    changesets: list[str]  # of the trailers Changeset-Id
    submitters: str  # the trailers Changeset-Submitter, as SUBMITTERS has Git print them


class Workbench(ScratchRepository):
    """A temporary bare repository of all that the log names."""

    def __init__(self) -> None:
        super().__init__("deep", _CONFIG)
        self._errors = (self.folder / "errors").open("w+b")
        self._processes: list[subprocess.Popen[bytes]] = []

    def __exit__(self, *exc: object) -> None:
        """End Git and remove the repository."""
        for process in self._processes:
            process.kill()
            process.communicate()
        self._errors.close()
        self.remove()

    def load(
        self, bucket: Bucket, names: Sequence[PackId], whole: Container[PackId], progress: Progress
    ) -> dict[PackId, ObjectId]:
        """Take in all objects of packs; return the last of each, a submission pack's manifest.

        Packs of `whole` are taken in as they are, and nothing is said of their objects. What is missing in the bucket
        is left out. Raises BucketError and CorruptObject.
        """
        last: dict[PackId, ObjectId] = {}
        writer = PackWriter()
        for chunk in batched_with_progress(names, _AT_ONCE, "packs", progress):
            last |= {pack: _NONE for pack in chunk if pack in whole and self._take_in(bucket, pack)}
            others = [pack for pack in chunk if pack not in whole]
            for pack, data in zip(others, bucket.get_many(name + ".pack" for name in others), strict=True):
                for location, kind, content in packs.scan(data) if data is not None else ():
                    last[pack] = oid = object_id(kind, content)
                    writer.add_encoded(oid, data[location.offset : location.offset + location.length], location.size)  # type: ignore[index]
                if writer.size > _PACK_BYTES:
                    self._index(writer)
                    writer = PackWriter()
        if writer:
            self._index(writer)
        return last

    def _take_in(self, bucket: Bucket, pack: PackId) -> bool:
        """Take in a pack as it is, one at a time; tell whether it is there."""
        try:
            self.run("index-pack", "--stdin", given=bucket.get(pack + ".pack"))
        except Missing:
            return False
        return True

    def _index(self, writer: PackWriter) -> None:
        # Git names every object anew by its contents.
        self.run("index-pack", "--stdin", given=writer.finish())

    def commits(self, tips: Iterable[str], *arguments: str) -> dict[str, CommitInfo]:
        """Return all commits that `tips` reach, by id, as further arguments of `git log` say. Raises GitRefused."""
        listed = self.run("log", "--stdin", "-z", _FORMAT, *arguments, given="\n".join([*tips, ""]).encode())
        rows = (each.split("\t", 4) for each in listed.decode(errors="replace").split("\0") if each)
        return {oid: CommitInfo(tree, parents.split(), ids.split(), who) for oid, tree, parents, ids, who in rows}

    def run(self, *arguments: str, given: bytes) -> bytes:
        """Run git and return what it printed. Raises GitRefused."""
        try:
            return self.git.output(*arguments, stdin=given)
        except GitFailed as error:
            raise GitRefused(f"git {arguments[0]}: {error.reason}") from error

    def start(self, *arguments: str, pass_fds: Sequence[int] = ()) -> subprocess.Popen[bytes]:
        """Start a git that lives as long as the repository."""
        process = self.git.start(*arguments, stdin=subprocess.PIPE, stderr=self._errors, pass_fds=pass_fds)
        self._processes.append(process)
        return process

    def complaint(self) -> str:
        """Return the last line of the errors of a Git process that ended."""
        self._errors.seek(0)
        lines = [
            line for line in self._errors.read().decode(errors="replace").splitlines() if "crash report" not in line
        ]
        return lines[-1].removeprefix("fatal: ") if lines else "git ended"


class Reader:
    """Reads objects, one after the other."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._git = bench.start("cat-file", "--batch")
        self._check = bench.start("cat-file", "--batch-check")

    def kind(self, oid: str) -> str | None:
        """Return the kind of an object, None where there is none of that id. Raises GitRefused."""
        kind, size = self._header(self._check, oid)
        return None if size is None else kind

    def blob(self, oid: str) -> bytes | None:
        """Return a blob, None where there is none of that id. Raises GitRefused."""
        return self._object(oid, "blob")

    def tree_of(self, commit: str) -> str:
        """Return the tree of a commit, which there is. Raises GitRefused."""
        return (self._object(commit, "commit") or b"").partition(b"\n")[0].decode().removeprefix("tree ")

    def message(self, commit: str) -> str:
        """Return a commit's message. Raises GitRefused."""
        return (self._object(commit, "commit") or b"").partition(b"\n\n")[2].decode(errors="replace")

    def _object(self, oid: str, wanted: str) -> bytes | None:
        kind, size = self._header(self._git, oid)
        if size is None:
            return None
        assert self._git.stdout
        data = self._git.stdout.read(size + 1)[:-1]
        return data if kind == wanted else None

    def _header(self, process: subprocess.Popen[bytes], oid: str) -> tuple[str, int | None]:
        """Return what Git answers before an object: its kind and size; the size is None where there is none."""
        assert process.stdin and process.stdout
        process.stdin.write(oid.encode() + b"\n")
        process.stdin.flush()
        _, kind, *size = process.stdout.readline().split() or [b"", b""]
        if not kind:
            raise GitRefused(self._bench.complaint())
        return kind.decode(), int(size[0]) if size else None


class Importer:
    """Makes commits, one open at a time, and answers what is at a path of a tree."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        answers, asked = os.pipe()
        self._git = bench.start(
            "fast-import", "--quiet", "--force", "--depth=0", f"--cat-blob-fd={asked}", pass_fds=[asked]
        )
        os.close(asked)
        self._answers = os.fdopen(answers, "rb")
        self._mark = 0

    def __enter__(self) -> Importer:
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the pipe of answers; the repository ends Git."""
        self._answers.close()

    def begin(self, base: str) -> str:
        """Open a commit on `base`, a commit or a mark (empty: on nothing), and return its mark."""
        self._mark += 1
        self._send(b"commit %s\nmark :%d\ncommitter deep <deep@localhost> 1 +0000\ndata 0\n" % (_BRANCH, self._mark))
        self._send(b"from %s\n" % base.encode() if base else b"deleteall\n")
        return f":{self._mark}"

    def put(self, path: bytes, version: Version | None) -> None:
        """Set or delete what stands at a path of the open commit."""
        if version is None:
            self._send(b"D %s\n" % quoted(path, always=True))
        else:
            self._send(b"M %o %s %s\n" % (version.mode, version.oid.hex().encode(), quoted(path, always=True)))

    def put_text(self, path: bytes, mode: int, text: bytes) -> None:
        """Set a file of the open commit to a text of its own."""
        self._send(b"M %o inline %s\ndata %d\n%s\n" % (mode, quoted(path, always=True), len(text), text))

    def end(self) -> str:
        """Close the commit and return its tree. Raises GitRefused."""
        [root] = self._ask([b'\nls :%d ""\n' % self._mark])
        assert root is not None
        return root.oid.hex()

    def versions(self, paths: Iterable[bytes]) -> dict[bytes, Version | None]:
        """Return what stands at paths of the open commit; a directory is a version too. Raises GitRefused."""
        versions: dict[bytes, Version | None] = {}
        for part in batched_by_size(paths, lambda path: len(path) + 64, _ASKED_BYTES):
            questions = [b"ls " + quoted(path, always=True) + b"\n" for path in part]
            versions |= zip(part, self._ask(questions), strict=True)
        return versions

    def sync(self) -> None:
        """Make all commits and trees visible to other Git processes. Raises GitRefused."""
        self._send(b"checkpoint\nprogress synced\n", flush=True)
        assert self._git.stdout
        if self._git.stdout.readline() != b"progress synced\n":
            raise GitRefused(self._bench.complaint())

    def _ask(self, questions: Sequence[bytes]) -> list[Version | None]:
        self._send(b"".join(questions), flush=True)
        return [self._answer() for _ in questions]

    def _answer(self) -> Version | None:
        line = self._answers.readline()
        if not line:
            self._git.wait()
            raise GitRefused(self._bench.complaint())
        if line.startswith(b"missing "):
            return None
        mode, _, oid = line.partition(b"\t")[0].split(b" ")
        return Version(int(mode, 8), ObjectId(bytes.fromhex(oid.decode())))

    def _send(self, data: bytes, flush: bool = False) -> None:
        assert self._git.stdin
        try:
            self._git.stdin.write(data)
            if flush:
                self._git.stdin.flush()
        except BrokenPipeError:
            raise GitRefused(self._bench.complaint()) from None
