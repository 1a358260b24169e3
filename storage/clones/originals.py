"""The packs of an imported history on a process's own disk, from which slices' parts of it are made.

They stand beside the clone stores, in a folder of the same form, and go as these do when there is no room. Nobody is
served from them: they have all paths.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import structlog

from storage.base.errors import Unavailable
from storage.clones.git_store import GitStore
from storage.clones.locks import locked
from storage.clones.stores import IN_USE, REPOSITORY, USED, Stores
from storage.projection.follow import Imported
from storage.repository import Repository

log = structlog.get_logger()

# Seconds that a store waits while another one fetches the packs.
_PATIENCE = 3600.0
_TRIES = 3


class Originals:
    """The imported history of one repository. Safe for threads and processes."""

    def __init__(self, repo: Repository, stores: Stores) -> None:
        self._repo = repo
        self._stores = stores

    @contextmanager
    def opened(self, imported: Imported) -> Iterator[Path]:
        """Have the packs here; yield the bare repository with them, which has no refs and stays as long.

        Raises Unavailable, and OSError where the disk is full.
        """
        folder = self._folder(imported)
        with ExitStack() as use:
            size = 0
            for _ in range(_TRIES):
                size += self._fetch(folder, imported)
                with suppress(FileNotFoundError):  # it was removed in between
                    use.enter_context(locked(folder / IN_USE, shared=True, timeout=self._repo.settings.clone_wait))
                    break
            else:
                raise Unavailable(f"{folder.name} is removed again and again")
            self._stores.touch(folder)
            self._stores.grew(size)  # while it is in use, and stays
            yield folder / REPOSITORY

    def discard(self, imported: Imported) -> None:
        """Remove the packs, since Git found them damaged: they are fetched again."""
        log.warning("clone_broken", name=self._folder(imported).name, reason="Git could not read it")
        self._stores.remove(self._folder(imported))

    def _folder(self, imported: Imported) -> Path:
        return self._stores.folder / f"imported-{imported.commit.hex()}"

    def _fetch(self, folder: Path, imported: Imported) -> int:
        """Have the packs, and return how many bytes came."""
        if folder.exists():
            return 0
        sizes: list[int] = []
        # Many slices may want them at once.
        with locked(self._stores.folder / "imported.lock", timeout=_PATIENCE):
            self._stores.make(folder, lambda beside: sizes.append(self._fill(beside, imported)))
        return sum(sizes)

    def _fill(self, folder: Path, imported: Imported) -> int:
        store, size = GitStore(folder / REPOSITORY), 0
        store.create()
        (folder / USED).touch()
        for name in imported.packs:
            pack, index = (self._repo.bucket.get(name + suffix) for suffix in (".pack", ".idx"))
            store.add_indexed(name.rpartition("/")[2], pack, index)
            size += len(pack) + len(index)
        log.info("imported_history_fetched", commit=imported.commit.hex(), packs=len(imported.packs), size=size)
        return size
