"""Kinds of entries that came with Git in and out. Pure; see storage/log/entry.py."""

from __future__ import annotations

from storage.base.ids import PackId
from storage.log.kinds.base import GIT_FORMAT, Entry
from storage.log.records import Actor, Record
from storage.mirrors.records import Mirror


class TagChange(Record, frozen=True, kw_only=True):
    """What becomes of one tag."""

    name: str  # without refs/tags/
    id: str | None = None  # of the tag object, or of the commit where there is none; None: it is deleted
    was: str | None = None  # what it was before, None: it was not there


class Tags(Entry, tag="tags", frozen=True, kw_only=True):
    """Tags are made, moved or deleted."""

    changed: tuple[TagChange, ...]
    time: int  # in seconds
    actor: Actor | None = None  # None where there are no tokens
    packs: tuple[tuple[PackId, int], ...] = ()  # with the tag objects that are new

    @property
    def least_format(self) -> int:
        """5: older versions know no tags."""
        return GIT_FORMAT


class Mirrors(Entry, tag="mirrors", frozen=True, kw_only=True):
    """Mirrors are made, changed (stopped or resumed) or deleted."""

    time: int  # in seconds
    actor: Actor | None = None  # None: Sluice itself, or nobody knows
    created: tuple[Mirror, ...] = ()
    changed: tuple[Mirror, ...] = ()
    deleted: tuple[str, ...] = ()  # by their names

    @property
    def least_format(self) -> int:
        """5: older versions know no mirrors."""
        return GIT_FORMAT
