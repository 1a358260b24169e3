"""A client of the API in docs/api.md, with retries.

Temporary failures are retried within one time limit: 429 and 503 after their Retry-After, broken connections and other
5xx with growing pauses. Submissions have an idempotency key, so repeating them is safe. Safe for threads.
"""

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from urllib3.exceptions import HTTPError

from app.client.byte_paths import dumps, path_url, query_of
from app.client.event_stream import EventStream
from app.client.file_streams import manifest, members
from app.client.transport import FIRST_PAUSE, PASSING, Json, NotSluice, Pauses, ProblemError, Transport, Unreachable
from storage.base.batched import batched
from storage.base.ids import new_ulid
from storage.base.settings import Settings

__all__ = ["Client", "Json", "NotSluice", "ProblemError", "Unreachable", "content", "none_if"]

LONGEST_WAIT = 50.0  # seconds of one long poll, at most: proxies cut off what takes a minute
T = TypeVar("T")
_READ = 64 << 10  # bytes of a stream that are taken at once, at most
_NOBODY = "unknown"  # as the API calls who asks where there are no tokens


class Client(Transport):
    """The API at one address."""

    def pages(self, path: str, /, **filters: Any) -> Iterator[Json]:
        """Yield the items of a list, page after page."""
        filters = {name: value for name, value in filters.items() if value is not None}
        cursor = None
        while True:
            query = filters | ({"cursor": cursor} if cursor else {})
            answer = self.call("GET", f"{path}?{query_of(query)}" if query else path)
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

    def create_slices(self, slices: Sequence[Json]) -> list[Json]:
        """Make slices, given with name and paths, and return an outcome for each; a repeat makes no others."""
        try:
            answer: Json = self.call("POST", "/v1/slices", {"slices": slices})
        except ProblemError as refusal:
            # Where all are refused, the status of the whole is 422, with an outcome for each all the same.
            if "outcomes" not in refusal.document:
                raise
            answer = refusal.document
        outcomes: list[Json] = answer["outcomes"]
        return outcomes

    def slice(self, name: str) -> Json:
        """Return a slice by id or name."""
        return self.call("GET", _slice_path(name))

    def change_slice(self, name: str, paths: list[str], version: int | None = None) -> Json:
        """Give a slice other paths; with `version`, only if it still has that one."""
        body = {"paths": paths} | ({} if version is None else {"version": version})
        return self.call("PATCH", _slice_path(name), body)

    def delete_slice(self, name: str, version: int | None = None) -> None:
        """Delete a slice; with `version`, only if it still has that one."""
        query = "" if version is None else f"?version={version}"
        self.delete(_slice_path(name) + query)

    def git_base(self) -> str | None:
        """Return what the addresses of Git repositories begin with; None where there is no gateway."""
        base = self.call("GET", "/v1").get("git")
        return str(base) if base else None

    def me(self) -> Json:
        """Return who one is, and what one may do."""
        return self.call("GET", "/v1/me")

    def principal(self) -> str | None:
        """Return who one is; None without a token, where everybody is nobody."""
        principal: str = self.me()["principal"]
        return None if principal == _NOBODY else principal

    def limits(self) -> Json:
        """Return every limit that a request can meet, and one's own shares with what is used of them."""
        return self.call("GET", "/v1/limits")

    def create_token(self, principal: str, **wanted: Any) -> Json:
        """Make a token for a principal; the answer alone has its secret."""
        return self.call("POST", "/v1/tokens", {"principal": principal, **wanted})

    def tokens(self) -> Iterator[Json]:
        """Yield the tokens that one may see."""
        return self.pages("/v1/tokens")

    def revoke_token(self, token_id: str) -> None:
        """End a token."""
        self.delete(f"/v1/tokens/{quote(token_id, safe='')}")

    def revoke_with_made(self, token_id: str) -> list[str]:
        """End a token, which may be revoked, and all that were made by it; return the ids of those that were valid."""
        try:
            return list(self.call("DELETE", f"/v1/tokens/{quote(token_id, safe='')}?with_made=true")["revoked"])
        except ProblemError as refusal:
            if refusal.status != 404 or not refusal.repeated:
                raise
            return []  # an earlier try that was not answered has ended them

    def delete(self, path: str) -> None:
        """Delete what stands at a path of the API."""
        try:
            answer = self.raw("DELETE", path)
            if answer.data:  # Sluice has nothing to say there
                self._read(answer)
        except ProblemError as refusal:
            # An earlier try that was not answered has deleted it.
            if refusal.status != 404 or not refusal.repeated:
                raise

    def policy(self) -> Json:
        """Return the policy."""
        return self.call("GET", "/v1/policy")

    def set_policy(self, policy: Json, version: int | None, dry_run: bool = False) -> Json:
        """Put a policy in the place of the one with a version (None: any); `dry_run` says what that would change."""
        headers = {"If-Match": "*" if version is None else f'"{version}"'}
        return self.call("PUT", "/v1/policy" + ("?dry_run=true" if dry_run else ""), policy, headers)

    def slices(self, path: str | None = None) -> Iterator[Json]:
        """Yield slices, those that cover `path` if it is given."""
        return self.pages("/v1/slices", path=path, limit=1000)

    def submit(self, slice_name: str, changeset: Json, key: str | None = None) -> Json:
        """Submit one changeset and return it."""
        headers = {"Idempotency-Key": key or new_ulid()}
        with _about(changeset):
            return self.call("POST", _slice_path(slice_name, "/changesets"), changeset, headers)

    def submit_many(self, changesets: list[Json] | bytes, key: str | None = None) -> list[Json]:
        """Submit several, given as items or as a request's body, and return their outcomes.

        While items are refused for what will pass (a full queue), the same request is sent again: those that were
        accepted are known by their keys. Patience begins anew whenever more of them were.
        """
        body = changesets if isinstance(changesets, bytes) else dumps({"changesets": changesets}).encode()
        headers = {"Idempotency-Key": key or new_ulid()}
        pauses, most = Pauses(self._retry_for, self._sleep), 0
        while True:
            try:
                answer: Json = self.call("POST", "/v1/changesets", body, headers)
            except ProblemError as refusal:
                # Where no item was accepted, the status of the whole is 422, with an outcome for each all the same.
                if "outcomes" not in refusal.document:
                    raise
                answer = refusal.document
            outcomes: list[Json] = answer["outcomes"]
            accepted = sum(outcome["status"] == 202 for outcome in outcomes)
            if accepted > most:
                pauses, most = Pauses(self._retry_for, self._sleep), accepted
            if not any(outcome["status"] in PASSING for outcome in outcomes) or not pauses.take():
                return outcomes

    def changeset(self, changeset: str, wait: float | None = None, until: str = "committed") -> Json:
        """Return a changeset; with `wait`, once it has a final answer or so many seconds are over."""
        # The API takes six decimals, and no exponent.
        seconds = round(min(wait or 0.0, LONGEST_WAIT), 3)
        query = f"?{urlencode({'wait': seconds, 'until': until})}" if seconds > 0 else ""
        return self.call("GET", f"/v1/changesets/{changeset}{query}")

    def changesets(self, slice_name: str, status: str, limit: int = 1000) -> Iterator[Json]:
        """Yield a slice's changesets of a status."""
        return self.pages(_slice_path(slice_name, "/changesets"), status=status, limit=limit)

    def check(self, slice_name: str, changeset: Json) -> Json:
        """Return what would become of a changeset if it were submitted now."""
        with _about(changeset):
            return self.call("POST", _slice_path(slice_name, "/check"), changeset)

    def release(self, changeset: str) -> Json:
        """Let a held changeset be committed, and return it."""
        return self.call("POST", f"/v1/changesets/{changeset}/release")

    def abandon(self, changeset: str) -> Json:
        """Take back a changeset, or close its conflict, and return it."""
        return self.call("POST", f"/v1/changesets/{changeset}/abandon")

    def rebase(self, changeset: str) -> Json:
        """Return the changeset on the tip that replaces it; a repeat returns the same one."""
        return self.call("POST", f"/v1/changesets/{changeset}/rebase")

    def resolve(self, changeset: str, paths: Json, message: str | None = None, key: str | None = None) -> Json:
        """Return the changeset that resolves a conflict; a repeat returns the same one."""
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
        at = path_url(f"/v1/changesets/{changeset}/conflicts/{side}", path)
        return none_if(404, lambda: self.raw("GET", at).data)

    def commits(self, slice_name: str) -> Iterator[Json]:
        """Yield a slice's commits, oldest first."""
        return self.pages(_slice_path(slice_name, "/commits"))

    def tree(self, slice_name: str, commit: str | None = None, prefix: str | None = None) -> Iterator[Json]:
        """Yield a slice's files, without their sizes."""
        path = _slice_path(slice_name, "/tree")
        return manifest(self, path, {"commit": commit, "prefix": prefix}, Pauses(self._retry_for, self._sleep))

    def archive(self, slice_name: str, commit: str) -> Iterator[tuple[str, bytes]]:
        """Yield a slice's files and symlinks with their contents, as far as they come in one answer."""
        path = _slice_path(slice_name, f"/files?{urlencode({'format': 'tar', 'commit': commit})}")
        return members(self.raw("GET", path, streamed=True))

    def files(self, slice_name: str, paths: Iterable[str], commit: str) -> Iterator[tuple[str, bytes]]:
        """Yield those of these paths that are files or symlinks of a slice, with their contents."""
        for some in batched(paths, Settings.max_read_paths):
            body: Json = {"paths": some, "commit": commit}
            while True:
                answer = self.call("POST", _slice_path(slice_name, "/files"), body)
                for file in answer["files"]:
                    if "content" in file:
                        yield file["path"], file["content"].encode()
                    elif "content_base64" in file:
                        yield file["path"], base64.b64decode(file["content_base64"])
                if answer["next"] is None:
                    break
                body = body | {"cursor": answer["next"]}

    def has_files(self, slice_name: str, prefix: str) -> bool:
        """Whether a slice has files below a directory, whose path ends in a slash."""
        return next(self.pages(_slice_path(slice_name, "/tree"), prefix=prefix, limit=1), None) is not None

    def has_file(self, slice_name: str, path: str) -> bool:
        """Whether a slice has a file."""
        at = path_url(_slice_path(slice_name, "/files"), path)
        return none_if(404, lambda: self.raw("HEAD", at)) is not None

    def file(self, slice_name: str, path: str, commit: str | None = None) -> bytes:
        """Return a file's bytes."""
        return self.raw(
            "GET", path_url(_slice_path(slice_name, "/files"), path, {"commit": commit} if commit else None)
        ).data

    def version_of(self, slice_name: str, path: str, commit: str) -> Json | None:
        """Return the mode and id of the file at a path, without its bytes; None if there is no file."""
        at = path_url(_slice_path(slice_name, "/files"), path, {"commit": commit})
        headers = none_if(404, lambda: self.raw("HEAD", at).headers)
        return {"mode": headers["X-Git-Mode"], "id": headers["ETag"].removeprefix("W/").strip('"')} if headers else None

    def activity(self, path: str) -> Json:
        """Return the activity at a path."""
        return self.call("GET", path_url("/v1/paths", path))

    def head(self) -> Json:
        """Return the global head and the tip."""
        return self.call("GET", "/v1/head")

    def has_any_file(self, slice_name: str, commit: str | None = None) -> bool:
        """Tell whether a slice has files, at a commit or at the tip."""
        commit = commit or self.head()["tip"]["commit"]
        return next(self.pages(_slice_path(slice_name, "/tree"), commit=commit, limit=1), None) is not None

    def has_commit(self, slice_name: str, commit: str) -> bool:
        """Tell whether a commit is one of this repository."""
        path = _slice_path(slice_name, f"/tree?{urlencode({'commit': commit, 'limit': 1})}")
        return none_if(422, lambda: self.call("GET", path)) is not None

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
        stream, pauses = EventStream(), Pauses(self._retry_for, self._sleep)
        while True:
            headers = {"Last-Event-ID": stream.last_id} if stream.last_id else {}
            answer = self.raw("GET", f"/v1/events?{query}" if query else "/v1/events", None, headers, streamed=True)
            if not answer.headers.get("Content-Type", "").startswith("text/event-stream"):
                answer.close()  # cut off inside its headers, or no Sluice at all
                if not pauses.take():
                    raise NotSluice(self.url, "with something else than events", answer.status)
                continue
            with closing(answer), suppress(HTTPError, OSError):
                pauses = Pauses(self._retry_for, self._sleep)
                stream.begin()
                while data := answer.read1(_READ, decode_content=False):
                    yield from stream.feed(data)
            self._sleep(max(stream.retry, FIRST_PAUSE))

    def merge(self) -> Json:
        """Ask for a batch merge."""
        return self.call("POST", "/v1/merges")

    def health(self) -> Json:
        """Return what /v1/health answers, fit or not. Raises ProblemError where that is another problem document."""
        try:
            answer = self._http.request("GET", self.url + "/v1/health", headers=self.authorization)
        except HTTPError as error:
            raise Unreachable(f"GET {self.url}/v1/health: {self._why(error)}") from error
        health = self._read(answer)
        if answer.status >= 300 and "healthy" not in health and "title" in health:
            raise self._refusal(answer, unknown=False)
        return health


def _slice_path(name: str, below: str = "") -> str:
    """Return the path of a slice in the API, or of something below it."""
    return f"/v1/slices/{quote(name, safe='')}{below}"


def none_if(status: int, ask: Callable[[], T]) -> T | None:
    """Return what `ask` returns, None where the API refuses it with `status`: that it is not there."""
    try:
        return ask()
    except ProblemError as refusal:
        if refusal.status != status:
            raise
        return None


def content(data: bytes) -> Json:
    """Return the fields of a change with the content `data`: as text if that is exact and short, else as base64."""
    # A NUL takes six bytes in JSON, so what has them is most likely shorter in base64.
    if b"\0" not in data:
        with suppress(UnicodeDecodeError):
            return {"content": data.decode()}
    return {"content_base64": base64.b64encode(data).decode()}


@contextmanager
def _about(changeset: Json) -> Iterator[None]:
    """Let a refusal know the changes that it is about."""
    try:
        yield
    except ProblemError as refusal:
        refusal.changes = changeset.get("changes", [])
        raise
