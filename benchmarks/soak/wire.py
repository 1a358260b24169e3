"""One connection of the soak's load to the API: answers are judged by their status, 429 and 503 are obeyed."""

from __future__ import annotations

import http.client
import json
import threading
import time
from typing import Any

# The API closes connections that were idle for 30 seconds; a request must not meet that.
_IDLE = 15.0
_TIMEOUT = 120


class Unexpected(Exception):
    """The API gave an answer that the soak has no use for."""


class Wire:
    """A connection for one thread."""

    def __init__(self, host: str, port: int, stop: threading.Event) -> None:
        """Answers of 429 and 503 are waited for until `stop`."""
        self._connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT)
        self._stop = stop
        self._used = 0.0
        self.waited = 0

    def post(self, path: str, value: Any, key: str = "", accept: tuple[int, ...] = ()) -> Any:
        """POST a value; return the answer's. Raises Unexpected unless it is a 2xx or one of `accept`."""
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        return self._ask("POST", path, json.dumps(value).encode(), headers, accept)

    def get(self, path: str, accept: tuple[int, ...] = ()) -> Any:
        """GET a value: what JSON says, else bytes. Raises Unexpected."""
        return self._ask("GET", path, None, {}, accept)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str], accept: tuple[int, ...]) -> Any:
        while True:
            if time.monotonic() - self._used > _IDLE:
                self._connection.close()
            self._connection.request(method, path, body, headers)
            answer = self._connection.getresponse()
            data = answer.read()
            self._used = time.monotonic()
            if answer.status in {429, 503} and answer.status not in accept:
                self.waited += 1
                if self._stop.wait(float(answer.headers["Retry-After"])):
                    raise Unexpected(f"{method} {path}: {answer.status} until the end")
                continue
            if answer.status >= 300 and answer.status not in accept:
                raise Unexpected(f"{method} {path}: {answer.status} {data[:500]!r}")
            return json.loads(data) if "json" in answer.headers.get("Content-Type", "") else data
