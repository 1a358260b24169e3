"""Batch merges: publish the next bounded run of the chain as one global commit."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from time import perf_counter

import structlog

from storage.base.errors import Unavailable
from storage.base.ids import ObjectId, PackId, oid_of
from storage.commit.append_loop import Draft, NoEntry, append_loop
from storage.coordination import new_owner
from storage.git.objects import Commit, Ident, Kind, object_id
from storage.git.packs import PackRange
from storage.log.entry import Merge
from storage.log.store_pack import files_of, pack_of, store_pack
from storage.metrics.counts import COUNTS
from storage.metrics.definitions import MERGE_SECONDS
from storage.repository import Repository
from storage.view.rows import Batch
from storage.view.snapshot import Head, Snapshot

log = structlog.get_logger()

# Entries looked at for one merge; merge_changesets bounds it too.
_MAX_ENTRIES = 1000


@dataclass(frozen=True, slots=True)
class MergeResult:
    """The result of a batch merge."""

    changesets: int = 0  # that it merged; 0 where none was pending
    entries: int = 0
    seq: int = 0  # of its own entry
    commit: str = ""
    first: int = 0  # the entries that it merged
    through: int = 0

    @property
    def line(self) -> str:
        """The same for a person; empty where nothing was merged."""
        return f"merged {self.changesets}, entry {self.seq}" if self.changesets else ""


@dataclass(frozen=True, slots=True)
class PreparedMerge:
    """A global commit of these batches, which no entry names yet."""

    parent: str  # the global commit before it
    batches: Sequence[Batch]
    time: int
    id: ObjectId
    data: bytes
    packs: tuple[tuple[PackId, int], ...] = ()  # that its entry has to bring: none where the batch's pack has it
    ranges: dict[PackId, dict[ObjectId, PackRange]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)  # files of that pack that could not be stored


_Merged = tuple[MergeResult, PreparedMerge | None]


def prepare_merge(repo: Repository, head: Head, batches: Sequence[Batch]) -> PreparedMerge:
    """Make the global commit of these batches that follows the head's."""
    last = batches[-1]
    count = sum(batch.count for batch in batches)
    now = repo.committer()
    who = Ident(now.name, now.email, max(now.time, head.main_time, last.time))
    message = (
        f"Merge {count} changeset{'s' if count != 1 else ''}\n\n"
        f"Merged-Entries: {batches[0].seq}-{last.seq}\nMerged-Changesets: {count}\n"
    )
    data = Commit(oid_of(last.tree), (oid_of(head.main), oid_of(last.tip)), who, who, message).encode()
    return PreparedMerge(head.main, batches, who.time, object_id(Kind.COMMIT, data), data)


def merge_beside(repo: Repository, head: Head, batch: Batch) -> tuple[PreparedMerge | None, list[Callable[[], None]]]:
    """Return the global commit of all that is pending at `head` and of the batch behind it, with what stores it.

    That is to be called while the batch's entry is being stored; it never raises, but notes what was `lost`. Returns
    None where they are too many for one global commit.
    """
    batches = [*(_next_batches(repo, head) if head.pending else ()), batch]
    count = sum(each.count for each in batches)
    if count != head.pending + batch.count or count > repo.settings.merge_changesets:
        return None, []
    made = prepare_merge(repo, head, batches)
    writer = pack_of({made.id: (Kind.COMMIT, made.data)})
    pack, size, files = files_of(writer)

    def store(name: str, data: bytes) -> None:
        try:
            repo.bucket.put_verified(name, data)
        except Unavailable as error:
            log.warning("merge_not_stored", file=name, reason=str(error))
            made.lost.append(name)

    made = replace(made, packs=((pack, size),), ranges={pack: writer.ranges})
    return made, [partial(store, *file) for file in files]


def merge_batch(repo: Repository, stored: PreparedMerge | None = None, locked: bool = False) -> MergeResult:
    """Make the next global commit: `stored`, whose object a pack has already, if it merges exactly what is next.

    `locked` says that the caller has the append lock.

    It is made for one parent: if another merge was appended meanwhile it is discarded, never rebased. Other new entries
    only change its position in the log. Raises Unavailable.
    """
    parent: str | None = None

    def build_entry(snapshot: Snapshot) -> Draft[_Merged] | NoEntry[_Merged]:
        nonlocal parent
        head = snapshot.head
        if parent in (None, head.main):
            parent = head.main
            if batches := _next_batches(repo, head):
                return _draft(repo, head, batches, stored)
        return NoEntry((MergeResult(), None))

    began = perf_counter()
    with nullcontext() if locked else repo.append_lock.held(new_owner()):
        result, made = append_loop(repo, build_entry)
        if made and made is not stored:  # its batch has shared that
            repo.objects.share({made.id: (Kind.COMMIT, made.data)})
    if result.changesets:
        COUNTS.observe(MERGE_SECONDS, perf_counter() - began)
        log.info("batch_merged", **asdict(result))
    return result


def _next_batches(repo: Repository, head: Head) -> list[Batch]:
    """Return the oldest whole entries that are not merged, up to the limit but at least one."""
    chosen: list[Batch] = []
    total = 0
    for batch in repo.view.unmerged_batches(head, _MAX_ENTRIES):
        if chosen and total + batch.count > repo.settings.merge_changesets:
            break
        total += batch.count
        chosen.append(batch)
    return chosen


def _draft(
    repo: Repository, head: Head, batches: Sequence[Batch], stored: PreparedMerge | None = None
) -> Draft[_Merged]:
    """Return the entry of the global commit of these batches: `stored` if it is that, else one that it stores."""
    if stored and not stored.lost and (stored.parent, stored.batches) == (head.main, batches):
        made, packs, ranges = stored, stored.packs, stored.ranges
    else:
        made = prepare_merge(repo, head, batches)
        writer = pack_of({made.id: (Kind.COMMIT, made.data)})
        pack, size = store_pack(repo.bucket, writer)
        packs, ranges = ((pack, size),), {pack: writer.ranges}
    first, last = batches[0], batches[-1]
    count = sum(batch.count for batch in batches)
    entry = Merge(
        packs=packs, commit=made.id.hex(), tree=last.tree, time=made.time, parents=(head.main, last.tip),
        first=first.seq, through=last.seq, changesets=count, merged=head.merged + count,
    )  # fmt: skip
    return Draft(
        entry, (MergeResult(count, len(batches), head.applied + 1, made.id.hex(), first.seq, last.seq), made), ranges
    )
