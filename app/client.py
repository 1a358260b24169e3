"""A client of docs/api.md: patient, and exact about what is known.

What may pass is waited for: 429 and 503 as long as they say, broken connections and other 5xx with growing pauses, all
within one bound. Submissions carry an idempotency key, so repeating them is safe. Safe for threads.
"""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import urllib3

from storage.ids import new_ulid

Json = dict[str, Any]

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0


class ProblemError(Exception):
    """The API refused; the fields are those of its problem document."""

    def __init__(self, status: int, document: Json) -> None:
        self.status = status
        self.title = str(document.get("title", "refused"))
        self.detail = str(document.get("detail", ""))
        self.errors: list[Json] = document.get("errors", [])
        self.document = document
        super().__init__(f"{self.title}: {self.detail}" if self.detail else self.title)


class Unreachable(Exception):
    """The API did not answer, or not with anything final, for as long as the client is patient."""


class Client:
    """One API."""

    def __init__(self, url: str, patience: float = 120.0, connections: int = 16, timeout: float = 90.0) -> None:
        """Describe an API at `url`; `patience` bounds, in seconds, how long one call is repeated."""
        self.url = url.rstrip("/")
        self._patience = patience
        self._http = urllib3.PoolManager(
            maxsize=connections, timeout=urllib3.Timeout(connect=5.0, read=timeout), retries=False
        )

    def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Json:
        """Return the answer's JSON.

        Raises ProblemError for a final refusal, and Unreachable.
        """
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        return json.loads(self.raw(method, path, data, headers).data)

    def raw(
        self, method: str, path: str, data: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> urllib3.BaseHTTPResponse:
        """Return the answer, with a status below 400.

        Raises ProblemError for a final refusal, and Unreachable.
        """
        until = time.monotonic() + self._patience
        pause = _FIRST_PAUSE
        while True:
            wait = pause
            try:
                answer = self._http.request(
                    method, self.url + path, body=data, headers={"Content-Type": "application/json", **(headers or {})}
                )
                if answer.status < 400:
                    return answer
                if answer.status not in {429, 500, 502, 503, 504}:
                    raise ProblemError(answer.status, _document(answer.data))
                reason = str(ProblemError(answer.status, _document(answer.data)))
                wait = max(pause, float(answer.headers.get("Retry-After", 0)))
            except urllib3.exceptions.HTTPError as error:
                reason = str(error)
            if time.monotonic() + wait > until:
                raise Unreachable(f"{method} {self.url}{path}: {reason}")
            time.sleep(wait * random.uniform(0.7, 1.0))
            pause = min(_LONGEST_PAUSE, pause * 2)

    def pages(self, path: str, /, **filters: Any) -> Iterator[Json]:
        """Yield the items of a list, page after page."""
        filters = {name: value for name, value in filters.items() if value is not None}
        cursor = None
        while True:
            query = filters | ({"cursor": cursor} if cursor else {})
            answer = self.call("GET", f"{path}?{urlencode(query)}" if query else path)
            yield from answer["items"]
            cursor = answer["next"]
            if cursor is None:
                return

    def create_slice(self, name: str, paths: list[str]) -> Json:
        """Make a slice."""
        return self.call("POST", "/v1/slices", {"name": name, "paths": paths})

    def slice(self, name: str) -> Json:
        """Return a slice by id or name."""
        return self.call("GET", f"/v1/slices/{quote(name, safe='')}")

    def slices(self, path: str | None = None) -> Iterator[Json]:
        """Yield slices, those that cover `path` if it is given."""
        return self.pages("/v1/slices", path=path, limit=1000)

    def submit(self, slice_name: str, changeset: Json, key: str | None = None) -> Json:
        """Submit one changeset and return it."""
        path = f"/v1/slices/{quote(slice_name, safe='')}/changesets"
        return self.call("POST", path, changeset, {"Idempotency-Key": key or new_ulid()})

    def submit_many(self, changesets: list[Json] | bytes, key: str | None = None) -> list[Json]:
        """Submit several, given as items or as a request's body, and return their outcomes."""
        body: Any = changesets if isinstance(changesets, bytes) else {"changesets": changesets}
        try:
            return self.call("POST", "/v1/changesets", body, {"Idempotency-Key": key or new_ulid()})["outcomes"]
        except ProblemError as error:
            if "outcomes" in error.document:
                return error.document["outcomes"]
            raise

    def changeset(self, changeset: str, wait: float | None = None, until: str = "committed") -> Json:
        """Return a changeset; with `wait`, once it has a final answer or so many seconds are over."""
        query = f"?{urlencode({'wait': wait, 'until': until})}" if wait else ""
        return self.call("GET", f"/v1/changesets/{changeset}{query}")

    def changesets(self, slice_name: str, status: str, limit: int = 1000) -> Iterator[Json]:
        """Yield a slice's changesets of a status."""
        return self.pages(f"/v1/slices/{quote(slice_name, safe='')}/changesets", status=status, limit=limit)

    def commits(self, slice_name: str) -> Iterator[Json]:
        """Yield a slice's commits, oldest first."""
        return self.pages(f"/v1/slices/{quote(slice_name, safe='')}/commits")

    def tree(self, slice_name: str, commit: str | None = None, prefix: str | None = None) -> Iterator[Json]:
        """Yield a slice's files."""
        path = f"/v1/slices/{quote(slice_name, safe='')}/tree"
        return self.pages(path, commit=commit, prefix=prefix, limit=1000)

    def file(self, slice_name: str, path: str, commit: str | None = None) -> bytes:
        """Return a file's bytes."""
        query = f"?commit={commit}" if commit else ""
        return self.raw("GET", f"/v1/slices/{quote(slice_name, safe='')}/files/{quote(path)}{query}").data

    def head(self) -> Json:
        """Return the global head and the tip."""
        return self.call("GET", "/v1/head")

    def global_commits(self, limit: int = 100) -> Iterator[Json]:
        """Yield the global commits, newest first, `limit` a page."""
        return self.pages("/v1/commits", limit=limit)

    def merged(self, commit: str) -> Iterator[Json]:
        """Yield the changesets that a global commit merged."""
        return self.pages(f"/v1/commits/{commit}/changesets", limit=1000)

    def merge(self) -> Json:
        """Ask for a batch merge."""
        return self.call("POST", "/v1/merges")

    def ready(self) -> Json:
        """Return what /readyz says, fit or not."""
        return json.loads(self._http.request("GET", self.url + "/readyz").data)


def content(data: bytes) -> Json:
    """Return the fields by which a change carries `data`: text where that is exact, else base64."""
    try:
        return {"content": data.decode()}
    except UnicodeDecodeError:
        return {"content_base64": base64.b64encode(data).decode()}


def _document(data: bytes) -> Json:
    try:
        document = json.loads(data)
    except ValueError:
        return {"title": "An answer that is no problem document", "detail": data[:200].decode(errors="replace")}
    return document if isinstance(document, dict) else {}
