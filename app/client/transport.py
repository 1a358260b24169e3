"""Requests of the API's client, their retries and their errors.

Temporary failures are retried within one time limit: 429 and 503 after their Retry-After, broken connections and other
5xx with growing pauses. A server that is not Sluice is distinguished from one that does not answer.
"""

import random
import time
from collections.abc import Callable, Mapping
from http.client import BadStatusLine, LineTooLong, RemoteDisconnected, UnknownProtocol, responses
from typing import Any

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
    URLSchemeUnknown,
)

from app.client import byte_paths
from storage.base.errors import Refused, Unavailable

Json = dict[str, Any]

PASSING = frozenset({429, 500, 502, 503, 504})
FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
# Beyond what was asked for, so that those who were refused at once do not come back at once.
_JITTER = 0.3
_CONNECT = 5.0  # seconds that a connection may take
# What a server says that speaks another protocol than HTTP.
_NO_HTTP = (BadStatusLine, LineTooLong, UnknownProtocol)


class ProblemError(Refused):
    """The API refused; the fields are those of its problem document."""

    def __init__(self, status: int, document: Json, repeated: bool = False) -> None:
        self.status = status
        self.title = str(document.get("title", "refused"))
        self.detail = str(document.get("detail", ""))
        self.errors: list[Json] = document.get("errors", [])
        self.document = document
        # Whether an earlier try had an unknown outcome: it may have been done, and this be what came of that.
        self.repeated = repeated
        # The changes that were sent, where `errors` may name them by their numbers.
        self.changes: list[Json] = []
        # What to do about it, where who asked knows better than the status alone tells.
        self.hint = ""
        super().__init__(f"{self.title}: {self.detail}" if self.detail else self.title)


class NotSluice(ProblemError):
    """Something answers at the address, and not as Sluice does; `status` is 0 where it does not even speak HTTP."""

    def __init__(self, url: str, why: str, status: int = 0, document: Json | None = None) -> None:
        problem = {"title": "No Sluice answers there", "detail": f"{url} answers, and is no Sluice: {why}"}
        super().__init__(status, {**(document or {}), **problem, "errors": []})


class Unreachable(Unavailable):
    """The API gave no answer, or only temporary failures, for as long as the client retries."""


class Answer(Json):
    """The JSON object of an answer; asking it for what Sluice always tells, and it does not, raises NotSluice."""

    def __init__(self, url: str, document: Json) -> None:
        super().__init__(document)
        self.url = url

    def __missing__(self, name: str) -> Any:
        """Raise NotSluice."""
        raise NotSluice(self.url, f"an object without {name!r}", 200)


class Transport:
    """Requests to one API."""

    def __init__(
        self,
        url: str,
        retry_for: float = 15.0,
        connections: int = 16,
        timeout: float = 90.0,
        sleep: Callable[[float], None] = time.sleep,
        token: str | None = None,
    ) -> None:
        """Describe an API at `url`, to which `token` is sent.

        `retry_for` bounds, in seconds, how long one call is repeated; `timeout` is that of one answer, above the
        longest long poll; `sleep` passes the time between tries.
        """
        self.url = (url if "://" in url else f"http://{url}").rstrip("/")
        self._retry_for = retry_for
        self._sleep = sleep
        self._token = token
        timeouts = urllib3.Timeout(connect=_CONNECT, read=timeout)
        self._http = urllib3.PoolManager(maxsize=connections, timeout=timeouts, retries=False)

    @property
    def authorization(self) -> dict[str, str]:
        """The header with the token, where there is one."""
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Json:
        """Return the answer's JSON. Raises ProblemError for a final refusal, and Unreachable."""
        data = None if body is None else body if isinstance(body, bytes) else byte_paths.dumps(body).encode()
        return self._read(self.raw(method, path, data, headers))

    def raw(
        self,
        method: str,
        path: str,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        streamed: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        """Return the answer, whose status is a success or 304; `streamed`, its body is still to be read.

        Repeats exactly the same request while it may still succeed. Raises ProblemError for a final refusal.
        """
        pauses = Pauses(self._retry_for, self._sleep)
        headers = {"Content-Type": "application/json", **self.authorization, **(headers or {})}
        unknown = False
        while True:
            retry_after = 0.0
            try:
                answer = self._once(method, path, streamed, body=data, headers=headers)
            except HTTPError as error:
                why: str = self._why(error)
                reason: Exception = error
                unknown = True
            else:
                if answer.status < 300 or answer.status == 304:
                    return answer
                refusal = self._refusal(answer, unknown)
                if answer.status not in PASSING:
                    raise refusal
                reason, why = refusal, str(refusal)
                unknown = unknown or answer.status != 429
                retry_after = _seconds(answer.headers.get("Retry-After"))
            if not pauses.take(retry_after):
                raise Unreachable(f"{method} {self.url}{path}: {why}") from reason

    def _once(self, method: str, path: str, streamed: bool, **given: Any) -> urllib3.BaseHTTPResponse:
        """Send it once. Raises HTTPError for a temporary failure, and Unreachable or NotSluice for a final one."""
        try:
            answer = self._http.request(method, self.url + path, preload_content=not streamed, **given)
            if streamed and answer.status >= 300:
                answer.read(cache_content=True)
        except (LocationValueError, URLSchemeUnknown) as error:
            raise Unreachable(f"{self.url} is no address of an API: {error}") from error
        except SSLError as error:
            raise NotSluice(self.url, f"no TLS that is trusted ({error})") from error
        except ProtocolError as error:
            for arg in error.args:
                if isinstance(arg, _NO_HTTP) and not isinstance(arg, RemoteDisconnected):
                    raise NotSluice(self.url, "it does not speak HTTP") from error
            raise
        return answer

    def _why(self, error: HTTPError) -> str:
        """Return in plain words why there was no answer."""
        match error:
            case NameResolutionError():
                return "the name of the host is not known"
            case NewConnectionError() if isinstance(error.__cause__, ConnectionRefusedError):
                return "nothing listens there (connection refused)"
            case NewConnectionError():
                cause = error.__cause__
                return f"no connection ({getattr(cause, 'strerror', None) or cause or error})"
            case ConnectTimeoutError():
                return f"no connection within {_CONNECT:g} seconds"
            case ReadTimeoutError():
                return "something listens there, and did not answer in time"
            case ProtocolError():
                return f"the connection broke before there was an answer ({error.args[-1]})"
            case _:
                return str(error)

    def _refusal(self, answer: urllib3.BaseHTTPResponse, unknown: bool) -> ProblemError:
        """Return what a status that is no success means."""
        try:
            document = byte_paths.loads(answer.data)
        except ValueError:
            document = None
        if isinstance(document, dict) and ("title" in document or "outcomes" in document):
            return ProblemError(answer.status, document, unknown)
        return NotSluice(self.url, _named(answer), answer.status, document if isinstance(document, dict) else None)

    def _read(self, answer: urllib3.BaseHTTPResponse) -> Answer:
        """Return a success's JSON object. Raises NotSluice where it has none."""
        try:
            document = byte_paths.loads(answer.data)
        except ValueError:
            raise NotSluice(self.url, _named(answer), answer.status) from None
        if not isinstance(document, dict):
            raise NotSluice(self.url, f"{_named(answer)}, no object", answer.status)
        return Answer(self.url, document)


class Pauses:
    """The pauses between the tries of one call: growing, never shorter than Retry-After, and limited in sum."""

    def __init__(self, retry_for: float, sleep: Callable[[float], None]) -> None:
        self._retry_for = retry_for
        self._sleep = sleep
        self.begin()

    def begin(self) -> None:
        """Begin anew: there was progress."""
        self._until = time.monotonic() + self._retry_for
        self._next = FIRST_PAUSE

    def take(self, at_least: float = 0.0) -> bool:
        """Pause, and tell whether to try again; False at once if the time limit would pass during the pause."""
        pause = max(self._next, at_least) * random.uniform(1.0, 1.0 + _JITTER)
        if time.monotonic() + pause > self._until:
            return False
        self._sleep(pause)
        self._next = min(_LONGEST_PAUSE, self._next * 2)
        return True


def _seconds(retry_after: str | None) -> float:
    """Return a Retry-After in seconds; a date, which proxies may send, counts as none."""
    return float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else 0.0


def _named(answer: urllib3.BaseHTTPResponse) -> str:
    """Return an answer's status and type, for a person."""
    kind = answer.headers.get("Content-Type", "").partition(";")[0] or "no content type"
    return f"{answer.status} {responses.get(answer.status, '')} ({kind})".replace("  ", " ")
