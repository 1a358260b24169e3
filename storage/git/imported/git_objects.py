"""Reading objects of a repository by a Git that stays: one process for many objects."""

import subprocess
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from storage.base.batched import batched
from storage.base.ids import ObjectId
from storage.git.imported.git_output import ended
from storage.git.objects import CorruptObject, Kind
from storage.git.run_git import Git

# Ids that are asked for before anything is read: they fit into a pipe, whatever the answers are.
_TOGETHER = 256


class GitObjects:
    """The objects of one repository. Used in a `with` block, by one thread."""

    def __init__(self, git: Git) -> None:
        """Start Git. Raises GitFailed."""
        self._process = git.start("cat-file", "--batch", stdin=subprocess.PIPE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ended(self._process):
            pass

    def read(self, oid: ObjectId) -> tuple[Kind, bytes]:
        """Return an object's kind and bytes, which are not compared with its id. Raises CorruptObject."""
        self._ask([oid])
        return self._answer(oid)

    def read_all(self, oids: Sequence[ObjectId]) -> Iterator[tuple[Kind, bytes]]:
        """Yield objects in this order. All of them have to be taken. Raises CorruptObject."""
        for some in batched(oids, _TOGETHER):
            self._ask(some)
            for oid in some:
                yield self._answer(oid)

    def _ask(self, oids: Sequence[ObjectId]) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(b"".join([oid.hex().encode() + b"\n" for oid in oids]))
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise CorruptObject("git cat-file has ended: an object before this one is damaged") from error

    def _answer(self, oid: ObjectId) -> tuple[Kind, bytes]:
        assert self._process.stdout
        head = self._process.stdout.readline().split()
        if len(head) != 3:
            raise CorruptObject(f"git cat-file has no object {oid.hex()}")
        size = int(head[2])
        data = self._process.stdout.read(size + 1)
        if len(data) != size + 1:
            raise CorruptObject(f"git cat-file has ended within {oid.hex()}")
        return Kind[head[1].decode().upper()], data[:-1]
