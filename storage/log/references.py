"""The bucket objects that the log references, computed entry by entry. Pure.

A compaction copies packs into others, which supersede them: from then on the log references the copies.
"""

from dataclasses import dataclass, field

from storage.base.ids import PackId
from storage.log.entry import Compact, Entry, Import, TableRow
from storage.log.records import Status


@dataclass(slots=True)
class References:
    """What is needed of the bucket to read everything that entries have made."""

    packs: dict[PackId, int] = field(default_factory=dict)  # trees, commits and merged blobs, and copies; with sizes
    # Submission packs, with the blobs that were committed.
    submitted: dict[PackId, set[str]] = field(default_factory=dict)
    archives: dict[PackId, int] = field(default_factory=dict)  # those of `packs` whose objects stand in tables
    # Those of `archives` that came with an import: Git's own, whose objects are deltas.
    imported: dict[PackId, int] = field(default_factory=dict)
    tables: dict[str, TableRow] = field(default_factory=dict)
    imported_tables: set[str] = field(default_factory=set)  # those of `tables` that have rows of an import alone
    archived: int = 0  # the last entry whose changesets the tables have
    compacted: dict[PackId, None] = field(default_factory=dict)  # submission packs whose contents are among `packs` now

    def add(self, entry: Entry) -> None:
        """Take the next entry."""
        self.packs |= dict(entry.packs)
        for decided in entry.decided:
            if decided.pack not in self.compacted:
                blobs = self.submitted.setdefault(decided.pack, set())
                if decided.status == Status.COMMITTED:
                    blobs.update(decided.blobs())
        if isinstance(entry, Compact):
            self._compact(entry)
        if isinstance(entry, Import):
            self.imported |= dict(entry.archives)
            self.imported_tables |= {table.name for table in entry.tables}
            self._archive(entry)

    def _compact(self, entry: Compact) -> None:
        self.archived = entry.archived
        for name in entry.retired:
            self.packs.pop(name, None)
            if self.submitted.pop(name, None) is not None:
                self.compacted[name] = None
        for name in entry.dropped:
            self.tables.pop(name, None)
        self._archive(entry)

    def _archive(self, entry: Compact | Import) -> None:
        self.archives |= dict(entry.archives)
        self.packs |= self.archives
        self.tables |= {table.name: table for table in entry.tables}

    @property
    def own_tables(self) -> list[TableRow]:
        """The tables that compactions made."""
        return [table for table in self.tables.values() if table.name not in self.imported_tables]

    def files(self) -> set[str]:
        """Return the names of all files in the bucket that are named."""
        pack_files = {pack + suffix for pack in self.packs for suffix in (".pack", ".idx")}
        return pack_files | {pack + ".pack" for pack in self.submitted} | {name + ".table" for name in self.tables}
