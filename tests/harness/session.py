"""A writer's side of the API: repeats what may pass, under the same key, and writes down every try."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Collection
from typing import Any
from urllib.parse import quote

from tests.harness.history import History, Json, Submission
from tests.harness.wire import Answer, Wire

_FIRST_PAUSE, _MOST_PAUSE = 0.05, 1.0
# A writer that got no answer sometimes never asks again: then nobody knows, and either is right.
_GIVES_UP = 0.08
# A repeat though the answer was clear must name the same changeset.
_REPEATS = 0.04


class Session:
    """What one writer sends. Calls return None once `over` is set, or it is `until`, and nothing was answered yet."""

    def __init__(
        self,
        name: str,
        wire: Wire,
        history: History,
        rng: random.Random,
        over: threading.Event,
        until: float = math.inf,
    ) -> None:
        """`until` is a moment of time.monotonic()."""
        self.name = name
        self.history = history
        self._wire = wire
        self._rng = rng
        self._over = over
        self._until = until

    def head(self) -> Json | None:
        """Return the heads."""
        answer = self._ask("GET", "/v1/head", expected={200})
        if answer is None:
            return None
        self.history.note_heads(answer.document)
        return answer.document

    def file(self, commit: str, path: str) -> tuple[bool, list[str] | None]:
        """Return whether it is known what a file has at a commit, and its lines; None where it is not there."""
        at = f"/v1/slices/everything/files/{quote(path)}?commit={commit}"
        answer = self._ask("GET", at, expected={200, 404})
        if answer is None:
            return False, None
        lines = answer.data.decode().splitlines() if answer.status == 200 else None
        self.history.note_file(commit, path, lines)
        return True, lines

    def look(self, changeset: str, wait: float = 0.0) -> Json | None:
        """Return a changeset."""
        query = f"?wait={wait:g}&until=landed" if wait else ""
        return self._noted(self._ask("GET", f"/v1/changesets/{changeset}{query}", expected={200}))

    def conflicts(self, changeset: str) -> list[Json] | None:
        """Return what is in conflict in a changeset."""
        answer = self._ask("GET", f"/v1/changesets/{changeset}/conflicts?limit=100", expected={200})
        return None if answer is None else answer.document["items"]

    def head_side(self, changeset: str, path: str) -> list[str] | None:
        """Return what a file in conflict has in the head; None where that is not known."""
        answer = self._ask("GET", f"/v1/changesets/{changeset}/conflicts/head/{quote(path)}", expected={200})
        return None if answer is None else answer.data.decode().splitlines()

    def post(self, changeset: str, verb: str) -> Json | None:
        """Release or abandon a changeset, and return it; None where that is no longer possible (409)."""
        answer = self._ask("POST", f"/v1/changesets/{changeset}/{verb}", expected={200, 409})
        return None if answer is None or answer.status == 409 else self._noted(answer)

    def submit(self, where: str, submission: Submission, body: Json) -> str | None:
        """Submit one changeset and return its id."""
        return self._send(f"/v1/slices/{where}/changesets", submission, body, {202})

    def resolve(self, changeset: str, submission: Submission, body: Json) -> str | None:
        """Submit the resolution of a conflict; None too where it is no longer possible (409)."""
        return self._send(f"/v1/changesets/{changeset}/resolve", submission, body, {202, 409})

    def submit_many(self, submissions: list[Submission], items: list[Json]) -> list[str | None]:
        """Submit several in one request and return their ids."""
        for submission in submissions:
            self.history.note_sent(submission)
        ids: list[str | None] = [None] * len(items)
        pause = _FIRST_PAUSE
        while True:
            answer = self._wire("POST", "/v1/changesets", {"changesets": items}, None)
            if answer.status in {202, 422}:
                outcomes = answer.document.get("outcomes", [])
                if not outcomes:
                    self._refused("POST /v1/changesets", answer)
                    return ids
                again = self._note(submissions, outcomes, ids)
            elif answer.passing:
                again = True
                if answer.status != 429:
                    for submission in submissions:
                        self.history.note_unknown(submission)
            else:
                self._refused("POST /v1/changesets", answer)
                return ids
            if not again or not self._goes_on(pause, gives_up=True):
                return ids
            pause = min(2 * pause, _MOST_PAUSE)

    def _note(self, submissions: list[Submission], outcomes: list[Json], ids: list[str | None]) -> bool:
        """Note the outcomes of a bulk request; tell whether some of them may pass."""
        again = False
        for i, (submission, outcome) in enumerate(zip(submissions, outcomes, strict=True)):
            status = outcome["status"]
            if status == 202:
                self.history.note_accepted(submission, outcome["changeset"])
                ids[i] = outcome["changeset"]["id"]
            elif status in {429, 503}:
                again = True
                if status != 429:
                    self.history.note_unknown(submission)
            else:
                self.history.note_refused(self.name, f"item {submission.key}", status, outcome["problem"])
        return again

    def _send(self, path: str, submission: Submission, body: Json, expected: set[int]) -> str | None:
        self.history.note_sent(submission)
        answer = self._ask("POST", path, body, submission, expected)
        if answer is None or answer.status == 409:
            return None
        self.history.note_accepted(submission, answer.document)
        changeset = str(answer.document["id"])
        if self._rng.random() < _REPEATS:
            answer = self._wire("POST", path, body, submission.key)
            if answer.status == 202:
                self.history.note_accepted(submission, answer.document)
        return changeset

    def _ask(
        self, method: str, path: str, body: Any = None, of: Submission | None = None, expected: Collection[int] = ()
    ) -> Answer | None:
        """Send a request, which may be `of` a submission, until its answer says something; None where none does."""
        pause = _FIRST_PAUSE
        while True:
            answer = self._wire(method, path, body, of.key if of else None)
            if answer.status in expected:
                return answer
            if not answer.passing:
                self._refused(f"{method} {path}", answer)
                return None
            if answer.status != 429:
                self.history.note_unknown(of)
            if not self._goes_on(pause, gives_up=of is not None and answer.status != 429):
                return None
            pause = min(2 * pause, _MOST_PAUSE)

    def _goes_on(self, pause: float, gives_up: bool) -> bool:
        if gives_up and self._rng.random() < _GIVES_UP:
            return False
        return not self._over.wait(pause * self._rng.uniform(0.7, 1.3)) and time.monotonic() < self._until

    def _noted(self, answer: Answer | None) -> Json | None:
        if answer is None:
            return None
        self.history.note_changeset(self.name, answer.document)
        return answer.document

    def _refused(self, request: str, answer: Answer) -> None:
        try:
            document = answer.document
        except ValueError:
            document = {"detail": answer.data[:200].decode(errors="replace")}
        self.history.note_refused(self.name, request, answer.status, document)
