"""All clone stores of one process: the whole repository, and each slice."""

from pathlib import Path

from storage.clones.clone import Clone
from storage.clones.entries import RecentEntries
from storage.clones.stores import Stores
from storage.repository import Repository
from storage.view.snapshot import Slice


class Clones:
    """The clone stores in a folder, which other processes of this machine may share. Safe for threads."""

    def __init__(self, repo: Repository, folder: Path) -> None:
        """Keep them in `folder`, which is made when it is needed; its disk is bounded by the setting clone_bytes."""
        self._repo = repo
        self._stores = Stores(folder, repo.settings.clone_bytes)
        self._entries = RecentEntries(repo.log)

    def whole(self) -> Clone:
        """Return the store of the whole repository. Its commits are the chain's own, up to the newest landed one."""
        return Clone(self._repo, self._stores, self._entries, None)

    def of_slice(self, definition: Slice) -> Clone:
        """Return the store of a slice's projection, for who may read all paths of this definition of it.

        What it gives out is of these paths alone: a definition that was changed meanwhile has another store.
        """
        return Clone(self._repo, self._stores, self._entries, definition)

    def make_room(self) -> None:
        """Remove stores that nobody uses as long as all take more than `clone_bytes`; they do so by themselves."""
        self._stores.make_room()
