"""One request, one answer or none: nothing is repeated here, so that the history knows every try."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import urllib3
from flask import Flask
from urllib3.exceptions import HTTPError

Json = dict[str, Any]

# Refused for now, or nobody knows: to be asked again.
PASSING = frozenset({0, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; status 0 is none, or one that was cut off."""

    status: int
    data: bytes = field(default=b"", repr=False)
    retry_after: str = ""  # the header, empty where there is none
    why: str = ""  # of none
    request: str = ""  # by which the API's log names it, X-Request-Id

    @property
    def document(self) -> Json:
        """The answer's JSON."""
        document: Json = json.loads(self.data)
        return document

    @property
    def passing(self) -> bool:
        """Whether the same request may be answered otherwise later."""
        return self.status in PASSING


class Wire(Protocol):
    """Sends requests; never raises for what a network does."""

    def __call__(
        self, method: str, path: str, body: Any = None, key: str | None = None, if_match: str | None = None
    ) -> Answer:
        """Send one request, with `key` as its Idempotency-Key, and return the answer."""


class Doors(Wire, Protocol):
    """A wire that can send any token."""

    def as_(self, token: str | None) -> Wire:
        """Return the same wire with another token; None sends none."""


class Http:
    """The API over HTTP."""

    def __init__(self, url: str, timeout: float = 8.0, token: str | None = None) -> None:
        self._token = token
        at = urlsplit(url)
        self._http = urllib3.HTTPConnectionPool(
            at.hostname or "",
            at.port,
            maxsize=32,
            timeout=urllib3.Timeout(connect=2.0, read=timeout),
            retries=False,
        )

    def as_(self, token: str | None) -> Http:
        """Return the same with another token, on the same connections."""
        other = copy(self)
        other._token = token
        return other

    def __call__(
        self, method: str, path: str, body: Any = None, key: str | None = None, if_match: str | None = None
    ) -> Answer:
        """Send one request."""
        headers = {"Content-Type": "application/json", **_headers(self._token, key, if_match)}
        data = None if body is None else json.dumps(body).encode()
        try:
            answer = self._http.request(method, path, body=data, headers=headers)
            # Cut off within its headers it has no length: then all that came before the cut is taken for its body.
            if "Content-Length" not in answer.headers:
                return Answer(0, why="an answer that is cut off within its headers")
            return _whole(answer.status, answer.data, dict(answer.headers))
        except HTTPError as error:
            return Answer(0, why=f"{type(error).__name__}: {error}")


class InProcess:
    """The API in this very process, for tests that break its code."""

    def __init__(self, app: Flask, token: str | None = None) -> None:
        self._app = app
        self._token = token

    def as_(self, token: str | None) -> InProcess:
        """Return the same with another token."""
        return InProcess(self._app, token)

    def __call__(
        self, method: str, path: str, body: Any = None, key: str | None = None, if_match: str | None = None
    ) -> Answer:
        """Send one request."""
        headers = _headers(self._token, key, if_match)
        answer = self._app.test_client().open(path, method=method, json=body, headers=headers)
        return _whole(answer.status_code, answer.data, dict(answer.headers))


def _headers(token: str | None, key: str | None, if_match: str | None) -> dict[str, str]:
    named = {"Authorization": token and f"Bearer {token}", "Idempotency-Key": key, "If-Match": if_match}
    return {name: value for name, value in named.items() if value}


def _whole(status: int, data: bytes, headers: Mapping[str, str]) -> Answer:
    """Return an answer, as none where it is JSON that is cut off."""
    if "json" in headers.get("Content-Type", ""):
        try:
            json.loads(data)
        except ValueError:
            return Answer(0, why=f"{len(data)} bytes of JSON that is cut off")
    return Answer(status, data, headers.get("Retry-After", ""), request=headers.get("X-Request-Id", ""))
