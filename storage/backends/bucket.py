"""The bucket: immutable objects in any S3 that honours `If-None-Match: *`.

Create-if-absent is the only write. minio-py has no header for it, so the PUT is signed by its signer and sent here;
reads and listings are its own. Every call has a time-out, a few retries with jitter, each of which waits longer, and
what is left of the budget (storage/backends/deadline.py).
"""

from __future__ import annotations

import secrets
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from hashlib import md5
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit
from xml.etree.ElementTree import ParseError

import urllib3
from minio import Minio
from minio.credentials import Credentials
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error
from minio.signer import sign_v4_s3
from minio.time import to_amz_date
from urllib3.util import Timeout

from storage.backends import deadline
from storage.backends.s3_calls import POOLS, PUT_RETRIES, READ_RETRIES
from storage.backends.turns import in_thread_if_large
from storage.base.batched import batched
from storage.base.settings import Settings

READERS = 8
# SeaweedFS takes 100 ms a racer.
PROBE_ROUNDS = 2
PROBE_RACERS = 8
# Rounds at most, where in some no racer is answered that it won.
_MAX_PROBE_ROUNDS = 6
_BODIES = 3  # times that a body is asked for, whose end does not come
_PIECE = 1 << 20
# Names in one request: a store deletes them one after another, within the timeout of one answer.
_DELETED_AT_ONCE = 100
# Of a body that has its digest in the head, which is signed.
_UNSIGNED = "UNSIGNED-PAYLOAD"
_GONE = frozenset({"NoSuchKey", "NoSuchObject"})

A = TypeVar("A")
T = TypeVar("T")


class BucketError(Exception):
    """The bucket did not answer as it should; nothing is known of what was asked."""


class BucketUnsafe(Exception):
    """The bucket let more than one create of the same name win, so Sluice refuses to serve from it."""


class OutOfRange(BucketError):
    """An object ends before the bytes that were asked for begin."""


class Missing(KeyError):
    """The bucket has no object of that name."""


class Bucket:
    """One bucket through one endpoint. Safe for threads; names are below the repository's prefix."""

    def __init__(self, settings: Settings, endpoint: str | None = None) -> None:
        self._settings = settings
        url = urlsplit(endpoint or settings.endpoints[0])
        self.endpoint = url.netloc
        self._url = f"{url.scheme}://{url.netloc}/"
        self._last = threading.local()
        self._ahead: float | None = None  # how far the store's clock is ahead of time.monotonic()
        self._http = urllib3.PoolManager(
            maxsize=4 * READERS, timeout=Timeout(read=settings.s3_timeout), retries=READ_RETRIES
        )
        self._http.pool_classes_by_scheme = POOLS
        self._client = Minio(
            url.netloc,
            access_key=settings.s3_access_key,
            secret_key=settings.s3_secret_key,
            region=settings.s3_region,
            secure=url.scheme == "https",
            http_client=self._http,
        )
        self._bucket = settings.s3_bucket
        self._prefix = settings.repository + "/"
        self._pool: ThreadPoolExecutor | None = None
        self._pool_lock = threading.Lock()

    def ensure(self) -> None:
        """Make the bucket if it is missing. Another process may do so at the same time.

        Raises BucketError.
        """
        try:
            if not self._client.bucket_exists(self._bucket):
                self._client.make_bucket(self._bucket)
        except S3Error as error:
            if error.code not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                raise BucketError(f"the bucket cannot be made: {error.code}") from error
        except _FAILURES as error:
            raise BucketError(f"the S3 endpoint {self.endpoint} does not answer") from error

    def create(self, name: str, data: bytes) -> bool:
        """Store `data` under `name` unless something is there; tell whether this call stored it.

        False may also mean that this very call did, and that its first answer was lost: a caller to whom the
        difference matters reads what is there. Raises BucketError, after which either may be the case.
        """
        url, headers = self._signed_put(name, data)
        try:
            with deadline.Call(len(data)):
                answer = self._http.request("PUT", url, body=data, headers=headers, retries=PUT_RETRIES, redirect=False)
        except _FAILURES as error:
            raise BucketError(f"PUT {name} did not succeed") from error
        if answer.status in {200, 412}:
            self._last.dated = self._dated(answer)
            return bool(answer.status == 200)
        raise BucketError(f"PUT {name}: status {answer.status}: {answer.data[:300]!r}")

    @cached_property
    def _objects(self) -> str:
        """The URL of all objects, as minio-py addresses them: some stores have the bucket in the host's name."""
        return self._client.presigned_put_object(self._bucket, self._prefix + "-").partition("-?")[0]

    def _signed_put(self, name: str, data: bytes) -> tuple[str, dict[str, Any]]:
        url, date = urlsplit(self._objects + quote(name)), datetime.now(UTC)
        headers: dict[str, Any] = {
            "Host": url.netloc,
            "If-None-Match": "*",
            # Without it SeaweedFS stores nothing at all under the name, for good, where the connection ends behind the
            # head of the request.
            "Content-MD5": b64encode(in_thread_if_large(_md5, data)).decode(),
            "x-amz-content-sha256": _UNSIGNED,
            "x-amz-date": to_amz_date(date),
        }
        if not self._settings.s3_access_key:
            return url.geturl(), headers  # anybody may write there
        signed = sign_v4_s3(
            method="PUT",
            url=url,
            region=self._settings.s3_region,
            headers=headers,
            credentials=Credentials(self._settings.s3_access_key, self._settings.s3_secret_key),
            content_sha256=_UNSIGNED,
            date=date,
        )
        return url.geturl(), signed

    def keep(self, name: str, data: bytes) -> None:
        """Have `data` stored under a name that nobody else gives.

        Raises BucketError: also where the first answer was lost, and what the store has is not what it was sent.
        """
        if not self.create(name, data) and self.get_many([name]) != [data]:
            raise BucketError(f"PUT {name}: what is there is not what was sent")

    @property
    def dated(self) -> float:
        """When the store answered the last create of this thread, by its clock, in seconds since 1970."""
        return float(getattr(self._last, "dated", 0.0))

    def now(self) -> float:
        """Return what the store's clock shows, in seconds since 1970: one clock for all who use the bucket.

        Raises BucketError.
        """
        try:
            # Whatever it answers to somebody who has not signed, it says when.
            return self._dated(self._http.request("GET", self._url, redirect=False, retries=PUT_RETRIES))
        except _FAILURES as error:
            raise BucketError(f"the S3 endpoint {self.endpoint} does not answer") from error

    def about_now(self) -> float:
        """Return what `now` does, as the store's last answer to a create has it; asks where there was none."""
        return self.now() if self._ahead is None else self._ahead + time.monotonic()

    def _dated(self, answer: urllib3.BaseHTTPResponse) -> float:
        date = _date(answer)
        self._ahead = date - time.monotonic()
        return date

    def get(self, name: str) -> bytes:
        """Return an object's bytes.

        Raises Missing and BucketError.
        """
        return self._get(name)

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        """Return `length` bytes of an object from `offset`, or as many as there are.

        Raises Missing, OutOfRange and BucketError.
        """
        return self._get(name, offset=offset, length=length)

    def _get(self, name: str, **span: Any) -> bytes:
        with deadline.Call() as call:
            data = self._read(name, **span)
            call.size = len(data)
        return data

    def _read(self, name: str, **span: Any) -> bytes:
        for left in reversed(range(_BODIES)):
            try:
                answer = self._client.get_object(self._bucket, self._prefix + name, **span)
                try:
                    return _body(answer)
                except urllib3.exceptions.HTTPError:
                    if not left:
                        raise
                finally:
                    answer.close()
                    answer.release_conn()
            except S3Error as error:
                if error.code in _GONE:
                    raise Missing(name) from error
                if error.code == "InvalidRange":
                    raise OutOfRange(f"GET {name}: it ends before") from error
                raise BucketError(f"GET {name}: {error.code}") from error
            except _FAILURES as error:
                raise BucketError(f"GET {name} did not succeed") from error
        raise AssertionError("the last try returns or raises")

    def delete(self, *names: str) -> list[str]:
        """Delete objects, many in one request; one that is not there is deleted already.

        Returns those that the store refuses to delete, such as one that is under a legal hold. Raises BucketError,
        after which some of them may be deleted.
        """
        refused: list[str] = []
        for some in batched(names, _DELETED_AT_ONCE):
            try:
                asked = [DeleteObject(self._prefix + name) for name in some]
                failed = [each for each in self._client.remove_objects(self._bucket, asked) if each.code not in _GONE]
            except (*_FAILURES, ParseError, ValueError) as error:  # the latter two are of an answer that is none
                raise BucketError(f"deleting {some[0]} and {len(some) - 1} others did not succeed") from error
            refused += [(each.name or "").removeprefix(self._prefix) for each in failed]
        return refused

    def names(self, prefix: str, after: str = "", limit: int | None = None) -> Iterator[str]:
        """Yield the names that begin with `prefix` and stand behind `after`, in order.

        Raises BucketError.
        """
        yield from (name for name, _ in self.listing(prefix, after, limit))

    def listing(self, prefix: str, after: str = "", limit: int | None = None) -> Iterator[tuple[str, float]]:
        """Yield what `names` does, each with the time when it was stored, by the store's clock.

        Raises BucketError.
        """
        start = self._prefix + after if after else None
        try:
            found = self._client.list_objects(self._bucket, self._prefix + prefix, recursive=True, start_after=start)
            for count, item in enumerate(found):
                if limit is not None and count >= limit:
                    return
                stored = item.last_modified.timestamp() if item.last_modified else 0.0
                yield (item.object_name or "").removeprefix(self._prefix), stored
        except _FAILURES as error:
            raise BucketError(f"listing {prefix} did not succeed") from error

    def map_concurrently(self, call: Callable[[A], T], items: Iterable[A]) -> list[T]:
        """Return what `call`, which uses this bucket, makes of items, in their order; at most `READERS` run at once."""
        items = list(items)
        if len(items) <= 1:
            return [call(item) for item in items]
        with self._pool_lock:
            # Made on first use, since a worker forks after it has imported.
            if self._pool is None:
                self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="bucket")
        # Each in a copy of this context, for the budget: one that is still in line when it is spent is not made.
        contexts = [copy_context() for _ in items]
        return list(self._pool.map(lambda context, item: context.run(call, item), contexts, items))

    def get_many(self, names: Iterable[str]) -> list[bytes | None]:
        """Return several objects, None where there is none.

        Raises BucketError.
        """

        def get(name: str) -> bytes | None:
            try:
                return self._get(name)
            except Missing:
                return None

        return self.map_concurrently(get, names)


# What a library says of a call that failed.
_FAILURES = (MinioException, urllib3.exceptions.HTTPError, deadline.Spent)


def _date(answer: urllib3.BaseHTTPResponse) -> float:
    """Return when an answer was made, by its sender's clock. Raises BucketError."""
    try:
        return parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (KeyError, ValueError) as error:
        raise BucketError("the S3 endpoint does not say when it answered") from error


def _body(answer: urllib3.BaseHTTPResponse) -> bytes:
    """Read a body to its end, as long as the budget lasts: a time-out bounds the silence between two pieces alone."""
    pieces = []
    while piece := answer.read1(_PIECE):
        pieces.append(piece)
        deadline.left()
    return b"".join(pieces)


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
            return buckets[i % len(buckets)].create(name, b"%d" % i)

        with ThreadPoolExecutor(PROBE_RACERS) as pool:
            wins: list[Any] = list(pool.map(race, range(PROBE_RACERS)))
        if wins.count(True) > 1:
            raise BucketUnsafe(f"{wins.count(True)} of {PROBE_RACERS} racing creates won at {endpoints}")
        winners += wins.count(True)
        if winners == PROBE_ROUNDS:
            return
    raise BucketError(f"the answers to racing creates were late or lost at {endpoints}")


def _md5(data: bytes) -> bytes:
    return md5(data, usedforsecurity=False).digest()
