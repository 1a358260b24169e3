"""The bucket: immutable objects in any S3 that honours `If-None-Match: *`.

Create-if-absent is the only write. Every call has a time-out, a few retries with jitter, each of which waits longer,
and what is left of the budget (storage/backends/deadline.py).
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from itertools import chain
from typing import Any, TypeVar
from xml.etree.ElementTree import ParseError

import urllib3
from minio.error import S3Error

from storage.backends import deadline
from storage.backends.ranges import Range, groups
from storage.backends.s3_client import FAILURES, S3Client
from storage.base.batched import batched
from storage.base.errors import Refused, Unavailable
from storage.base.settings import Settings

READERS = 8
# SeaweedFS takes 100 ms a racer.
PROBE_ROUNDS = 2
PROBE_RACERS = 8
# Rounds at most, where in some no racer is answered that it won.
_MAX_PROBE_ROUNDS = 6
# Names in one request: a store deletes them one after another, within the timeout of one answer.
_DELETED_AT_ONCE = 100
_SERVER = "bucket"
_GONE = frozenset({"NoSuchKey", "NoSuchObject"})

_thread = threading.local()

A = TypeVar("A")
T = TypeVar("T")


class BucketError(Unavailable):
    """The bucket did not answer as it should; nothing is known of what was asked."""


class BucketUnsafe(Refused):
    """The bucket let more than one create of the same name win, so Sluice refuses to serve from it."""


class OutOfRange(BucketError):
    """An object ends before the bytes that were asked for begin."""


class Missing(Unavailable):
    """The bucket has no object of that name."""


@dataclass(frozen=True, slots=True)
class Created:
    """What came of a create."""

    stored: bool  # whether this call stored the object
    at: float  # when the store answered, by its clock, in seconds since 1970


class Bucket:
    """One bucket through one endpoint. Safe for threads; names are below the repository's prefix."""

    def __init__(self, settings: Settings, endpoint: str | None = None) -> None:
        self.s3 = S3Client(settings, endpoint or settings.endpoints[0])
        self.endpoint = self.s3.host
        self._ahead: float | None = None  # how far the store's clock is ahead of time.monotonic()
        self._prefix = settings.repository + "/"
        self._pool: ThreadPoolExecutor | None = None
        self._pool_lock = threading.Lock()

    def ensure(self) -> None:
        """Make the bucket if it is missing. Another process may do so at the same time. Raises BucketError."""
        try:
            self.s3.ensure_bucket()
        except S3Error as error:
            if error.code not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                raise BucketError(f"the bucket cannot be made: {error.code}") from error
        except FAILURES as error:
            raise BucketError(f"the S3 endpoint {self.endpoint} does not answer") from error

    def create(self, name: str, data: bytes) -> Created:
        """Store `data` under `name` unless something is there.

        That this call did not store it may also mean that it did, and that its first answer was lost: a caller to whom
        the difference matters reads what is there. Raises BucketError, after which either may be the case.
        """
        try:
            with deadline.Call(len(data), _SERVER):
                answer = self.s3.put_absent(self._prefix + name, data)
                if answer.status not in {200, 412}:
                    raise BucketError(f"PUT {name}: status {answer.status}: {answer.data[:300]!r}")
        except FAILURES as error:
            raise BucketError(f"PUT {name} did not succeed") from error
        return Created(answer.status == 200, self._dated(answer))

    def put_verified(self, name: str, data: bytes) -> float:
        """Store `data` under a name that nobody else gives, and verify what is there unless this call stored it.

        Returns when the store answered, by its clock, in seconds since 1970. Raises BucketError: also where the first
        answer was lost, and what the store has is not what it was sent.
        """
        created = self.create(name, data)
        if not created.stored and self.get_many([name]) != [data]:
            raise BucketError(f"PUT {name}: what is there is not what was sent")
        return created.at

    def now(self) -> float:
        """Return the store's clock in seconds since 1970: one clock for all who use the bucket. Raises BucketError."""
        try:
            return self._dated(self.s3.ping())
        except FAILURES as error:
            raise BucketError(f"the S3 endpoint {self.endpoint} does not answer") from error

    def estimated_now(self) -> float:
        """Return what `now` does, as the store's last answer to a create has it; asks where there was none."""
        return self.now() if self._ahead is None else self._ahead + time.monotonic()

    def _dated(self, answer: urllib3.BaseHTTPResponse) -> float:
        """Return when an answer was made, by its sender's clock. Raises BucketError."""
        try:
            date = parsedate_to_datetime(answer.headers["Date"]).timestamp()
        except (KeyError, ValueError) as error:
            raise BucketError("the S3 endpoint does not say when it answered") from error
        self._ahead = date - time.monotonic()
        return date

    def get(self, name: str) -> bytes:
        """Return an object's bytes. Raises Missing and BucketError."""
        return self._get(name)

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, or as many as there are. Raises Missing, OutOfRange and BucketError."""
        return self._get(name, offset=offset, length=length)

    def get_ranges(self, wanted: Sequence[Range]) -> list[bytes | None]:
        """Return several ranges, None where the object is missing; those near one another are read by one request.

        Raises OutOfRange where an object ends before one of them begins, and BucketError.
        """

        def read(group: list[Range]) -> list[tuple[Range, bytes | None]]:
            name, start, _ = group[0]
            try:
                data = self.get_range(name, start, max(offset + length for _, offset, length in group) - start)
            except Missing:
                return [(range_, None) for range_ in group]
            if len(data) <= max(at for _, at, _ in group) - start:
                raise OutOfRange(f"GET {name}: it ends before")
            return [((name, at, length), data[at - start : at - start + length]) for _, at, length in group]

        parts: dict[Range, bytes | None] = {}
        # Few at a time: all who read share the threads, in the order of their calls.
        for some in batched(groups(set(wanted)), 2 * READERS):
            parts.update(chain.from_iterable(self.map_concurrently(read, some)))
        return [parts[range_] for range_ in wanted]

    def _get(self, name: str, **span: Any) -> bytes:
        try:
            with deadline.Call(server=_SERVER, answered=_is_answer) as call:
                data = self.s3.get(self._prefix + name, **span)
                call.size = len(data)
            return data
        except S3Error as error:
            if error.code in _GONE:
                raise Missing(name) from error
            if error.code == "InvalidRange":
                raise OutOfRange(f"GET {name}: it ends before") from error
            raise BucketError(f"GET {name}: {error.code}") from error
        except FAILURES as error:
            raise BucketError(f"GET {name} did not succeed") from error

    def delete(self, *names: str) -> list[str]:
        """Delete objects, many in one request; one that is not there is deleted already.

        Returns those that the store refuses to delete, such as one that is under a legal hold. Raises BucketError,
        after which some of them may be deleted.
        """
        refused: list[str] = []
        for some in batched(names, _DELETED_AT_ONCE):
            try:
                answers = self.s3.delete(self._prefix + name for name in some)
                failed = [answer for answer in answers if answer.code not in _GONE]
            except (*FAILURES, ParseError, ValueError) as error:  # the latter two are of an answer that is none
                raise BucketError(f"deleting {some[0]} and {len(some) - 1} others did not succeed") from error
            refused += [(answer.name or "").removeprefix(self._prefix) for answer in failed]
        return refused

    def list_keys(self, prefix: str, after: str = "", limit: int | None = None) -> Iterator[str]:
        """Yield the names that begin with `prefix` and stand behind `after`, in order. Raises BucketError."""
        yield from (name for name, _ in self.listing(prefix, after, limit))

    def listing(self, prefix: str, after: str = "", limit: int | None = None) -> Iterator[tuple[str, float]]:
        """Yield what `list_keys` does, each with when it was stored by the store's clock. Raises BucketError."""
        start = self._prefix + after if after else None
        try:
            objects = self.s3.list_objects(self._prefix + prefix, start)
            for count, item in enumerate(objects):
                if limit is not None and count >= limit:
                    return
                stored = item.last_modified.timestamp() if item.last_modified else 0.0
                yield (item.object_name or "").removeprefix(self._prefix), stored
        except FAILURES as error:
            raise BucketError(f"listing {prefix} did not succeed") from error

    def map_concurrently(self, call: Callable[[A], T], items: Iterable[A]) -> list[T]:
        """Return what `call`, which uses this bucket, makes of items, in their order; at most `READERS` run at once."""
        items = list(items)
        # A call that is one of several makes its own one after another: all threads could be waiting for such.
        if len(items) <= 1 or getattr(_thread, "is_of_pool", False):
            return [call(item) for item in items]
        with self._pool_lock:
            # Made on first use, since a worker forks after it has imported.
            if self._pool is None:
                self._pool = ThreadPoolExecutor(READERS, "bucket", lambda: setattr(_thread, "is_of_pool", True))
        # Each in a copy of this context, for the budget: one that is still in line when it is spent is not made.
        contexts = [copy_context() for _ in items]
        return list(self._pool.map(lambda context, item: context.run(call, item), contexts, items))

    def get_many(self, names: Iterable[str]) -> list[bytes | None]:
        """Return several objects, None where there is none. Raises BucketError."""

        def get(name: str) -> bytes | None:
            try:
                return self._get(name)
            except Missing:
                return None

        return self.map_concurrently(get, names)


def _is_answer(error: BaseException) -> bool:
    return isinstance(error, S3Error) and error.code in {*_GONE, "InvalidRange"}


def probe(buckets: Sequence[Bucket]) -> None:
    """Check that racing creates have one winner each, through every endpoint.

    A store may ignore or race `If-None-Match` (proxies drop it), and then the log could fork. Raises BucketUnsafe,
    and BucketError where a store does not answer, or too late: a winner that has to ask again is answered that it lost.
    """
    endpoints = ", ".join(bucket.endpoint for bucket in buckets)
    winners = 0
    for _ in range(_MAX_PROBE_ROUNDS):
        name = f"probe/{secrets.token_hex(8)}"
        barrier = threading.Barrier(PROBE_RACERS)

        def race(i: int, name: str = name, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait()
            return buckets[i % len(buckets)].create(name, b"%d" % i).stored

        with ThreadPoolExecutor(PROBE_RACERS) as pool:
            wins: list[Any] = list(pool.map(race, range(PROBE_RACERS)))
        if wins.count(True) > 1:
            raise BucketUnsafe(f"{wins.count(True)} of {PROBE_RACERS} racing creates won at {endpoints}")
        winners += wins.count(True)
        if winners == PROBE_ROUNDS:
            return
    raise BucketError(f"the answers to racing creates were late or lost at {endpoints}")
