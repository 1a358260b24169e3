"""Cursors: positions of processes that scan the bucket. They are caches, and start again in a new epoch of the view."""

from enum import StrEnum

from storage.view.lists import Lists


class CursorName(StrEnum):
    """The cursors, as their keys below the epoch are called."""

    INBOX_SEEN = "inbox:seen"  # the submission pack before which all is decided or queued
    INBOX_DEEP = "inbox:deep"  # the submission pack behind which the next full scan of the inbox goes on
    GARBAGE = "gc:cursor"  # the pack behind which the next garbage collection goes on
    CHECKPOINTS = "checkpointed"  # the last entry up to which there are segments
    BUNDLES = "rolled"  # how many bundles of entries there are


class Cursor:
    """One of them. A view that was loaded anew may know less than the one that moved it, so each epoch has its own."""

    def __init__(self, view: Lists, name: CursorName) -> None:
        self._view = view
        self._name = name

    def get(self) -> str:
        """Return where it stands, an empty text where it was never set. Raises ViewAbsent."""
        return (self._view.redis.get(self._view.key(self._name)) or b"").decode()

    def set(self, position: str | int) -> None:
        """Move it, also while Redis is full. Raises ViewAbsent."""
        self._view.scripts("note", self._view.key(self._name).removeprefix(self._view.prefix), position)
