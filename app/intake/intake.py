"""The intake: makes submissions durable (invariant 1), many in one pack, and only then queues and announces them.

This is group commit: requests that arrive while a pack is being stored wait, and form the next pack. So an idle API
stores a request at once, and a busy one makes packs larger instead of more numerous (app/intake/gathering.py).
"""

import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import structlog
from msgspec import structs

from app.intake.gathering import ENOUGH, Gathering, Waiting
from app.intake.packing import Item, build
from app.intake.requeue import MAX_PACKS, Requeue
from app.tracing import traceparent
from storage.backends import deadline
from storage.backends.redis_client import UNAVAILABLE
from storage.base.errors import Unavailable
from storage.base.ids import PackId, made_at
from storage.base.settings import Settings
from storage.log.manifest import Changeset
from storage.metrics.counts import COUNTS
from storage.metrics.definitions import SUBMITTED
from storage.repository import Repository
from tasks.notify import ask_for_commit_safely

log = structlog.get_logger()

# Seconds after which it is asked once more whether a message is to be sent: work has waited for long by then
# (storage/queue/lua/messages/message.lua).
_ASKED_AGAIN = 0.3


class NotQueued(Unavailable):
    """Earlier accepted changesets cannot be queued."""


class TookTooLong(Unavailable):
    """Storing took so long that recovery may have missed the pack: it is not known whether it was accepted."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A durable changeset, and its place in the queue where that is known."""

    changeset: Changeset
    position: int | None


@dataclass(slots=True)
class _Request:
    items: Sequence[Item]
    done: Future[list[Accepted]] = field(default_factory=Future)


class _Taken:
    """The requests of one pack."""

    def __init__(self, settings: Settings) -> None:
        self.requests: list[_Request] = []
        self._settings = settings
        self.count = 0  # changesets
        self._size = 0

    def add(self, request: _Request) -> None:
        self.requests.append(request)
        self.count += len(request.items)
        self._size += sum(item.size for item in request.items)

    @property
    def has_room(self) -> bool:
        return self.count < self._settings.pack_changesets and self._size < self._settings.pack_bytes

    def has_room_for(self, request: _Request) -> bool:
        return self.count + len(request.items) <= self._settings.pack_changesets


class Intake:
    """One for each API process; its threads store packs, `settings.pack_puts` at once."""

    def __init__(self, repo: Repository) -> None:
        self.gathering = Gathering()
        self._repo = repo
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()  # None ends a thread
        self._left: _Request | None = None
        self._lock = threading.Lock()
        self._requeue = Requeue(repo)
        self._stopping = False
        self._news = threading.Event()  # something to announce, or the end
        loops = {"announce": self._announce, **{f"intake-{i}": self._run for i in range(repo.settings.pack_puts)}}
        self._threads = [threading.Thread(target=loop, name=name, daemon=True) for name, loop in loops.items()]

    def start(self) -> None:
        """Start the threads."""
        self._requeue.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads; returns when all that was accepted before is stored."""
        for _ in range(self._repo.settings.pack_puts):
            self._requests.put(None)
        self._stopping = True
        self._news.set()
        for thread in self._threads:
            thread.join()
        self._requeue.stop()

    @property
    def behind(self) -> int:
        """How many packs are stored and could not be queued yet."""
        return len(self._requeue)

    def accept(self, items: Sequence[Item]) -> list[Accepted]:
        """Make `items` durable, in one pack and in order, queue them, and return the accepted changesets.

        Raises NotQueued if too many earlier ones could not be queued, and Unavailable if the result is not known.
        """
        if self.behind >= MAX_PACKS:
            raise NotQueued("what was accepted before cannot be queued")
        trace = traceparent()
        request = _Request([structs.replace(item, trace=trace) for item in items] if trace else items)
        self._requests.put(request)
        try:
            return request.done.result(deadline.left(threading.TIMEOUT_MAX))
        except TimeoutError:
            # Not begun yet, it never will be: nobody waits for it, and those behind it should not either.
            request.done.cancel()
            raise TookTooLong("storing took longer than request_budget") from None

    def _run(self) -> None:
        while taken := self._next():
            requests, alone = taken
            began = time.monotonic()
            try:
                self._store(requests)
            except BaseException as error:
                for request in requests:
                    if not request.done.done():
                        request.done.set_exception(error)
                if not isinstance(error, Exception):
                    raise
            finally:
                self.gathering.arrived(alone, time.monotonic() - began)

    def _next(self) -> tuple[list[_Request], bool] | None:
        """Wait for a request, and take those that come with it, as many as fit into one pack.

        Returns them, and whether no other pack is on its way; None ends the thread.
        """
        with self._lock:
            first = self._left or self._first()
            if first is None:
                return None
            self._left = None
            taken = _Taken(self._repo.settings)
            taken.add(first)
            alone, waiting = self.gathering.wait_for_pack(taken.count), Waiting(self.gathering)
            self._take_waiting(taken)
            while (
                taken.count < ENOUGH and taken.has_room and self._left is None and waiting.goes_on(len(taken.requests))
            ):
                self._take_waiting(taken)
            return taken.requests, alone

    def _take_waiting(self, taken: _Taken) -> None:
        """Take the requests that wait, as far as there is room."""
        while taken.has_room:
            try:
                request = self._requests.get_nowait()
            except queue.Empty:
                return
            if request is None:
                self._requests.put(None)  # for the next one who asks
                return
            if not request.done.set_running_or_notify_cancel():
                continue
            if not taken.has_room_for(request):
                self._left = request
                return
            taken.add(request)

    def _first(self) -> _Request | None:
        while request := self._requests.get():
            if request.done.set_running_or_notify_cancel():
                return request
        return None

    def _store(self, requests: list[_Request]) -> None:
        pack, data, groups = build([request.items for request in requests])
        bucket = self._repo.bucket
        with deadline.budget("request_budget", self._repo.settings.request_budget):
            # Not stored, where that is known before: as long as it would be ahead of the mark, nothing behind it
            # could be compacted.
            if self._too_far(pack, bucket.estimated_now()):
                self._check_time(pack, bucket.now())
            stored_at = bucket.put_verified(pack + ".pack", data)
        # By the store's clock, which the mark goes by: a slow PUT and a wrong clock of this machine are the same.
        self._check_time(pack, stored_at)
        COUNTS.add(SUBMITTED, count=sum(map(len, groups)))
        pairs = [pair for group in groups for pair in group]
        positions = iter(self._enqueue(pack, pairs))
        for request, group in zip(requests, groups, strict=True):
            request.done.set_result([Accepted(changeset, next(positions)) for changeset, _ in group])
        self._news.set()

    def _too_far(self, pack: PackId, now: float) -> bool:
        return abs(now - made_at(pack)) > self._repo.settings.late_put

    def _check_time(self, pack: PackId, now: float) -> None:
        if self._too_far(pack, now):
            apart = now - made_at(pack)
            log.error("clock_skew", pack=pack, seconds=round(apart))
            raise TookTooLong(f"the store's clock is {apart:.0f} seconds from the time in {pack} (late_put)")

    def _announce(self) -> None:
        # A thread of its own: a broker that does not answer must not keep packs from being stored.
        again = False
        while not self._stopping:
            came = self._news.wait(_ASKED_AGAIN if again else None)
            self._news.clear()
            sent = False
            try:
                sent = ask_for_commit_safely(self._repo)
            except Exception as error:  # upkeep announces what this could not
                log.error("notify_failed", reason=str(error), exc_info=not isinstance(error, UNAVAILABLE))
            # The run under way, which it is to follow, may hang.
            again = came and not sent

    def _enqueue(self, pack: PackId, changesets: list[tuple[Changeset, bytes]]) -> list[int | None]:
        try:
            # A waiting writer may be answered without a position in the queue, and should be while it still waits.
            with deadline.budget("request_budget", self._repo.settings.request_budget / 4):
                positions = self._repo.queue.enqueue(changesets)
                return [position if isinstance(position, int) else None for position in positions]
        except UNAVAILABLE as error:
            # They are durable, so the answer is 202 all the same; if this process dies, upkeep finds them in the inbox.
            log.warning("not_enqueued", pack=pack, changesets=len(changesets), reason=str(error))
            self._requeue.add(pack)
            return [None] * len(changesets)
