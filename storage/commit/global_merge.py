"""Batch merges: publish the next bounded run of the chain as one global commit."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import structlog

from storage.base.ids import ObjectId, new_ulid, oid_of
from storage.commit.append_loop import Draft, NoEntry, append_loop
from storage.git.objects import Commit, Ident, Kind, object_id
from storage.log.entry import Merge
from storage.log.store_pack import pack_of, store_pack
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

    @property
    def line(self) -> str:
        """The same for a person; empty where nothing was merged."""
        return f"merged {self.changesets}, entry {self.seq}" if self.changesets else ""


_Merged = tuple[MergeResult, Mapping[ObjectId, tuple[Kind, bytes]]]


def merge_batch(repo: Repository) -> MergeResult:
    """Make the next global commit.

    It is made for one parent: if another merge was appended meanwhile it is discarded, never rebased. Other new entries
    only change its position in the log. Raises Unavailable.
    """
    parent: str | None = None

    def build_entry(snapshot: Snapshot) -> Draft[_Merged] | NoEntry[_Merged]:
        nonlocal parent
        if parent in (None, snapshot.head.main):
            parent = snapshot.head.main
            if batches := _next_batches(repo, snapshot):
                return _draft(repo, snapshot.head, batches)
        return NoEntry((MergeResult(), {}))

    with repo.append_lock.held(new_ulid()):
        result, objects = append_loop(repo, build_entry)
        if objects:
            repo.objects.share(objects)
    if result.changesets:
        log.info("batch_merged", **asdict(result))
    return result


def _next_batches(repo: Repository, snapshot: Snapshot) -> list[Batch]:
    """Return the oldest whole entries that are not merged, up to the limit but at least one."""
    chosen: list[Batch] = []
    total = 0
    for batch in repo.view.unmerged_batches(snapshot.head, _MAX_ENTRIES):
        if chosen and total + batch.count > repo.settings.merge_changesets:
            break
        total += batch.count
        chosen.append(batch)
    return chosen


def _draft(repo: Repository, head: Head, batches: list[Batch]) -> Draft[_Merged]:
    last = batches[-1]
    count = sum(batch.count for batch in batches)
    now = repo.committer()
    who = Ident(now.name, now.email, max(now.time, head.main_time, last.time))
    message = (
        f"Merge {count} changeset{'s' if count != 1 else ''}\n\n"
        f"Merged-Entries: {batches[0].seq}-{last.seq}\nMerged-Changesets: {count}\n"
    )
    parents = (oid_of(head.main), oid_of(last.tip))
    data = Commit(oid_of(last.tree), parents, who, who, message).encode()
    commit = object_id(Kind.COMMIT, data)
    objects = {commit: (Kind.COMMIT, data)}
    writer = pack_of(objects)
    pack, size = store_pack(repo.bucket, writer)
    entry = Merge(
        packs=((pack, size),), commit=commit.hex(), tree=last.tree, time=who.time,
        parents=tuple([parent.hex() for parent in parents]), first=batches[0].seq, through=last.seq,
        changesets=count, merged=head.merged + count,
    )  # fmt: skip
    result = MergeResult(count, len(batches), head.applied + 1, commit.hex())
    return Draft(entry, (result, objects), {pack: writer.ranges})
