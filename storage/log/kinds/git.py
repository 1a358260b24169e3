"""Kinds of entries that came with Git in and out. Pure; see storage/log/entry.py."""

from __future__ import annotations

from msgspec import field

from storage.base.ids import PackId
from storage.log.kinds.base import GIT_FORMAT, Entry, GlobalCommit, TableRow
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


class Odd(Record, frozen=True, kw_only=True):
    """Something that `git fsck` says of an imported history, and that changes nothing of what it says."""

    name: str  # as Git names it: fsck.<name>
    count: int  # of objects
    examples: tuple[str, ...]  # ids of some


class Import(Entry, tag="import", frozen=True, kw_only=True):
    """A Git history becomes that of an empty repository: the chain and the global commits go on from its tip."""

    commit: str  # the tip
    tree: str
    parents: tuple[str, ...]
    committed_at: int  # the tip's committer time, in seconds
    ref: str  # what it was in the source
    commits: int  # that the tip and the tags reach
    objects: int
    archives: tuple[tuple[PackId, int], ...]  # with deltas that name their bases by id; their objects stand in tables
    tables: tuple[TableRow, ...]
    tags: dict[str, str] = field(default_factory=dict)  # ids of tag objects or commits by name without refs/tags/
    odd: tuple[Odd, ...] = ()
    time: int  # in seconds
    actor: Actor

    @property
    def least_format(self) -> int:
        """5: older versions know no imports, and no deltas."""
        return GIT_FORMAT

    @property
    def global_commit(self) -> GlobalCommit:
        """The tip, which is published as it is: the next global commit has it as its parent."""
        return GlobalCommit(
            commit=self.commit, tree=self.tree, seq=self.seq, first=self.seq, through=self.seq,
            changesets=0, parents=self.parents, time=self.committed_at,
        )  # fmt: skip


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
