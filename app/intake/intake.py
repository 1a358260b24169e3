"""The intake: makes submissions durable (invariant 1), many in one pack, and only then queues and announces them.

This is group commit without a timer: requests that arrive while packs are being stored wait, and form the next pack.
So an idle API stores a request at once, and a busy one makes packs larger instead of more numerous.
"""

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import structlog

from app.intake.packing import Item, build
from app.intake.requeue import MAX_PACKS, Requeue
from storage.backends import deadline
from storage.backends.redis_client import UNAVAILABLE
from storage.base.errors import Unavailable
from storage.base.ids import PackId, made_at
from storage.log.manifest import Changeset
from storage.repository import Repository
from tasks.notify import ask_for_commit_safely

log = structlog.get_logger()


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


class Intake:
    """One for each API process; its threads store packs, `settings.pack_puts` at once."""

    def __init__(self, repo: Repository) -> None:
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
        request = _Request(items)
        self._requests.put(request)
        try:
            return request.done.result(deadline.left(threading.TIMEOUT_MAX))
        except TimeoutError:
            # Not begun yet, it never will be: nobody waits for it, and those behind it should not either.
            request.done.cancel()
            raise TookTooLong("storing took longer than request_budget") from None

    def _run(self) -> None:
        while requests := self._next():
            try:
                self._store(requests)
            except BaseException as error:
                for request in requests:
                    if not request.done.done():
                        request.done.set_exception(error)
                if not isinstance(error, Exception):
                    raise

    def _next(self) -> list[_Request]:
        """Wait for a request, and take all that wait then, as many as fit into one pack; none ends the thread."""
        settings = self._repo.settings
        with self._lock:
            first = self._left or self._first()
            if first is None:
                return []
            taken = [first]
            self._left = None
            count = len(taken[0].items)
            size = sum(item.size for item in taken[0].items)
            while count < settings.pack_changesets and size < settings.pack_bytes:
                try:
                    request = self._requests.get_nowait()
                except queue.Empty:
                    break
                if request is None:
                    self._requests.put(None)  # for the next one who asks
                    break
                if not request.done.set_running_or_notify_cancel():
                    continue
                count += len(request.items)
                size += sum(item.size for item in request.items)
                if count > settings.pack_changesets:
                    self._left = request
                    break
                taken.append(request)
            return taken

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
        while not self._stopping:
            self._news.wait()
            self._news.clear()
            try:
                ask_for_commit_safely(self._repo)
            except Exception as error:  # upkeep announces what this could not
                log.error("notify_failed", reason=str(error), exc_info=not isinstance(error, UNAVAILABLE))

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
