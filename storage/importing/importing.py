"""An import: a Git history with its ids becomes the history of an empty repository.

Git makes the packs and checks them (packing.py, judging.py); nothing is written before. Then packs, copies of what the
tip has, and tables are stored, under names that follow from their contents (uploads.py), and last one entry is
appended that names them all: from then on the chain and the global commits go on from the imported commit. A process
that dies leaves garbage, which the same import finds again if it comes before garbage collection does. While an import
is at work, garbage collection waits; should it not, since Redis was flushed, the import finds what was tombstoned and
ends.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from storage.base.errors import Refused, Unavailable
from storage.base.ids import ObjectId, PackId
from storage.base.progress import Progress, no_progress
from storage.commit import Draft, NoEntry, append_directly, check_snapshot_current
from storage.coordination import Lease, LeaseName, new_owner
from storage.git.imported.deltas import HEAD_BYTES, base_and_size, is_delta
from storage.git.objects import Kind
from storage.git.packs import Location, PackWriter, decode_head, read_index
from storage.importing.judging import judge
from storage.importing.packing import PACK_BYTES, History, Packed
from storage.importing.path_index import index_paths
from storage.importing.source import Source, open_source
from storage.importing.tables import LEVEL, RowSpool
from storage.importing.uploads import Uploads
from storage.importing.whole import Copies, TipObjects
from storage.log.entry import GIT_FORMAT, TableRow
from storage.log.kinds.git import Import, Odd
from storage.log.records import Actor
from storage.lookup.archive import object_row
from storage.repository import Repository
from storage.view.load import catch_up
from storage.view.snapshot import Head, Snapshot

# By whom the log says that a history was imported: the command works on the bucket, as who has that may.
_PRINCIPAL = "sluice:import"
# It ends soon after its process; this is for one that hangs.
_LEASE_SECONDS = 7 * 86400.0
_PAUSE = 0.2


class NotEmpty(Refused):
    """The repository has something in it already: a history is imported into an empty one."""


class Older(Refused):
    """A process of the deployment has an older version, which cannot read an import: upgrade all of it first."""


class AnotherImport(Unavailable):
    """Another import, or a collection of garbage, is at work."""


class Collected(Unavailable):
    """Something of this import was collected as garbage before it was named. Run it again: the rest is there."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What was imported."""

    commit: str
    tree: str
    commits: int
    objects: int
    tags: int
    left: list[str]  # tags that are left out: they name something that the commit does not reach
    odd: tuple[Odd, ...]
    packs: int
    bytes: int  # of packs, indexes and tables
    stored: int  # of these, by this run
    already: bool = False  # an import before this one had done it all


def import_history(repo: Repository, folder: Path, ref: str = "HEAD", progress: Progress = no_progress) -> Imported:
    """Import the history that `ref` reaches in the Git repository in `folder`, with its tags.

    Safe beside an API and workers that run already, killed at any point, and repeated. Raises NoSource, Unfit, NotEmpty
    and Older before anything is written; GitFailed, OSError, and what appending raises.
    """
    repo.check()
    repo.prepare()
    catch_up(repo.view, repo.log, repo.bucket)  # with what an import has appended that died right then
    source = open_source(folder, ref)
    if (head := repo.view.head()).tip == source.tip:
        return _already(source, head)
    _check_empty(repo, head)
    if not repo.nodes.all_read(GIT_FORMAT):
        raise Older
    with _alone(repo) as keep, History(source) as history:
        history.pack(progress)
        packed = history.count()
        odd = judge(history, packed, progress)
        return _Import(repo, source, history, packed, odd, progress).run(keep)


def _already(source: Source, head: Head) -> Imported:
    return Imported(source.tip, head.root, source.commits, 0, len(source.tags), source.left, (), 0, 0, 0, already=True)


def _check_empty(repo: Repository, head: Head) -> None:
    """Raise NotEmpty where there are changesets, decided or not, or an imported history."""
    if head.committed or head.tip != head.main or head.main_seq != 1:
        raise NotEmpty("the repository has a history already: import into an empty one, of another name or bucket")
    if next(repo.bucket.list_keys("inbox/", limit=1), None):
        raise NotEmpty(
            "the repository has changesets already, decided ones or ones that wait: import into an empty one"
        )


@contextmanager
def _alone(repo: Repository) -> Iterator[Lease]:
    """Keep garbage collection and other imports out."""
    owner = new_owner()
    lease = Lease(repo.view, LeaseName.IMPORTING, _LEASE_SECONDS, repo.heartbeat)
    # One that died holds it for as long as its process passes for alive, and a collection of garbage for a moment.
    until = time.monotonic() + 2 * repo.settings.lock_ttl + _PAUSE
    while not lease.take(owner):
        if time.monotonic() > until:
            raise AnotherImport
        time.sleep(_PAUSE)
    try:
        with repo.heartbeat.of(owner):
            yield lease
    finally:
        lease.release(owner)


class _Import:
    """One import, whose history is packed and judged."""

    def __init__(
        self,
        repo: Repository,
        source: Source,
        history: History,
        packed: Packed,
        odd: tuple[Odd, ...],
        progress: Progress,
    ) -> None:
        self._repo = repo
        self._source = source
        self._history = history
        self._packed = packed
        self._odd = odd
        self._progress = progress
        self._uploads = Uploads(repo)
        self._rows = RowSpool(history.folder / "rows")
        self._archives: list[tuple[PackId, int]] = []
        self._bytes = 0

    def run(self, lease: Lease) -> Imported:
        """Store everything, and append the entry."""
        self._store_packs()
        index_paths(
            self._history.git, self._source.tip, self._source.commits, self._history.folder / "paths", self._rows,
            self._progress,
        )  # fmt: skip
        tables = self._store_tables()
        self._append(tables)
        source, packed = self._source, self._packed
        return Imported(
            source.tip, source.parsed.tree.hex(), packed.counts[Kind.COMMIT], packed.objects, len(source.tags),
            source.left, self._odd, len(self._archives), self._bytes, self._uploads.stored,
        )  # fmt: skip

    def _store_packs(self) -> None:
        """Store Git's packs as they are, and copies of the tip's objects that they have as deltas."""
        tip = TipObjects(self._history.git, self._source.tip)
        files = self._history.files()
        sizes = [file.stat().st_size for file in files]
        with Copies(self._history.git, PACK_BYTES) as copies:
            for number, file in enumerate(files):
                self._progress("store", sum(sizes[:number]), sum(sizes))
                for copied in copies.take(self._store_pack(file, tip)):
                    self._store_copies(copied)
            for copied in copies.rest():
                self._store_copies(copied)
        self._progress("store", sum(sizes), sum(sizes))

    def _store_pack(self, file: Path, tip: TipObjects) -> list[ObjectId]:
        """Store a pack of Git's; return what has to be copied of it."""
        data, index = file.read_bytes(), file.with_suffix(".idx").read_bytes()
        name = self._store({".pack": data, ".idx": index})
        wanted = []
        for oid, span in read_index(index, len(data)).items():
            head = data[span.offset : span.offset + HEAD_BYTES]
            if not is_delta(head):
                self._rows.add(*object_row(oid, Location(name, span._replace(size=decode_head(head)[1]))))
            elif oid in tip:
                wanted.append(oid)
            else:
                size = base_and_size(data[span.offset : span.offset + min(span.length, HEAD_BYTES)])[1]
                self._rows.add(*object_row(oid, Location(name, span._replace(size=size))))
        return wanted

    def _store_copies(self, writer: PackWriter) -> None:
        name = self._store({".pack": writer.finish(), ".idx": writer.index()})
        for oid, span in writer.ranges.items():
            self._rows.add(*object_row(oid, Location(name, span)))

    def _store(self, files: dict[str, bytes]) -> PackId:
        name = self._uploads.store(files)
        self._archives.append((name, len(files[".pack"])))
        self._bytes += sum(map(len, files.values()))
        return name

    def _store_tables(self) -> list[TableRow]:
        tables = []
        for bits, prefix, data in self._rows.tables():
            name = self._uploads.store({".table": data})
            tables.append(TableRow(name, LEVEL, bits, prefix))
            self._bytes += len(data)
            self._progress("tables", (prefix + 1) if bits else 1, 1 << bits)
        return tables

    def _append(self, tables: list[TableRow]) -> None:
        source, parsed = self._source, self._source.parsed
        entry = Import(
            commit=source.tip, tree=parsed.tree.hex(), parents=tuple(parent.hex() for parent in parsed.parents),
            committed_at=parsed.committer.time, ref=source.ref, commits=self._packed.counts[Kind.COMMIT],
            objects=self._packed.objects, archives=tuple(self._archives), tables=tuple(tables), tags=source.tags,
            odd=self._odd, time=int(self._repo.bucket.now()), actor=Actor(principal=_PRINCIPAL),
        )  # fmt: skip

        def build_entry(snapshot: Snapshot) -> Draft[None] | NoEntry[None]:
            _check_empty(self._repo, snapshot.head)
            tombstoned = self._repo.view.tombstoned_packs(self._uploads.names)
            check_snapshot_current(self._repo, snapshot)
            if tombstoned:
                raise Collected
            return Draft(entry, None)

        append_directly(self._repo, build_entry)
