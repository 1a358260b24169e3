"""Requests as the bytes that go over the wire, and how their answers are taken."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from benchmarks.client import Refused
from benchmarks.load.loop import Answer

POLL = 30  # seconds of a long poll
_HOST = "Host: sluice\r\n"

# What a script does to get the answer to a request: `yield from`.
Asking = Generator[bytes | float, Answer | None, bytes]


def post(path: str, value: Any, token: str | None = None) -> bytes:
    """Return the request that posts a value as JSON."""
    body = json.dumps(value).encode()
    length = f"Content-Length: {len(body)}\r\n"
    head = f"POST {path} HTTP/1.1\r\n{_HOST}{_sent(token)}Content-Type: application/json\r\n{length}\r\n"
    return head.encode() + body


def get(path: str, token: str | None = None) -> bytes:
    """Return the request that gets a path."""
    return f"GET {path} HTTP/1.1\r\n{_HOST}{_sent(token)}\r\n".encode()


def _sent(token: str | None) -> str:
    return f"Authorization: Bearer {token}\r\n" if token else ""


@dataclass
class Asker:
    """Asks, obeys answers of 429 and 503, and counts them."""

    waited: int = 0
    token: str | None = None  # that `settle` sends

    def ask(self, request: bytes) -> Asking:
        """Return the body of the answer. Raises Refused for an answer that no request of a benchmark should get."""
        while True:
            answer = yield request
            assert answer
            if answer.status < 300:
                return answer.body
            if answer.status not in {429, 503}:
                line = request.split(b"\r\n", 1)[0].decode()
                raise Refused(f"{line}: {answer.status} {answer.body[:500]!r}")
            self.waited += 1
            yield answer.retry_after

    def settle(self, changeset: str, until: str) -> Generator[bytes | float, Answer | None, dict[str, Any]]:
        """Return a changeset once it is `until` (committed, landed), or has become anything else that is final."""
        request = get(f"/v1/changesets/{changeset}?wait={POLL}&until={until}", self.token)
        passing = {"queued"} if until == "committed" else {"queued", "committed"}
        while True:
            found: dict[str, Any] = json.loads((yield from self.ask(request)))
            if found["status"] not in passing:
                return found
