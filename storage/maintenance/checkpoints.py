"""Making checkpoints: segments and bundles of the log's entries, so that readers of many entries read few objects.

Each run is limited. It is harmless at any time, and in several processes at once, since all make the same objects.
"""

from itertools import islice

import structlog

from storage.base.ids import PackId, Seq
from storage.log import entry_bundles
from storage.log.entry import NO_HASH, digest
from storage.log.log import check, follow
from storage.repository import Repository
from storage.view.cursors import CursorName
from storage.view.load import entry_indexes, line, locations, read_forgotten
from storage.view.segments import FOLDER, encode, make, name_of

log = structlog.get_logger()


def checkpoint(repo: Repository, most: int, size: int = 0) -> int:
    """Make at most `most` missing segments of `size` entries (0: as set). Raises Unavailable and Corrupt."""
    made, size = 0, size or repo.settings.checkpoint_entries
    last = newest(repo)
    while made < most and repo.view.head().applied >= last + size:
        before = repo.log.read(last) if last else None
        previous = digest(before) if before is not None else NO_HASH
        pairs = list(islice(follow(repo.log.read_from(last + 1), previous), size))
        if len(pairs) < size:
            break
        gone = set[PackId]()
        ranges = entry_indexes(repo.bucket, (entry for entry, _ in pairs), gone)
        archived = repo.view.head().archived
        lost = {pack for entry, _ in pairs if entry.seq > archived for pack, _ in entry.packs}
        if lost & gone:
            log.error("checkpoint_late", first=last + 1, missing=min(lost & gone))
            break
        # Packs missing below `archived` were compacted away. Segments that are built late lack their rows; a later
        # compaction entry removes those rows anyway.
        segment = make(
            (entry, of, locations(entry, at), read_forgotten(repo.log, repo.bucket, entry))
            for (entry, of), at in zip(pairs, ranges, strict=True)
        )
        repo.bucket.create(name_of(segment.first, segment.last), encode(segment))
        last = segment.last
        made += 1
        repo.view.cursor(CursorName.CHECKPOINTS).set(last)
    return made


def roll_up(repo: Repository, most: int) -> int:
    """Make at most `most` missing rolls; return how many now exist. Raises Unavailable and CorruptEntry."""
    made = 0
    first_missing = _without_roll(repo)
    applied = repo.view.head().applied
    for number in range(first_missing, first_missing + most):
        if applied < entry_bundles.first_of(number + 1) - 1:
            break
        first = entry_bundles.first_of(number)
        entries = repo.log.read_many(Seq(first + i) for i in range(entry_bundles.RUN))
        whole = [data for data in entries if data is not None]
        if len(whole) < entry_bundles.RUN:
            break  # the view is ahead of what this endpoint has
        for before, data, seq in zip(whole, whole[1:], range(first + 1, first + entry_bundles.RUN), strict=False):
            check(seq, data, digest(before))
        repo.bucket.create(entry_bundles.name_of(number), entry_bundles.encode(whole))
        made += 1
        repo.view.cursor(CursorName.BUNDLES).set(number + 1)
    return made


def _without_roll(repo: Repository) -> int:
    """Return the number of the first roll that there is none of: behind the cursor, or as a listing says."""
    number = int(repo.view.cursor(CursorName.BUNDLES).get() or 0)
    for name in repo.bucket.list_keys(entry_bundles.FOLDER, entry_bundles.name_of(number - 1) if number else ""):
        if name != entry_bundles.name_of(number):
            break
        number += 1
    return number


def newest(repo: Repository) -> Seq:
    """Return the last entry up to which there are segments without a gap, 0 where there are none."""
    last = Seq(int(repo.view.cursor(CursorName.CHECKPOINTS).get() or 0))
    # A segment's name begins with its first entry: what is behind the cursor sorts behind it.
    after = f"{FOLDER}{last + 1:012d}" if last else ""
    segments = line(repo.bucket.list_keys(FOLDER, after), last)
    return segments[-1][1] if segments else last
