"""Finding what work was lost: every changeset of the inbox that has no outcome is queued again.

Three cursors bound the listing, all caches in Redis that may be lost: the mark, before which every changeset is
decided (a recovery begins there); `seen`, before which all is decided or queued (a routine look begins there); and
`deep`, where the next deep look goes on. Deep looks are for packs that came very late, behind the mark and before
`seen`: each lists a part, from the mark to the end of the listing, and then they begin again. Neither the mark nor
`seen` passes a pack that is so young that a late PUT or a wrong clock could still put another before it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from storage import manifest
from storage.bucket import Bucket
from storage.ids import PackId, changesets_of, ulid_seconds
from storage.inbox import read_pack
from storage.queue import Queue
from storage.scripts import ViewAbsent
from storage.settings import Settings
from storage.view import View

_PAGE = 200
_KNOWN_AT_ONCE = 5000
# Younger packs are looked at again by the next routine look.
_SETTLE = 30.0


@dataclass(slots=True)
class Found:
    """What a look at the inbox found."""

    packs: int = 0
    enqueued: int = 0
    mark: str = ""  # every changeset up to this pack is decided
    seen: str = ""  # every changeset up to this pack is decided or queued
    last: str = ""  # the last pack that was listed
    complete: bool = False  # the listing was followed to its end


class Inbox:
    """The submission packs of a repository, and what became of them."""

    def __init__(self, settings: Settings, bucket: Bucket, view: View, queue: Queue) -> None:
        self._settings = settings
        self._bucket = bucket
        self._view = view
        self._queue = queue

    def recover(self) -> Found:
        """Queue everything undecided from the mark on, and vouch for the queues. Raises ViewAbsent and BucketError."""
        # Asked for first: another run of Redis, which may come back older meanwhile, is not vouched for by this look.
        run, epoch = self._queue.run(), self._view.epoch()
        if epoch is None:
            raise ViewAbsent("the view is not loaded")
        found = self.look(self._cursor("mark"))
        self._set_cursor("mark", found.mark)
        self._set_cursor("seen", found.seen)
        self._queue.vouch(epoch, run)
        return found

    def routine(self, deep: bool) -> Found:
        """Look at what has come in since the last look; `deep`: at the next part of all that stands behind the mark.

        Raises ViewAbsent and BucketError.
        """
        if deep:
            return self._deep()
        found = self.look(self._cursor("seen"), self._settings.upkeep_packs)
        self._set_cursor("seen", found.seen)
        return found

    def _deep(self) -> Found:
        mark = self._cursor("mark")
        begin = max(mark, self._cursor("deep"))
        found = self.look(begin, self._settings.upkeep_packs)
        if begin == mark:
            # Only then is it known that all before what it found decided is decided.
            self._set_cursor("mark", found.mark)
        self._set_cursor("deep", "" if found.complete else found.last)
        return found

    def look(self, after: str, limit: int | None = None) -> Found:
        """Look at the packs behind `after`, at most `limit`, and queue what has neither an outcome nor a place."""
        found = Found(mark=after, seen=after, last=after)
        marking = seeing = True
        now = time.time()
        for page in _pages(self._bucket.names("inbox/", after, limit)):
            decided, known = self._known(page)
            for name in page:
                pack = PackId(name.removesuffix(".pack"))
                ids = changesets_of(pack)
                age = now - ulid_seconds(ids[0])
                found.packs += 1
                found.last = name
                if not all(each in known for each in ids):
                    found.enqueued += self._enqueue(pack)
                marking = marking and age > self._settings.inbox_margin and all(each in decided for each in ids)
                seeing = seeing and age > _SETTLE
                if marking:
                    found.mark = name
                if seeing:
                    found.seen = name
        found.complete = limit is None or found.packs < limit
        return found

    def _known(self, page: list[str]) -> tuple[set[str], set[str]]:
        """Return which changesets of these packs are decided, and which are decided or queued."""
        ids = [each for name in page for each in changesets_of(PackId(name.removesuffix(".pack")))]
        decided: set[str] = set()
        known: set[str] = set()
        for start in range(0, len(ids), _KNOWN_AT_ONCE):
            chunk = ids[start : start + _KNOWN_AT_ONCE]
            for each, digit in zip(chunk, self._queue.known(chunk), strict=True):
                if digit != "0":
                    known.add(each)
                if digit == "2":
                    decided.add(each)
        return decided, known

    def _enqueue(self, pack: PackId) -> int:
        changesets = read_pack(self._bucket, pack)
        count = 0
        for start in range(0, len(changesets), _PAGE):
            part = changesets[start : start + _PAGE]
            count += sum(position >= 0 for position in self._queue.enqueue([(c, manifest.encode(c)) for c in part]))
        return count

    def _cursor(self, name: str) -> str:
        # Below the epoch: a view that was loaded anew may know less than the one that moved the cursor.
        found = self._view.redis.get(self._view.key(f"inbox:{name}"))
        return found.decode() if found else ""

    def _set_cursor(self, name: str, value: str) -> None:
        self._view.redis.set(self._view.key(f"inbox:{name}"), value)


def _pages(names: Iterator[str]) -> Iterator[list[str]]:
    page: list[str] = []
    for name in names:
        page.append(name)
        if len(page) == _PAGE:
            yield page
            page = []
    if page:
        yield page
