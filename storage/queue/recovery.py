"""Finding lost work (invariant 2): every changeset of the inbox that has no outcome is queued again.

The low watermark (`mark`) is a changeset id that bounds the listing: all changesets up to it are decided, except those
that the log lists (held ones, for example). Compactions advance it in the log (storage/maintenance/compaction.py), so a
recovery starts there whatever Redis lost. It follows from a listing of the bucket and from the log, never from queues.
It only advances over packs that are older than `inbox_margin` by the bucket's clock. A writer gets 202 only if its
pack's id is within `late_put` of that clock (app/intake/intake.py), so no accepted changeset can appear below it.

Two cursors in Redis are caches that may be lost. Everything before `seen` is decided or queued, so a routine scan
starts there. Full scans find packs that arrived late, between the watermark and `seen`: each lists a part, from `deep`
on, and at the end of the listing they start again at the watermark.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import structlog
from cachetools import LRUCache

from storage.base.batched import batched
from storage.base.errors import ViewAbsent
from storage.base.ids import ChangesetId, PackId, changesets_of, made_at, submission_pack
from storage.base.settings import Settings
from storage.log import manifest
from storage.lookup.archive import Archive
from storage.queue.queue import Queue
from storage.queue.states import Stage
from storage.queue.submission_packs import UNREADABLE, read_pack
from storage.view.cursors import CursorName
from storage.view.view import View

log = structlog.get_logger()

MAX_UNDECIDED_BELOW = 4096
"""So many undecided changesets at most the mark passes at once, or those of one pack: an entry of the log names each.

How many there are in all is bounded by what may be held and queued; each recovery reads them, as it reads those ahead.
"""

MAX_PASSED_PACKS = 1000
"""Packs that the mark passes at once: every changeset in them is asked for."""

_PAGE = 200
_TIME = 10  # characters of an id that say when it was made
# Younger packs are looked at again by the next routine look.
_SETTLE = 30.0
# Packs of which a process remembers that nothing is left to be done. More than that are rarely looked at again.
_REMEMBERED = 10_000


@dataclass(slots=True)
class InboxScan:
    """The result of a scan of the inbox."""

    packs: int = 0
    enqueued: int = 0
    damaged: int = 0  # packs of which nothing can be queued
    seen: str = ""  # every changeset up to this pack is decided or queued
    last: str = ""  # the last pack that was listed
    complete: bool = False  # the listing was followed to its end


@dataclass(slots=True)
class Watermark:
    """How far the low watermark may advance."""

    mark: str  # every changeset up to this id is decided
    packs: int = 0  # that it passes by going there
    undecided: dict[ChangesetId, PackId] = field(default_factory=dict)  # but for these: held, or stacked on held ones


class Inbox:
    """The submission packs of a repository, and what became of them."""

    def __init__(self, settings: Settings, archive: Archive, view: View, queue: Queue) -> None:
        self._settings = settings
        self._archive = archive
        self._bucket = archive.bucket
        self._view = view
        self._queue = queue
        self._decided: LRUCache[PackId, bool] = LRUCache(_REMEMBERED)  # packs of which every changeset is
        self._seen, self._deep_cursor = view.cursor(CursorName.INBOX_SEEN), view.cursor(CursorName.INBOX_DEEP)

    def recover(self, run: bytes, epoch: str | None) -> InboxScan:
        """Queue everything undecided above the low watermark, and mark Redis as recovered.

        `run` is the run of Redis (`Queue.run`) in which the view of `epoch` was brought up to the log: another run may
        have been restored from an older snapshot, so only this one is marked. Raises Unavailable.
        """
        if epoch is None:
            raise ViewAbsent("the view is not loaded")
        scan = self.scan(self._behind_mark())
        self._look_at_passed(scan)
        self._seen.set(scan.seen)
        self._queue.begin_anew()
        self._queue.mark_recovered(epoch, run)
        return scan

    def routine(self, deep: bool) -> InboxScan:
        """Scan what is new or, if `deep`, the next part of all that is behind the mark. Raises Unavailable."""
        if not deep:
            scan = self.scan(self._seen.get(), self._settings.upkeep_packs)
            self._seen.set(scan.seen)
            return scan
        scan = self.scan(max(self._behind_mark(), self._deep_cursor.get()), self._settings.upkeep_packs)
        if scan.complete:
            self._look_at_passed(scan)
        self._deep_cursor.set("" if scan.complete else scan.last)
        return scan

    def holds(self, changesets: Sequence[ChangesetId]) -> bool:
        """Tell whether any of these stands in a submission pack, known to view and queues or not. Raises BucketError.

        A process that could not queue a pack has answered its writer 202 all the same, and only that process knows.
        """

        def is_stored(changeset: ChangesetId) -> bool:
            # A pack's ids are consecutive from the one in its name, all of one millisecond.
            names = self._bucket.list_keys(f"inbox/{changeset[:_TIME]}")
            return any(changeset in changesets_of(pack) for pack in map(submission_pack, names) if pack)

        return any(self._bucket.map_concurrently(is_stored, changesets))

    def advance_watermark(self) -> Watermark:
        """Return how far the mark may go, as the next part of the listing and the view have it. Raises Unavailable."""
        passed = Watermark(self._view.head().mark)
        room = MAX_UNDECIDED_BELOW
        now = self._bucket.now()
        for page in batched(islice(self._packs(self._behind_mark()), MAX_PASSED_PACKS), _PAGE):
            old = [pack for pack in page if now - made_at(pack) > self._settings.inbox_margin]
            decided, _ = self._known(old)
            for pack in old:
                ids = changesets_of(pack)
                undecided = [changeset for changeset in ids if changeset not in decided]
                room -= len(undecided)
                # One pack may have more (pack_changesets), and must not stop the mark for as long as they wait.
                if room < 0 and passed.packs:
                    return passed
                passed.undecided |= dict.fromkeys(undecided, pack)
                passed.mark = ids[-1]
                passed.packs += 1
            if len(old) < len(page):
                break
        return passed

    def _look_at_passed(self, scan: InboxScan) -> None:
        """Queue what the mark has passed though it is undecided, and what no queue has."""
        undecided = self._view.undecided()
        stages = self._queue.stages(list(undecided))
        for pack in {pack for pack, stage in zip(undecided.values(), stages, strict=True) if stage is Stage.UNKNOWN}:
            self._enqueue(pack, scan)

    def _behind_mark(self) -> str:
        mark = self._view.head().mark
        # Behind the pack that begins with that id as well.
        return f"inbox/{mark}~" if mark else ""

    def scan(self, after: str, limit: int | None = None) -> InboxScan:
        """Look at the packs behind `after`, at most `limit`, and queue what has neither an outcome nor a position."""
        scan = InboxScan(seen=after, last=after)
        seeing = True
        now = time.time()
        for page in batched(islice(self._packs(after), limit), _PAGE):
            # What is decided stays so, whatever Redis forgets: the log says it.
            decided, known = self._known([pack for pack in page if pack not in self._decided])
            for pack in page:
                scan.packs += 1
                scan.last = pack + ".pack"
                if pack not in self._decided:
                    ids = changesets_of(pack)
                    if decided.issuperset(ids):
                        self._decided[pack] = True
                    elif not known.issuperset(ids):
                        self._enqueue(pack, scan)
                seeing = seeing and now - made_at(pack) > _SETTLE
                if seeing:
                    scan.seen = scan.last
        scan.complete = limit is None or scan.packs < limit
        return scan

    def _packs(self, after: str) -> Iterator[PackId]:
        """Yield the submission packs behind a name, and pass over what is none."""
        foreign = False
        for name in self._bucket.list_keys("inbox/", after):
            pack = submission_pack(name)
            if pack:
                yield pack
            elif not foreign:
                foreign = True
                log.warning("unexpected_object", name=name)

    def _known(self, page: list[PackId]) -> tuple[set[ChangesetId], set[ChangesetId]]:
        """Return which changesets of these packs are decided, and which are decided or queued."""
        ids = [changeset for pack in page for changeset in changesets_of(pack)]
        stages = list(zip(ids, self._queue.stages(ids), strict=True))
        decided = {changeset for changeset, stage in stages if stage is Stage.DECIDED}
        known = {changeset for changeset, stage in stages if stage is not Stage.UNKNOWN}
        return decided, known

    def _enqueue(self, pack: PackId, scan: InboxScan) -> None:
        try:
            changesets = read_pack(self._archive, pack)
        except UNREADABLE as error:
            # All others would wait for what the store has lost, for good.
            log.error("pack_damaged", pack=pack, changesets=len(changesets_of(pack)), reason=str(error))
            scan.damaged += 1
            return
        for part in batched(((changeset, manifest.encode(changeset)) for changeset in changesets), _PAGE):
            positions = self._queue.enqueue(part, listed=True)
            scan.enqueued += sum(isinstance(position, int) for position in positions)
