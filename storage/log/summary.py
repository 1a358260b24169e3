"""A summary of the log, computed entry by entry, and continued while the log grows.

A reader of everything that the log references may need longer than `gc_grace`, and then misses objects that a
compaction has copied and deleted meanwhile. By then the compaction's entry is in the log and names the copies. So the
reader reads on in the log; objects that the log still references afterwards have to exist.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from storage.base.ids import Seq
from storage.log.entry import NO_HASH, Commits, Entry, Genesis, Import, Tags
from storage.log.log import Log, follow
from storage.log.references import References


@dataclass(slots=True)
class LogSummary:
    """What the entries so far name, and where they lead."""

    named: References = field(default_factory=References)
    main: str = ""  # the newest global commit
    tip: str = ""  # the newest of the chain
    entries: int = 0
    changesets: int = 0  # that were decided
    hash: str = NO_HASH  # of the last entry
    genesis: str = ""  # the commit that the log begins with
    imported: Import | None = None  # the history that the chain goes on from
    tags: dict[str, str] = field(default_factory=dict)  # ids of tag objects or commits, by name

    def add(self, entry: Entry, entry_hash: str) -> None:
        """Take the next entry."""
        self.entries, self.hash = entry.seq, entry_hash
        self.named.add(entry)
        self.changesets += len(entry.decided)
        match entry:
            case Genesis():
                self.tip = self.genesis = entry.commit
            case Commits():
                self.tip = entry.tip
            case Import():
                self.tip, self.imported = entry.commit, entry
                self.tags |= entry.tags
            case Tags():
                for tag in entry.changed:
                    self.tags.pop(tag.name, None)
                    self.tags |= {tag.name: tag.id} if tag.id else {}
        if made := entry.global_commit:
            self.main = made.commit


def catch_up(log: Log, contents: LogSummary) -> None:
    """Add the entries behind those that are in. Raises CorruptEntry and BucketError."""
    for entry, entry_hash in follow(log.read_from(Seq(contents.entries + 1)), contents.hash):
        contents.add(entry, entry_hash)


def read_log(log: Log) -> LogSummary:
    """Read the whole log, checking that it fits together. Raises CorruptEntry and BucketError."""
    contents = LogSummary()
    catch_up(log, contents)
    return contents


def lost(log: Log, contents: LogSummary, missing: Iterable[str]) -> list[str]:
    """Read the log on, and return those of missing files that it still names, sorted. Raises Corrupt, Unavailable."""
    catch_up(log, contents)
    return sorted(contents.named.files().intersection(missing))
