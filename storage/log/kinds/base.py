"""What all kinds of entries (storage/log/entry.py) have in common: their form, and which formats there were. Pure."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from storage.base.ids import PackId, Seq
from storage.log.records import Decided, Record

FORMATS = (1, 2, 3, 4, 5)
PUBLISHED_FORMAT = 2
ACCESS_FORMAT = 3
QUOTAS_FORMAT = IDENTITIES_FORMAT = ACTOR_FORMAT = WEBHOOKS_FORMAT = 4
GIT_FORMAT = 5


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind"):
    """An entry of any kind. One that is made has no position in the log before `placed` gives it one."""

    format: int = 0
    seq: Seq = Seq(0)
    previous: str = ""  # the hash of the entry before it
    by: str = ""  # its writer, so that no two writers' entries are the same bytes

    @property
    def kind(self) -> str:
        """The kind by its name in JSON."""
        return str(self.__struct_config__.tag)

    @property
    def least_format(self) -> int:
        """The oldest format that can say it."""
        return FORMATS[0]

    @property
    def global_commit(self) -> GlobalCommit | None:
        """The global commit that the entry makes."""
        return None

    @property
    def packs(self) -> tuple[tuple[PackId, int], ...]:
        """The packs that came with the entry, with their sizes."""
        return ()

    @property
    def decided(self) -> tuple[Decided, ...]:
        """The changesets that the entry decides."""
        return ()

    @property
    def retired(self) -> tuple[PackId, ...]:
        """Packs and tables that are not needed any more."""
        return ()


class GlobalCommit(Record, frozen=True, kw_only=True):
    """A global commit as the list of global commits shows it."""

    commit: str
    tree: str
    seq: int  # of its entry
    first: int  # the entries whose commits it merges
    through: int
    changesets: int
    parents: tuple[str, ...]
    time: int = 0  # in seconds; 0: an older version noted it in the view


class TableRow(NamedTuple):
    """A table as the log and the view name it."""

    name: PackId  # in the bucket, without the suffix
    level: int  # how often it has been merged
    bits: int  # so many leading bits all of its keys have in common
    prefix: int  # these bits
