"""Event streams: the events of the log, from a position on, for clients that keep a connection open.

Each process reads the events of an entry once and shares them among its streams. One thread asks Redis how far the view
is, woken by what `apply` publishes. A stream holds only its position and the piece that it is sending. The server reads
from it no faster than its client does, so a slow client slows only itself.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice

import structlog
from cachetools import LRUCache

from app.service.applied_feed import AT_LEAST_EVERY, AppliedFeed
from storage.backends import deadline
from storage.backends.bucket import BucketError
from storage.backends.redis_client import UNAVAILABLE
from storage.backends.turns import let_others_run
from storage.base.errors import LimitReached
from storage.claims import ClaimEvent
from storage.log.entry import decode
from storage.log.events import EntryEvents, Event, Position, events, events_of
from storage.repository import Repository

log = structlog.get_logger()

KEEP_ALIVE = 15.0  # seconds without a word; proxies cut what is silent for longer
RETRY = 1000  # milliseconds that a client is asked to wait before it comes back

# What is sent at once.
_PIECE_EVENTS = 64
_PIECE_BYTES = 64 << 10
_READERS = 16  # entries that are read at once
_CLAIMS_KEPT = 200  # a stream that is further behind misses some: they are in no log


class Entries:
    """What entries events_of, the latest of them kept in memory for all streams of this process."""

    def __init__(self, repo: Repository, cache_bytes: int) -> None:
        self._repo = repo
        self._cache: LRUCache[int, EntryEvents] = LRUCache(cache_bytes, getsizeof=lambda events: events.size)
        self._lock = threading.Lock()
        # Many streams want a new entry at once; who holds its lock reads it for those behind.
        self._reading = [threading.Lock() for _ in range(_READERS)]

    def of_entry(self, seq: int) -> EntryEvents:
        """Return the events of an entry. Raises BucketError (also where it is not there) and CorruptEntry."""
        with self._reading[seq % _READERS]:
            with self._lock:
                entry_events = self._cache.get(seq)
            if entry_events is None:
                entry_events = self._read(seq)
                with self._lock:
                    # Larger than everything: returned, and not kept.
                    if entry_events.size <= self._cache.maxsize:
                        self._cache[seq] = entry_events
        return entry_events

    def _read(self, seq: int) -> EntryEvents:
        # A stream outlives the budget of its request, and others wait for this too.
        with deadline.budget("request_budget", self._repo.settings.request_budget):
            data = self._repo.log.read(seq)
        if data is None:
            raise BucketError(f"entry {seq} is not there")
        return events_of(decode(data))


class Streams:
    """The streams of this process."""

    def __init__(self, repo: Repository, on_news: Callable[[], None] = lambda: None) -> None:
        """Begin; `on_news` is called before anything else where entries may have been applied."""
        self._repo = repo
        self._on_news = on_news
        self._settings = repo.settings
        self.entries = Entries(repo, repo.settings.stream_cache_bytes)
        self.open = 0
        self._applied = 0
        self._leaving = False
        self._news = threading.Condition()  # guards them
        self._heard = 0  # how many events of advisory claims have come
        self._claims: deque[ClaimEvent] = deque(maxlen=_CLAIMS_KEPT)  # the last of them
        self.feed = AppliedFeed(repo, "streams", self._look, {repo.advisory_claims.channel: self._hear})

    @property
    def heard(self) -> int:
        """How many events of advisory claims this process has heard of: a stream begins behind them."""
        with self._news:
            return self._heard

    def enter(self) -> None:
        """Take a place for a stream, which `give_back` does. Raises LimitReached."""
        with self._news:
            if self.open >= self._settings.max_streams:
                raise LimitReached("too many streams are open (max_streams)")
            self.open += 1
        self.feed.enter()

    def release(self) -> None:
        """Give back a stream's place."""
        with self._news:
            self.open -= 1
        self.feed.leave()

    def leave(self) -> None:
        """End all streams after a complete event: this process stops, and their clients reconnect to another one."""
        with self._news:
            self._leaving = True
            self._news.notify_all()

    def read(
        self,
        start: Position,
        wanted: Callable[[Event], bool],
        gone: Callable[[], bool],
        ended: Callable[[], bool] = lambda: False,
        told: Callable[[ClaimEvent], str] = lambda event: "",
        heard: int = 0,
    ) -> Iterator[str]:
        """Yield the text of a stream of `wanted` events from `start` on, until its time is over or its client `gone`.

        It also ends when this process stops, or when its client's rights have `ended`. It begins with the position's
        id, and repeats the id while there are no events: so a client that reconnects before the first event, or after
        many events that were not wanted, continues at this stream's position.

        Events of advisory claims behind those that were `heard` come between the others, without an id: `told` gives
        what is said of one, if anything.
        """
        end = time.monotonic() + self._settings.max_stream_seconds
        yield f"retry: {RETRY}\nid: {start}\n\n"
        spoke = time.monotonic()
        position = start
        for reached, text in self._rounds(start, wanted, heard, told):
            if gone():
                return
            if ended():
                break
            position = reached
            now = time.monotonic()
            if text or now - spoke >= KEEP_ALIVE:
                yield text or f": keep-alive\nid: {position}\n\n"
                spoke = time.monotonic()
            if now >= end or self._leaving:
                break
        yield f"id: {position}\n\n"

    def _rounds(
        self, start: Position, wanted: Callable[[Event], bool], heard: int, told: Callable[[ClaimEvent], str]
    ) -> Iterator[tuple[Position, str]]:
        """Yield what there is to say and the position behind it, for ever; now and then nothing."""
        position = start
        while True:
            try:
                has_entry, claims, heard = self._await(position.seq, heard)
                for text in filter(None, map(told, claims)):
                    yield position, text
                if has_entry:
                    for reached, text in self._pieces(position, wanted):
                        position = reached
                        let_others_run()  # others may run, however much there is to send or to pass over
                        yield position, text
                    continue
            except UNAVAILABLE as reason:
                # It goes on where it stood, and its client notices nothing.
                log.info("stream_waits", seq=position.seq, reason=str(reason))
                time.sleep(AT_LEAST_EVERY)  # nothing tells when a bucket is back
            yield position, ""

    def _await(self, seq: int, heard: int) -> tuple[bool, list[ClaimEvent], int]:
        """Wait a moment for an entry of the view, or for events of claims behind the first `heard`.

        Returns whether the entry is there, these events, and how many there are by now.
        """
        with self._news:
            self._news.wait_for(lambda: self._leaving or self._applied >= seq or self._heard > heard, AT_LEAST_EVERY)
            missed = min(self._heard - heard, len(self._claims))
            claims = list(islice(self._claims, len(self._claims) - missed, None)) if missed else []
            return self._applied >= seq, claims, self._heard

    def _pieces(self, position: Position, wanted: Callable[[Event], bool]) -> Iterator[tuple[Position, str]]:
        """Yield what the position's entry has left to send, in bounded pieces, each with the position behind it."""
        seq = position.seq
        entry = self.entries.of_entry(seq)
        # A merge may span a thousand entries: they are read one by one as they are sent.
        merged = range(entry.merged.first, entry.merged.through + 1) if entry.merged else range(0)
        parts: list[str] = []
        scanned = size = 0
        began = time.monotonic()
        for index, event in events(entry, map(self.entries.of_entry, merged), position.sent):
            scanned += 1
            if wanted(event):
                parts.append(f"id: {seq}-{index}\nevent: {event.name}\ndata: {event.data}\n\n")
                size += len(parts[-1])
            # Each may have had to be read from a bucket that is slow, and a proxy cuts what is silent.
            late = time.monotonic() - began > KEEP_ALIVE
            if scanned == _PIECE_EVENTS or size >= _PIECE_BYTES or late:
                yield Position(seq, index + 1), "".join(parts)
                parts, scanned, size, began = [], 0, 0, time.monotonic()
        yield Position(seq + 1), "".join(parts)

    def _hear(self, message: bytes) -> None:
        with self._news:
            self._claims.append(ClaimEvent.parse(message))
            self._heard += 1
            self._news.notify_all()

    def _look(self) -> None:
        self._on_news()
        applied = self._repo.view.head().applied
        with self._news:
            # A Redis older than what was sent already changes nothing: the log decides.
            if applied > self._applied:
                self._applied = applied
                self._news.notify_all()
