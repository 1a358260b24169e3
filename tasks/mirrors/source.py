"""The Git repositories that mirrors are pushed from: they follow the log, in a folder of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.base.errors import Unavailable
from storage.clones.clones import Clones
from storage.mirrors.records import Mirror
from storage.repository import Repository
from storage.view.snapshot import Head


class NoSlice(Unavailable):
    """The slice whose history a mirror is pushed has been deleted."""


class Source:
    """The clone stores of this machine. They may be deleted at any moment, and are made again then."""

    def __init__(self, repo: Repository, folder: Path) -> None:
        """Keep them in `folder`."""
        self._repo = repo
        self._clones = Clones(repo, folder)

    @contextmanager
    def ready(self, mirror: Mirror, head: Head) -> Iterator[Path]:
        """Yield a bare repository whose refs/heads/main has what had landed at `head`, or more. Raises Unavailable."""
        if mirror.slice is None:
            clone = self._clones.whole()
        else:
            definition = self._repo.snapshot(slices=[mirror.slice]).slices.get(mirror.slice)
            if definition is None:
                raise NoSlice
            clone = self._clones.of_slice(definition)
        with clone.ready(head.applied) as folder:
            yield folder
