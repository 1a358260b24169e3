"""Events: what each entry of the log says about changesets, in log order. Pure.

An event's id is `<seq>-<index>`: its entry, and its number among that entry's events. Ids and events follow from the
log alone, so every process sends the same events at any time. An id without an index, `<seq>`, is the position after
all events of the entry; `0` is the position before all events.

`events_of` reduces an entry to the data for its events, which is small and shared by all streams. The events of a batch
merge are about the commits of earlier entries, so its data is a range of entries; `events` reads these one at a time.
An entry that brings the global commit of its own commits tells first what it decided, and then what landed.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice

from storage.base.ids import Seq
from storage.git.paths import paths_json, raw_path
from storage.log.entry import Commits, Entry, Merge, Release, Released
from storage.log.records import NAMING_OTHERS, Decided, Status

RELEASED = "released"

_ID = re.compile(r"(0|[1-9][0-9]{0,11})(?:-(0|[1-9][0-9]{0,8}))?", re.ASCII)
_ABOUT = ("commit", "reason", "detail", "resolves")
# In memory: of an event, beside its data; of what an entry tells, beside its events, with its place in a cache.
_EVENT_BYTES, _TOLD_BYTES = 200, 350


@dataclass(frozen=True, slots=True)
class Event:
    """What became of one changeset; its id is where it stands."""

    name: str  # a final or passing status, or "released"
    slice: str | None  # the changeset's; None where nobody knows it any more
    data: str  # JSON on one line
    covers: tuple[str, ...] = ()  # path prefixes by which it is judged who may know of it; none: who may read all

    @property
    def prefixes(self) -> list[bytes]:
        """The prefixes by which it is judged who may know of it."""
        return [raw_path(prefix) for prefix in self.covers or ("/",)]


@dataclass(frozen=True, slots=True)
class Merged:
    """The entries whose commits a batch merge lands, and how many commits they have."""

    first: Seq
    through: Seq
    count: int


@dataclass(frozen=True, slots=True)
class EntryEvents:
    """What one entry tells."""

    events: tuple[Event, ...] = ()
    landing: tuple[Event, ...] = ()  # what a merge of this entry will tell of its commits
    merged: Merged | None = None  # of a merge, instead of events

    @property
    def count(self) -> int:
        """How many events there are."""
        return self.merged.count if self.merged else len(self.events)

    @property
    def size(self) -> int:
        """About how many bytes it takes in memory."""
        return _TOLD_BYTES + sum(_EVENT_BYTES + len(event.data) for event in chain(self.events, self.landing))


NOTHING = EntryEvents()


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """How far a client has been sent events: all before entry `seq`, and the first `sent` of its events."""

    seq: int
    sent: int = 0

    @property
    def named(self) -> int:
        """The entry that the position's id names."""
        return self.seq if self.sent else self.seq - 1

    def __str__(self) -> str:
        """Return the id of the last event that was sent, or of the entry before."""
        return f"{self.seq}-{self.sent - 1}" if self.sent else f"{self.seq - 1}"


def behind(seq: int) -> Position:
    """Return the position behind everything that entry `seq` tells."""
    return Position(seq + 1)


def parse(text: str) -> Position:
    """Return the position behind the event with this id. Raises ValueError where it is none."""
    match = _ID.fullmatch(text)
    if match is None or (match[1] == "0" and match[2]):
        raise ValueError(f"{text!r} is not the id of an event")
    return Position(int(match[1]), int(match[2]) + 1) if match[2] else behind(int(match[1]))


def events_of(entry: Entry) -> EntryEvents:
    """Return what an entry tells."""
    match entry:
        case Commits():
            told = tuple(_decided(record, entry.seq, record.status) for record in entry.decided)
            committed = [record for record in entry.decided if record.status == Status.COMMITTED]
            landing = tuple(_decided(record, entry.seq, Status.LANDED) for record in committed)
            return EntryEvents(told + landing) if entry.published else EntryEvents(told, landing)
        case Merge():
            return EntryEvents(merged=Merged(entry.first, entry.through, entry.changesets))
        case Release():
            return EntryEvents(tuple(_released(released, entry.seq) for released in entry.released))
        case _:
            return NOTHING


def events(entry: EntryEvents, commits: Iterable[EntryEvents], skip: int = 0) -> Iterator[tuple[int, Event]]:
    """Yield the events of an entry behind the first `skip` of them, each with its index.

    `commits` has what `events_of` makes of each entry from `first` to `through`, where the entry merges them; no more
    of it is taken than has been asked for.
    """
    if entry.merged is None:
        yield from islice(enumerate(entry.events), skip, None)
        return
    index = 0
    for commit in commits:
        start = min(max(skip - index, 0), len(commit.landing))
        yield from enumerate(commit.landing[start:] if start else commit.landing, index + start)
        index += len(commit.landing)


def _decided(record: Decided, seq: int, status: Status) -> Event:
    data: dict[str, object] = {"id": record.id, "slice": record.slice, "status": status, "seq": seq}
    data |= {name: value for name in _ABOUT if (value := getattr(record, name)) is not None}
    if record.by:
        data["submitter"] = record.by.principal
    if facts := record.facts:
        data |= {"author": {"name": facts.author[0], "email": facts.author[1]}, "message": facts.subject}
        data |= {"labels": facts.labels} if facts.labels else {}
    if record.by and record.reason in NAMING_OTHERS:
        del data["detail"]  # an event is the same for everybody who may know of its changeset
    if record.conflicts:
        data |= paths_json("conflicts", [conflict.path for conflict in record.conflicts])
    return Event(str(status), record.slice, _json(data), record.covers)


def _released(record: Released, seq: int) -> Event:
    data = {"id": record.id, "slice": record.slice, "status": Status.QUEUED, "seq": seq}
    return Event(RELEASED, record.slice, _json(data), record.covers)


def _json(data: Mapping[str, object]) -> str:
    # All but ASCII is escaped: one line whatever a path contains, also for clients that break lines at U+2028.
    return json.dumps(data, separators=(",", ":"))
