"""A principal's side of the API: sends its token with each request, and writes down each try."""

from __future__ import annotations

import json
import re
import time
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.harness.history import Asked, History, IssuedToken
from tests.harness.wire import Answer, Doors, Json

# Each is a directory below `rooms/` and a slice of that name. No other text has these words.
ROOMS = ("amberroom", "birchroom", "cedarroom")
ROOM_OF = {room: f"rooms/{room}/" for room in ROOMS}
# So many seconds after it was issued or revoked a token may be taken for what it was before (docs/access.md).
SETTLES = 1.0
_SHOWN = 400  # bytes of an answer that are kept for whoever reads of a violation

_ROOM = re.compile("|".join(ROOMS))
_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")
_SLICE = re.compile(r"/v1/slices/([^/?]+)")
_CHANGESET = re.compile(r"/v1/changesets/([0-9A-Z]{26})(?:/(\w+))?")
_PATHS = "/v1/paths/"
# One's own grants and tokens name paths, whatever one may read there.
_OF_ONESELF = ("/v1/me", "/v1/tokens")


class Badge:
    """A wire that sends what its principal's token is at the moment."""

    def __init__(self, wire: Doors, history: History, principal: str, slices: dict[str, list[str]]) -> None:
        self.principal = principal
        self.old: list[IssuedToken] = []  # those that were replaced, and are revoked sooner or later
        self._wire = wire
        self._history = history
        self._slices = slices
        self._token: IssuedToken | None = None

    @property
    def token(self) -> IssuedToken | None:
        """The token that it sends."""
        return self._token

    def secret(self) -> str | None:
        """Return what it sends, as Git has to send it."""
        return self._token.secret if self._token else None

    def take(self, token: IssuedToken) -> None:
        """Send this token from now on."""
        if self._token is not None:
            self.old.append(self._token)
        self._token = token

    def __call__(
        self, method: str, path: str, body: Any = None, key: str | None = None, if_match: str | None = None
    ) -> Answer:
        """Send one request; refused for a token that was replaced meanwhile, or that is very new, it has no answer."""
        assert self._token
        token = self._token
        answer = self.with_token(token, method, path, body, key)
        if answer.status == 401 and (token is not self._token or time.monotonic() < token.made + SETTLES):
            return Answer(0, why="its token was replaced meanwhile")
        return answer

    def with_token(
        self, token: IssuedToken, method: str, path: str, body: Any = None, key: str | None = None
    ) -> Answer:
        """Send one request with one of its tokens, which may be revoked."""
        began = time.monotonic()
        answer = self._wire.as_(token.secret)(method, path, body, key)
        ended = time.monotonic()
        action, paths, changesets = self._wanted(method, path, body, answer)
        told, told_ids = _told(path, body, answer)
        self._history.note_asked(
            Asked(
                self.principal, token.id, began, ended, f"{method} {path}", answer.status, action, paths, changesets,
                told, told_ids, answer.data[:_SHOWN].decode(errors="replace"), answer.request,
            )
        )  # fmt: skip
        return answer

    def _wanted(
        self, method: str, path: str, body: Any, answer: Answer
    ) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        """Return what a request was to do, at which paths, or at those of which changesets."""
        at = urlsplit(path).path
        if at in ("/v1/policy", "/v1/health"):
            return "admin" if at == "/v1/policy" else "read", ("/",), ()
        if at.startswith(_PATHS):
            return "read", (unquote(at.removeprefix(_PATHS)),), ()
        if changeset := _CHANGESET.match(at):
            verb = changeset[2] or ""
            if method != "POST":
                return "read", (), (changeset[1],)
            return "maintain" if verb == "release" else "own", (), (changeset[1],)
        if at == "/v1/changesets":
            outcomes = answer.document.get("outcomes", []) if answer.status in (202, 422) else []
            taken = zip(body["changesets"], outcomes, strict=bool(outcomes))
            return "write", tuple(p for item, made in taken if made["status"] == 202 for p in paths_of(item)), ()
        if (slice_ := _SLICE.match(at)) and unquote(slice_[1]) in self._slices:
            paths = tuple(self._slices[unquote(slice_[1])])
            return ("write", paths_of(body), ()) if method == "POST" else ("read", paths, ())
        return "", (), ()


def paths_of(changeset: Json) -> tuple[str, ...]:
    """Return the paths that a changeset changes."""
    return tuple(change["path"] for change in changeset["changes"])


def _told(path: str, body: Any, answer: Answer) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the rooms and the ids that an answer names and its request does not."""
    if not answer.status or path.startswith(_OF_ONESELF):
        return (), ()
    asked = path + json.dumps(body)
    text = answer.data.decode(errors="replace")
    rooms = tuple(sorted(set(_ROOM.findall(text)) - set(_ROOM.findall(asked))))
    if answer.status == 200 and text.startswith("{"):
        document = answer.document
        document.pop("next", None)  # a cursor may have the id of a row that was left out (docs/access.md)
        text = json.dumps(document)
    return rooms, tuple(sorted(set(_ID.findall(text)) - set(_ID.findall(asked))))
