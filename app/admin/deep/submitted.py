"""What the full verification reads: the entries, and the changesets as they were submitted."""

from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice

from app.admin.deep.git import Reader, Workbench
from app.admin.deep.merges import Differs
from storage.backends.bucket import Bucket, Missing
from storage.base.ids import ChangesetId, ObjectId, PackId
from storage.base.progress import Progress
from storage.git.objects import EXECUTABLE_MODE, FILE_MODE, UNKNOWN_MODE, Version
from storage.git.packs import read_index
from storage.log import manifest
from storage.log.entry import Entry
from storage.log.log import Log, follow
from storage.log.manifest import Changeset
from storage.log.records import Decided
from storage.log.references import References
from storage.log.summary import LogSummary, lost
from storage.lookup.archive import MANIFESTS, read_all

_MAX_PACKS = 64  # whose manifests are held


def entries(log: Log, last: int) -> Iterator[Entry]:
    """Yield the entries up to `last`. Raises CorruptEntry and BucketError."""
    for entry, _ in follow(islice(log.read_from(1), last)):
        yield entry


def load(
    bucket: Bucket, log: Log, contents: LogSummary, bench: Workbench, progress: Progress
) -> dict[PackId, ObjectId]:
    """Give Git every object that the log names; return the manifests of submission packs, by pack.

    If packs were deleted meanwhile, the log is read on, and their copies are used. Lost objects are left out.
    """
    loaded: dict[PackId, ObjectId] = {}
    absent: set[str] = set()
    while True:
        named = contents.named
        while wanted := [
            pack for pack in (*named.packs, *named.submitted) if pack not in loaded and pack + ".pack" not in absent
        ]:
            loaded |= bench.load(bucket, wanted, named.imported, progress)
            missing = [pack + ".pack" for pack in wanted if pack not in loaded]
            absent.update(lost(log, contents, missing) if missing else ())
        try:
            return loaded | _compacted_manifests(bucket, named)
        except Missing as error:
            if lost(log, contents, error.args):
                raise


def _compacted_manifests(bucket: Bucket, named: References) -> dict[PackId, ObjectId]:
    """Return the manifests of the submission packs that have been compacted, those that are found."""
    if not named.compacted:
        return {}
    rows = read_all(bucket, named.own_tables)
    located = {pack: MANIFESTS.find(rows, pack) for pack in named.compacted}
    copies = {location.pack for location in located.values() if location}
    oids = {
        (pack, location.offset): oid
        for pack in copies
        for oid, location in read_index(bucket.get(pack + ".idx"), named.packs[pack]).items()
    }
    positions = {pack: (where.pack, where.range.offset) for pack, where in located.items() if where}
    return {pack: oids[at] for pack, at in positions.items() if at in oids}


def with_some_mode(seen: Version | None, submitted: int) -> Version | None:
    """Return a version for Git to merge on: one of unknown mode gets another than the submitted, as it counts here."""
    if seen is None or seen.mode != UNKNOWN_MODE:
        return seen
    return Version(FILE_MODE if submitted == EXECUTABLE_MODE else EXECUTABLE_MODE, seen.oid)


class Manifests:
    """The changesets of submission packs, as these say them."""

    def __init__(self, reader: Reader, manifests: dict[PackId, ObjectId]) -> None:
        self.reader = reader
        self._manifests = manifests
        self._read: OrderedDict[PackId, dict[ChangesetId, Changeset]] = OrderedDict()

    def find(self, record: Decided, at: str) -> Changeset | None:
        """Return what was submitted, None where its pack has been collected. Raises Differs and CorruptManifest."""
        pack = record.pack
        if pack not in self._manifests:
            return None
        if pack not in self._read:
            data = self.reader.blob(self._manifests[pack].hex())
            self._read[pack] = {changeset.id: changeset for changeset in manifest.split(data or b"", pack)}
            if len(self._read) > _MAX_PACKS:
                self._read.popitem(last=False)
        if record.id not in self._read[pack]:
            raise Differs(f"{at}: {pack} has no such changeset")
        return self._read[pack][record.id]
