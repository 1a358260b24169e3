"""What writers sent and what they were told, with when; nothing in it is inferred.

Times are of one monotonic clock: all writers are threads of one process, so what one was told before another sent is
known to have come first.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

FINAL = frozenset({"landed", "conflicted", "rejected", "abandoned"})


@dataclass(frozen=True, slots=True)
class Edit:
    """What a submission does to one file, as sets of lines: every line that is ever written is unique."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(slots=True)
class Submission:
    """One thing that a writer wants, under one idempotency key, however often it was sent."""

    key: str  # stands in the commit's message too
    writer: str
    edits: dict[str, Edit]  # by path
    on: str | None = None  # the key of the submission that it is based on
    held: bool = False
    replaces: str | None = None  # the id of the conflicted changeset that it resolves
    sent: float = 0.0  # when it was first sent
    unknown: int = 0  # how many of its tries had no answer, or one that says nothing
    # The ids it was told with a 202, and when first. More than one only if a repeat was not known for one.
    ids: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Told:
    """What an answer said of a changeset."""

    at: float
    writer: str
    changeset: str
    status: str
    commit: str | None
    seq: int | None


@dataclass(frozen=True, slots=True)
class HeadTold:
    """Commits that an answer named as the global head and the tip."""

    at: float
    main: str
    tip: str


@dataclass(frozen=True, slots=True)
class FileTold:
    """The lines that a file was said to have at a commit; None: that it is not there."""

    commit: str
    path: str
    lines: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A valid request was refused, or answered with what the API's documentation does not have."""

    at: float
    writer: str
    request: str
    status: int
    document: Json


class History:
    """Everything that was sent and told. Safe for threads."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.submissions: dict[str, Submission] = {}
        self.told: list[Told] = []
        self.heads: list[HeadTold] = []
        self.files: set[FileTold] = set()
        self.refusals: list[Refusal] = []
        self.ended: set[str] = set()  # changesets of which a final status was told
        self.unknown = 0  # answers that said nothing, of all requests
        self._lock = threading.Lock()

    def sends(self, submission: Submission) -> None:
        """Note a submission before it is sent for the first time."""
        with self._lock:
            submission.sent = time.monotonic()
            self.submissions[submission.key] = submission

    def accepted(self, submission: Submission, document: Json) -> None:
        """Note a 202 and what it said."""
        with self._lock:
            submission.ids.setdefault(document["id"], time.monotonic())
        self.tells(submission.writer, document)

    def tells(self, writer: str, document: Json) -> None:
        """Note what an answer said of a changeset."""
        told = Told(
            time.monotonic(),
            writer,
            document["id"],
            document["status"],
            document.get("commit"),
            document.get("seq"),
        )
        with self._lock:
            self.told.append(told)
            if told.status in FINAL:
                self.ended.add(told.changeset)

    def under_way(self) -> list[str]:
        """Return what is accepted and not known to have ended, the oldest first; not what waits for its release."""
        with self._lock:
            accepted = [
                each for submission in self.submissions.values() if not submission.held for each in submission.ids
            ]
            return sorted(each for each in accepted if each not in self.ended)

    def heads_told(self, document: Json) -> None:
        """Note an answer about the heads."""
        with self._lock:
            self.heads.append(HeadTold(time.monotonic(), document["main"]["commit"], document["tip"]["commit"]))

    def file_told(self, commit: str, path: str, lines: list[str] | None) -> None:
        """Note what a file was said to have."""
        with self._lock:
            self.files.add(FileTold(commit, path, None if lines is None else tuple(lines)))

    def refused(self, writer: str, request: str, status: int, document: Json) -> None:
        """Note an answer that a valid request must never get."""
        with self._lock:
            self.refusals.append(Refusal(time.monotonic(), writer, request, status, document))

    def says_nothing(self, submission: Submission | None = None) -> None:
        """Note that a request has no answer, or one that leaves open what became of it."""
        with self._lock:
            self.unknown += 1
            if submission:
                submission.unknown += 1
