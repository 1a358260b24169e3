"""What a deep look reads: the log's plan, and the changesets as they were submitted."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from app.deep.git import Reader
from app.deep.merges import Differs
from storage import manifest
from storage.archive import manifest_in, read_all
from storage.bucket import Bucket
from storage.entries import EntryKind, Json
from storage.ids import ChangesetId, ObjectId, PackId, Seq
from storage.log import Log, follow
from storage.manifest import Changeset
from storage.named import Named
from storage.packs import read_index

_MOST_PACKS = 64  # whose manifests are held


@dataclass(slots=True)
class Plan:
    """What the first reading of the log finds."""

    entries: int = 0
    changesets: int = 0
    tips: list[str] = field(default_factory=list)  # of the chain and of the global history
    named: Named = field(default_factory=Named)


def read_plan(log: Log) -> Plan:
    """Read the whole log, checking its chain of hashes. Raises CorruptEntry and BucketError."""
    plan, main, tip = Plan(), "", ""
    for entry, _ in follow(log.read_from(1)):
        plan.entries += 1
        plan.named.add(entry)
        match entry["kind"]:
            case EntryKind.GENESIS:
                main = tip = entry["commit"]
            case EntryKind.MERGE:
                main = entry["commit"]
            case EntryKind.COMMITS:
                tip = entry["tip"]
                plan.changesets += len(entry["decided"])
    plan.tips = [tip, main] if plan.entries else []
    return plan


def entries(log: Log, last: int) -> Iterator[Json]:
    """Yield the entries up to `last`. Raises CorruptEntry and BucketError."""

    def until() -> Iterator[tuple[Seq, bytes]]:
        for seq, data in log.read_from(1):
            if seq > last:
                return
            yield seq, data

    for entry, _ in follow(until()):
        yield entry


def compacted_manifests(bucket: Bucket, named: Named) -> dict[PackId, ObjectId]:
    """Return the manifests of the submission packs that have been compacted, those that are found.

    Raises BucketError, CorruptObject and CorruptTable.
    """
    if not named.compacted:
        return {}
    rows = read_all(bucket, named.tables.values())
    located = {pack: manifest_in(rows, pack) for pack in named.compacted}
    copies = {location.pack for location in located.values() if location}
    oids = {
        (pack, place.offset): oid
        for pack in copies
        for oid, place in read_index(bucket.get(pack + ".idx"), named.packs[pack]).items()
    }
    found = {pack: (where.pack, where.place.offset) for pack, where in located.items() if where}
    return {pack: oids[at] for pack, at in found.items() if at in oids}


class Manifests:
    """The changesets of submission packs, as these say them."""

    def __init__(self, reader: Reader, places: dict[PackId, ObjectId]) -> None:
        self.reader = reader
        self._places = places
        self._read: OrderedDict[PackId, dict[ChangesetId, Changeset]] = OrderedDict()

    def find(self, record: Json, at: str) -> Changeset | None:
        """Return what was submitted, None where its pack has been collected. Raises Differs and CorruptManifest."""
        pack = PackId(record["pack"])
        if pack not in self._places:
            return None
        if pack not in self._read:
            data = self.reader.blob(self._places[pack].hex())
            self._read[pack] = {each.id: each for each in manifest.split(data or b"", pack)}
            if len(self._read) > _MOST_PACKS:
                self._read.popitem(last=False)
        found = self._read[pack].get(record["id"])
        if found is None:
            raise Differs(f"{at}: {pack} has no such changeset")
        return found
