"""The only module that uses the S3 libraries: it signs, sends and repeats requests.

minio-py reads, lists and deletes. It cannot send the header for create-if-absent, so that PUT is signed by minio-py's
signer and sent here. All connections are urllib3's; the time-outs and retries are set here.
"""

from base64 import b64encode
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from hashlib import md5
from typing import Any
from urllib.parse import quote, urlsplit

import urllib3
from minio import Minio
from minio.credentials import Credentials
from minio.datatypes import Object
from minio.deleteobjects import DeleteError, DeleteObject
from minio.error import MinioException
from minio.signer import sign_v4_s3
from minio.time import to_amz_date
from urllib3.util import Retry, Timeout

from storage.backends import deadline
from storage.backends.turns import in_thread_if_large
from storage.base.settings import Settings
from storage.metrics.counts import COUNTS
from storage.metrics.definitions import CALL_RETRIES

FAILURES = (MinioException, urllib3.exceptions.HTTPError, deadline.Spent)
"""What a call raises that failed; minio-py's S3Error, which has a code, is one of them."""

_CONNECTIONS = 32
_BODIES = 3  # times that a body is asked for, whose end does not come
_PIECE = 1 << 20
# Of a body that has its digest in the head, which is signed.
_UNSIGNED = "UNSIGNED-PAYLOAD"
# Retries of one call after a broken connection or one of these answers, behind pauses in seconds: about 0.1, 0.2 and
# 0.4, each longer by up to 0.1. A Retry-After is not obeyed: its seconds may be more than anybody waits.
_PASSING = (429, 500, 502, 503, 504)
_READ_RETRIES = Retry(
    total=3,
    status_forcelist=_PASSING,
    backoff_factor=0.1,
    backoff_jitter=0.1,
    backoff_max=1.0,
    respect_retry_after_header=False,
    allowed_methods=None,  # POST as well, which deletes: nothing here does harm when it is repeated
)
# A PUT may be repeated because 412 has a meaning. 409 is AWS's answer while another conditional write is under way.
_PUT_RETRIES = _READ_RETRIES.new(redirect=0, status_forcelist=(409, *_PASSING), raise_on_status=False)
# A call waits for so much of s3_timeout at first, and twice as long after each time-out: what a store that is coming up
# has taken and does not answer is asked again soon, and a store that is slow has its time.
_FIRST_PATIENCE = 1 / 8


class _WithinBudget(Timeout):
    """The time-out of one try: its own, or what is left of the budget at its beginning."""

    def clone(self) -> Timeout:
        """Return the time-outs of the next try; urllib3 asks before each, retries too. Raises deadline.Spent."""
        return Timeout(total=deadline.left(), connect=self._connect, read=self._read)


class _Patience:
    """A mixin for urllib3's connection pools: each try of a call waits longer than the one before."""

    def urlopen(
        self: Any,
        method: str,
        url: str,
        body: Any = None,
        headers: Any = None,
        retries: Any = None,
        *args: Any,
        **kw: Any,
    ) -> Any:
        """Send a request; urllib3 calls this for each try."""
        most = self.timeout.read_timeout
        # Not those that were refused at once.
        waited = (
            sum(isinstance(retry.error, urllib3.exceptions.TimeoutError) for retry in retries.history) if retries else 0
        )
        if retries and retries.history:
            COUNTS.add(CALL_RETRIES, "bucket")
        seconds = min(most, most * _FIRST_PATIENCE * 2**waited)
        # The time to connect bounds the sending of a body as well.
        kw["timeout"] = _WithinBudget(connect=seconds, read=seconds)
        return super().urlopen(method, url, body, headers, retries, *args, **kw)  # type: ignore[misc]


class _HttpPool(_Patience, urllib3.HTTPConnectionPool):  # type: ignore[misc]  # the mixin's types are wider
    pass


class _HttpsPool(_Patience, urllib3.HTTPSConnectionPool):  # type: ignore[misc]
    pass


_POOLS = {"http": _HttpPool, "https": _HttpsPool}


class S3Client:
    """One bucket through one endpoint, by whole keys. Safe for threads. Calls raise one of FAILURES."""

    def __init__(self, settings: Settings, endpoint: str) -> None:
        url = urlsplit(endpoint)
        self.host = url.netloc
        self.bucket = settings.s3_bucket
        self._endpoint = f"{url.scheme}://{url.netloc}/"
        self._region = settings.s3_region
        keys = settings.s3_access_key, settings.s3_secret_key
        self._credentials = Credentials(*keys) if keys[0] else None  # else anybody may write there
        self.http = urllib3.PoolManager(
            maxsize=_CONNECTIONS, timeout=Timeout(read=settings.s3_timeout), retries=_READ_RETRIES
        )
        self.http.pool_classes_by_scheme = _POOLS
        self.minio = Minio(
            url.netloc,
            access_key=settings.s3_access_key,
            secret_key=settings.s3_secret_key,
            region=settings.s3_region,
            secure=url.scheme == "https",
            http_client=self.http,
        )

    def ensure_bucket(self) -> None:
        """Make the bucket if it is missing."""
        if not self.minio.bucket_exists(self.bucket):
            self.minio.make_bucket(self.bucket)

    def put_absent(self, key: str, data: bytes) -> urllib3.BaseHTTPResponse:
        """Send a PUT that stores nothing if the key exists, and return the answer, whatever its status."""
        url, headers = self._signed_put(key, data)
        return self.http.request("PUT", url, body=data, headers=headers, retries=_PUT_RETRIES, redirect=False)

    def ping(self) -> urllib3.BaseHTTPResponse:
        """Return the answer to an unsigned request: a refusal, whose Date header is the store's clock."""
        return self.http.request("GET", self._endpoint, redirect=False, retries=_PUT_RETRIES)

    def get(self, key: str, **span: Any) -> bytes:
        """Return an object's bytes, or `length` of them from `offset`; a truncated body is requested again."""
        for left in reversed(range(_BODIES)):
            answer = self.minio.get_object(self.bucket, key, **span)
            try:
                return _body(answer)
            except urllib3.exceptions.HTTPError:
                if not left:
                    raise
            finally:
                answer.close()
                answer.release_conn()
        raise AssertionError("the last try returns or raises")

    def list_objects(self, prefix: str, after: str | None) -> Iterator[Object]:
        """Yield the objects whose keys begin with `prefix` and are greater than `after`, in order."""
        return self.minio.list_objects(self.bucket, prefix, recursive=True, start_after=after)

    def delete(self, keys: Iterable[str]) -> Iterator[DeleteError]:
        """Delete objects in one request, and yield the store's errors for those that it did not delete."""
        return self.minio.remove_objects(self.bucket, [DeleteObject(key) for key in keys])

    @cached_property
    def _objects(self) -> str:
        """The URL of all objects, as minio-py addresses them: some stores have the bucket in the host's name."""
        return self.minio.presigned_put_object(self.bucket, "-").partition("-?")[0]

    def _signed_put(self, key: str, data: bytes) -> tuple[str, dict[str, Any]]:
        url, date = urlsplit(self._objects + quote(key)), datetime.now(UTC)
        headers: dict[str, Any] = {
            "Host": url.netloc,
            "If-None-Match": "*",
            # Without it SeaweedFS stores nothing at all under the name, for good, where the connection ends behind the
            # head of the request.
            "Content-MD5": b64encode(in_thread_if_large(_md5, data)).decode(),
            "x-amz-content-sha256": _UNSIGNED,
            "x-amz-date": to_amz_date(date),
        }
        if self._credentials is None:
            return url.geturl(), headers
        signed = sign_v4_s3(
            method="PUT",
            url=url,
            region=self._region,
            headers=headers,
            credentials=self._credentials,
            content_sha256=_UNSIGNED,
            date=date,
        )
        return url.geturl(), signed


def _body(answer: urllib3.BaseHTTPResponse) -> bytes:
    """Read a body to its end within the budget: urllib3's time-out limits only the silence between two chunks."""
    pieces = []
    while piece := answer.read1(_PIECE):
        pieces.append(piece)
        deadline.left()
    return b"".join(pieces)


def _md5(data: bytes) -> bytes:
    return md5(data, usedforsecurity=False).digest()
