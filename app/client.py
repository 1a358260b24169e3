"""A client of docs/api.md: patient, and exact about what is known.

What may pass is waited for: 429 and 503 as long as they say, broken connections and other 5xx with growing pauses, all
within one bound. Submissions carry an idempotency key, so repeating them is safe. Safe for threads.
"""

from __future__ import annotations

import base64
import json
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from typing import Any
from urllib.parse import quote, urlencode

import urllib3
from urllib3.exceptions import HTTPError, LocationValueError, URLSchemeUnknown

from storage.ids import new_ulid

Json = dict[str, Any]

_PASSING = frozenset({429, 500, 502, 503, 504})
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
# Beyond what was asked for, so that those who were refused at once do not come back at once.
_JITTER = 0.3
LONGEST_WAIT = 50.0  # seconds of one long poll, at most: proxies cut off what takes a minute
_READ = 64 << 10  # bytes of a stream that are taken at once, at most


class ProblemError(Exception):
    """The API refused; the fields are those of its problem document."""

    def __init__(self, status: int, document: Json, repeated: bool = False) -> None:
        self.status = status
        self.title = str(document.get("title", "refused"))
        self.detail = str(document.get("detail", ""))
        self.errors: list[Json] = document.get("errors", [])
        self.document = document
        # Whether an earlier try had an unknown outcome: it may have been done, and this be what came of that.
        self.repeated = repeated
        super().__init__(f"{self.title}: {self.detail}" if self.detail else self.title)


class Unreachable(Exception):
    """The API did not answer, or not with anything final, for as long as the client is patient."""


class Client:
    """One API."""

    def __init__(
        self,
        url: str,
        patience: float = 15.0,
        connections: int = 16,
        timeout: float = 90.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Describe an API at `url`.

        `patience` bounds, in seconds, how long one call is repeated; `timeout` is that of one answer, above the longest
        long poll; `sleep` passes the time between tries.
        """
        self.url = (url if "://" in url else f"http://{url}").rstrip("/")
        self._patience = patience
        self._sleep = sleep
        timeouts = urllib3.Timeout(connect=5.0, read=timeout)
        self._http = urllib3.PoolManager(maxsize=connections, timeout=timeouts, retries=False)

    def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Json:
        """Return the answer's JSON.

        Raises ProblemError for a final refusal, and Unreachable.
        """
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        answer: Json = json.loads(self.raw(method, path, data, headers).data)
        return answer

    def raw(
        self,
        method: str,
        path: str,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        streamed: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        """Return the answer, whose status is a success or 304; `streamed`, its body is still to be read.

        Repeats the very same request while it may yet succeed.
        Raises ProblemError for a final refusal, and Unreachable.
        """
        pauses = _Pauses(self._patience, self._sleep)
        headers = {"Content-Type": "application/json", **(headers or {})}
        unknown = False
        while True:
            retry_after = 0.0
            try:
                answer = self._http.request(
                    method, self.url + path, body=data, headers=headers, preload_content=not streamed
                )
                refusal = b"" if streamed and answer.status < 300 else answer.data
            except (LocationValueError, URLSchemeUnknown) as error:
                raise Unreachable(f"{self.url} is no address of an API: {error}") from error
            except HTTPError as error:
                reason: Exception = error
                unknown = True
            else:
                if answer.status < 300 or answer.status == 304:
                    return answer
                reason = ProblemError(answer.status, _document(refusal), unknown)
                if answer.status not in _PASSING:
                    raise reason
                unknown = unknown or answer.status != 429
                retry_after = _seconds(answer.headers.get("Retry-After"))
            if not pauses.take(retry_after):
                raise Unreachable(f"{method} {self.url}{path}: {reason}") from reason

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
        try:
            return self.call("POST", "/v1/slices", {"name": name, "paths": paths})
        except ProblemError as refusal:
            if refusal.status != 409 or not refusal.repeated:
                raise
            # An earlier try was not answered. If it made the slice, this is the one.
            there = self.slice(name)
            if (there["name"], there["paths"]) != (name, paths):
                raise
            return there

    def slice(self, name: str) -> Json:
        """Return a slice by id or name."""
        return self.call("GET", f"/v1/slices/{quote(name, safe='')}")

    def change_slice(self, name: str, paths: list[str], version: int | None = None) -> Json:
        """Give a slice other paths; with `version`, only if it still has that one."""
        body = {"paths": paths} | ({} if version is None else {"version": version})
        return self.call("PATCH", f"/v1/slices/{quote(name, safe='')}", body)

    def delete_slice(self, name: str, version: int | None = None) -> None:
        """Delete a slice; with `version`, only if it still has that one."""
        query = "" if version is None else f"?version={version}"
        try:
            self.raw("DELETE", f"/v1/slices/{quote(name, safe='')}{query}")
        except ProblemError as refusal:
            # An earlier try that was not answered has deleted it.
            if refusal.status != 404 or not refusal.repeated:
                raise

    def slices(self, path: str | None = None) -> Iterator[Json]:
        """Yield slices, those that cover `path` if it is given."""
        return self.pages("/v1/slices", path=path, limit=1000)

    def submit(self, slice_name: str, changeset: Json, key: str | None = None) -> Json:
        """Submit one changeset and return it."""
        path = f"/v1/slices/{quote(slice_name, safe='')}/changesets"
        return self.call("POST", path, changeset, {"Idempotency-Key": key or new_ulid()})

    def submit_many(self, changesets: list[Json] | bytes, key: str | None = None) -> list[Json]:
        """Submit several, given as items or as a request's body, and return their outcomes.

        While items are refused for what will pass (a full queue), the same request is sent again: those that were
        accepted are known by their keys. Patience begins anew whenever more of them were.
        """
        body = changesets if isinstance(changesets, bytes) else json.dumps({"changesets": changesets}).encode()
        headers = {"Idempotency-Key": key or new_ulid()}
        pauses, most = _Pauses(self._patience, self._sleep), 0
        while True:
            outcomes = self._submit_many(body, headers)
            accepted = sum(outcome["status"] == 202 for outcome in outcomes)
            if accepted > most:
                pauses, most = _Pauses(self._patience, self._sleep), accepted
            if not any(outcome["status"] in _PASSING for outcome in outcomes) or not pauses.take():
                return outcomes

    def _submit_many(self, body: bytes, headers: Mapping[str, str]) -> list[Json]:
        try:
            outcomes: list[Json] = self.call("POST", "/v1/changesets", body, headers)["outcomes"]
        except ProblemError as refusal:
            # Where no item was accepted, the status of the whole is 422, with an outcome for each all the same.
            if "outcomes" not in refusal.document:
                raise
            outcomes = refusal.document["outcomes"]
        return outcomes

    def changeset(self, changeset: str, wait: float | None = None, until: str = "committed") -> Json:
        """Return a changeset; with `wait`, once it has a final answer or so many seconds are over."""
        # The API takes six decimals, and no exponent.
        seconds = round(min(wait or 0.0, LONGEST_WAIT), 3)
        query = f"?{urlencode({'wait': seconds, 'until': until})}" if seconds > 0 else ""
        return self.call("GET", f"/v1/changesets/{changeset}{query}")

    def changesets(self, slice_name: str, status: str, limit: int = 1000) -> Iterator[Json]:
        """Yield a slice's changesets of a status."""
        return self.pages(f"/v1/slices/{quote(slice_name, safe='')}/changesets", status=status, limit=limit)

    def check(self, slice_name: str, changeset: Json) -> Json:
        """Return what would become of a changeset if it were submitted now."""
        return self.call("POST", f"/v1/slices/{quote(slice_name, safe='')}/check", changeset)

    def release(self, changeset: str) -> Json:
        """Let a held changeset be committed, and return it."""
        return self.call("POST", f"/v1/changesets/{changeset}/release")

    def abandon(self, changeset: str) -> Json:
        """Take back a changeset, or close its conflict, and return it."""
        return self.call("POST", f"/v1/changesets/{changeset}/abandon")

    def rebase(self, changeset: str) -> Json:
        """Return the changeset on the tip that takes its place; a repeat returns the same one."""
        return self.call("POST", f"/v1/changesets/{changeset}/rebase")

    def resolve(self, changeset: str, paths: Json, message: str | None = None, key: str | None = None) -> Json:
        """Return the changeset that resolves a conflict; a repeat returns the same one, another way needs a `key`."""
        body = {"paths": paths} | ({} if message is None else {"message": message})
        headers = {"Idempotency-Key": key} if key else None
        return self.call("POST", f"/v1/changesets/{changeset}/resolve", body, headers)

    def diff(self, changeset: str) -> Iterator[Json]:
        """Yield what a changeset changes, file by file."""
        return self.pages(f"/v1/changesets/{changeset}/diff")

    def conflicts(self, slice_name: str | None = None, path: str | None = None) -> Iterator[Json]:
        """Yield the changesets whose conflicts are open, oldest first."""
        return self.pages("/v1/conflicts", slice=slice_name, path=path)

    def conflicts_of(self, changeset: str) -> Iterator[Json]:
        """Yield a changeset's conflicts, with their lines."""
        return self.pages(f"/v1/changesets/{changeset}/conflicts")

    def side_of(self, changeset: str, side: str, path: str) -> bytes | None:
        """Return the bytes of a conflict's side (base, head or submitted); None where it has no content."""
        try:
            return self.raw("GET", f"/v1/changesets/{changeset}/conflicts/{side}/{quote(path)}").data
        except ProblemError as refusal:
            if refusal.status != 404:
                raise
            return None

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

    def version_of(self, slice_name: str, path: str, commit: str) -> Json | None:
        """Return the mode and id of what stands at a path, without its bytes; None where there is no file."""
        query = urlencode({"commit": commit})
        try:
            found = self.raw("HEAD", f"/v1/slices/{quote(slice_name, safe='')}/files/{quote(path)}?{query}").headers
        except ProblemError as refusal:
            if refusal.status != 404:
                raise
            return None
        return {"mode": found["X-Git-Mode"], "id": found["ETag"].removeprefix("W/").strip('"')}

    def activity(self, path: str) -> Json:
        """Return what is going on at a path."""
        return self.call("GET", f"/v1/paths/{quote(path)}")

    def head(self) -> Json:
        """Return the global head and the tip."""
        return self.call("GET", "/v1/head")

    def has_any_file(self, slice_name: str, commit: str | None = None) -> bool:
        """Tell whether a slice has files, at a commit or at the tip."""
        commit = commit or self.head()["tip"]["commit"]
        path = f"/v1/slices/{quote(slice_name, safe='')}/tree"
        return bool(self.call("GET", f"{path}?{urlencode({'commit': commit, 'limit': 1})}")["items"])

    def has_commit(self, slice_name: str, commit: str) -> bool:
        """Tell whether a commit is one of this repository."""
        path = f"/v1/slices/{quote(slice_name, safe='')}/tree"
        try:
            self.call("GET", f"{path}?{urlencode({'commit': commit, 'limit': 1})}")
        except ProblemError as refusal:
            if refusal.status != 422:
                raise
            return False
        return True

    def global_commits(self, limit: int = 100) -> Iterator[Json]:
        """Yield the global commits, newest first, `limit` a page."""
        return self.pages("/v1/commits", limit=limit)

    def merged(self, commit: str) -> Iterator[Json]:
        """Yield the changesets that a global commit merged."""
        return self.pages(f"/v1/commits/{commit}/changesets", limit=1000)

    def events(self, after: str | int | None = None, slice_name: str | None = None) -> Iterator[Json]:
        """Yield what becomes of changesets, exactly once and in log order, for ever: `{"id", "event", "data"}`.

        `after` is the id of an event, or an entry (0: from the beginning); without it, from now on. Whatever breaks is
        taken up again behind the last event. Raises ProblemError for a final refusal, and Unreachable.
        """
        given = {"after": after, "slice": slice_name}
        query = urlencode({name: value for name, value in given.items() if value is not None})
        stream, pauses = _EventStream(), _Pauses(self._patience, self._sleep)
        while True:
            headers = {"Last-Event-ID": stream.last_id} if stream.last_id else {}
            answer = self.raw("GET", f"/v1/events?{query}" if query else "/v1/events", None, headers, streamed=True)
            if not answer.headers.get("Content-Type", "").startswith("text/event-stream"):
                answer.close()  # cut off inside its headers, or no Sluice at all
                if not pauses.take():
                    raise Unreachable(f"{self.url} answers with something else than events")
                continue
            with closing(answer), suppress(HTTPError, OSError):
                pauses = _Pauses(self._patience, self._sleep)
                stream.begin()
                while data := answer.read1(_READ, decode_content=False):
                    yield from stream.feed(data)
            self._sleep(max(stream.retry, _FIRST_PAUSE))

    def merge(self) -> Json:
        """Ask for a batch merge."""
        return self.call("POST", "/v1/merges")

    def ready(self) -> Json:
        """Return what /readyz says, fit or not."""
        try:
            checks: Json = json.loads(self._http.request("GET", self.url + "/readyz").data)
        except HTTPError as error:
            raise Unreachable(f"GET {self.url}/readyz: {error}") from error
        return checks


class _Pauses:
    """The pauses between the tries of one call: growing, never shorter than asked for, and bounded in sum."""

    def __init__(self, patience: float, sleep: Callable[[float], None]) -> None:
        self._until = time.monotonic() + patience
        self._sleep = sleep
        self._next = _FIRST_PAUSE

    def take(self, at_least: float = 0.0) -> bool:
        """Pause, and tell whether to try again; False at once where patience would end first."""
        pause = max(self._next, at_least) * random.uniform(1.0, 1.0 + _JITTER)
        if time.monotonic() + pause > self._until:
            return False
        self._sleep(pause)
        self._next = min(_LONGEST_PAUSE, self._next * 2)
        return True


class _EventStream:
    """Server-sent events as the HTML standard reads them, over several connections."""

    # A carriage return at the very end may be the first half of a line's end.
    _LINE_END = re.compile(rb"\r\n|\n|\r(?=[^\n])")

    def __init__(self) -> None:
        self.last_id = ""
        self.retry = 1.0  # seconds to wait before coming back, as the server said last
        self.begin()

    def begin(self) -> None:
        """Begin with a new connection: what the one before left unfinished is dropped."""
        self._rest = b""
        self._fields: dict[str, str] = {}
        self._data: list[str] = []

    def feed(self, data: bytes) -> Iterator[Json]:
        """Yield the events that `data` completes."""
        *lines, self._rest = self._LINE_END.split(self._rest + data)
        for line in lines:
            name, _, value = line.decode(errors="replace").partition(":")
            value = value.removeprefix(" ")
            match name:
                case "" if not line:
                    yield from self._finish()
                case "data":
                    self._data.append(value)
                case "event" | "id":
                    self._fields[name] = value
                case "retry" if value.isascii() and value.isdigit():
                    self.retry = int(value) / 1000

    def _finish(self) -> Iterator[Json]:
        """Yield the event that an empty line ends. One without data is none, but its id counts."""
        fields, data = self._fields, self._data
        self._fields, self._data = {}, []
        self.last_id = fields.get("id", self.last_id)
        if data:
            yield {"id": self.last_id, "event": fields.get("event", "message"), "data": json.loads("\n".join(data))}


def content(data: bytes) -> Json:
    """Return the fields by which a change carries `data`: text where that is exact and short, else base64."""
    # A NUL takes six bytes in JSON, so what has them is most likely shorter in base64.
    if b"\0" not in data:
        with suppress(UnicodeDecodeError):
            return {"content": data.decode()}
    return {"content_base64": base64.b64encode(data).decode()}


def _seconds(retry_after: str | None) -> float:
    """Return a Retry-After in seconds; a date, which proxies may send, counts as none."""
    return float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else 0.0


def _document(data: bytes) -> Json:
    try:
        document = json.loads(data)
    except ValueError:
        return {"title": "An answer that is no problem document", "detail": data[:200].decode(errors="replace")}
    return document if isinstance(document, dict) else {}
