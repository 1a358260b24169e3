"""What writers sent and which answers they got, with times; nothing in it is inferred.

Times are of one monotonic clock: all writers are threads of one process, so an answer to one before a request of
another is known to have come first.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
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
    unknown: int = 0  # how many of its tries had no answer, or one that leaves its result open
    # The ids that a 202, or the answer to a push, gave it, and when first. More than one only if a repeat was not known
    # for one.
    ids: dict[str, float] = field(default_factory=dict)
    pushed: str = ""  # the id of the commit that was pushed, where it was sent by Git
    slice: str = ""  # and to which slice


@dataclass(frozen=True, slots=True)
class ChangesetAnswer:
    """What an answer has about a changeset."""

    at: float
    writer: str
    changeset: str
    status: str
    commit: str | None
    seq: int | None


@dataclass(frozen=True, slots=True)
class HeadAnswer:
    """Commits that an answer named as the global head and the tip."""

    at: float
    main: str
    tip: str


@dataclass(frozen=True, slots=True)
class FileAnswer:
    """The lines of a file at a commit, as answered; None: that it is not there."""

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


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with a principal's token, and its answer, as far as it concerns rights."""

    principal: str
    token: str  # its id
    began: float
    ended: float
    request: str  # method and path
    status: int
    # What it was to do: read, write, maintain or admin; `own` is write for whoever submitted the changeset, else
    # maintain. Empty: nothing that a right is needed for.
    action: str = ""
    paths: tuple[str, ...] = ()  # at which
    changesets: tuple[str, ...] = ()  # or at the paths of which
    told: tuple[str, ...] = ()  # rooms that the answer names and the request does not
    told_ids: tuple[str, ...] = ()  # ids that could be those of changesets, likewise
    # To tell what went wrong: the beginning of the answer, and by which id the API's log has it.
    said: str = ""
    known_as: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What a push was told of one of its commits."""

    at: float
    pusher: str
    key: str
    status: str
    changeset: str | None  # None: the commit is in the slice's history as it is


@dataclass(slots=True)
class IssuedToken:
    """A token that a 201 gave."""

    id: str
    principal: str
    secret: str = field(repr=False)
    role: str | None = None
    paths: tuple[str, ...] = ()
    made: float = 0.0  # when it was answered
    revoked: float | None = None  # when its revocation was answered


@dataclass(slots=True)
class SetPolicy:
    """A policy that was sent, by the mark that it carries."""

    mark: str
    sent: float
    acknowledged: float | None = None


class History:
    """Everything that was sent and answered. Safe for threads."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.submissions: dict[str, Submission] = {}
        self.answers: list[ChangesetAnswer] = []
        self.heads: list[HeadAnswer] = []
        self.files: set[FileAnswer] = set()
        self.refusals: list[Refusal] = []
        self.asked: list[Asked] = []
        self.tokens: dict[str, IssuedToken] = {}  # by id
        self.policies: dict[str, SetPolicy] = {}  # by mark
        self.ended: set[str] = set()  # changesets with a final status in an answer
        self.told: list[Told] = []
        self.branches: set[tuple[str, str]] = set()  # what clones had as the branch: slices and commits
        self.unsound: list[str] = []  # what Git found fault with in clones that pushers threw away
        self.by_git: Counter[str] = Counter()  # what pushers did: see pushers/pusher.py
        self.unknown = 0  # requests without an answer, or with one that leaves open what became of them
        self._lock = threading.Lock()

    def note_sent(self, submission: Submission) -> None:
        """Note a submission before it is sent for the first time."""
        with self._lock:
            submission.sent = time.monotonic()
            self.submissions[submission.key] = submission

    def note_accepted(self, submission: Submission, document: Json) -> None:
        """Note a 202 and its changeset."""
        with self._lock:
            submission.ids.setdefault(document["id"], time.monotonic())
        self.note_changeset(submission.writer, document)

    def note_changeset(self, writer: str, document: Json) -> None:
        """Note an answer about a changeset."""
        answer = ChangesetAnswer(
            time.monotonic(),
            writer,
            document["id"],
            document["status"],
            document.get("commit"),
            document.get("seq"),
        )
        with self._lock:
            self.answers.append(answer)
            if answer.status in FINAL:
                self.ended.add(answer.changeset)

    def under_way(self) -> list[str]:
        """Return what is accepted and not known to have ended, the oldest first; not what waits for its release."""
        with self._lock:
            accepted = [
                changeset
                for submission in self.submissions.values()
                if not submission.held
                for changeset in submission.ids
            ]
            return sorted(changeset for changeset in accepted if changeset not in self.ended)

    def note_told(self, submission: Submission, status: str, changeset: str | None) -> None:
        """Note what a push was told of one of its commits."""
        now = time.monotonic()
        with self._lock:
            self.told.append(Told(now, submission.writer, submission.key, status, changeset))
            if changeset is not None:
                submission.ids.setdefault(changeset, now)
                if status in FINAL:
                    self.ended.add(changeset)

    def note_branch(self, slice_name: str, commit: str) -> None:
        """Note a commit that a clone had as the branch of a slice."""
        with self._lock:
            self.branches.add((slice_name, commit))

    def note_unsound(self, text: str) -> None:
        """Note what Git found fault with in a clone."""
        with self._lock:
            self.unsound.append(text)

    def count(self, what: str) -> None:
        """Count something that a pusher did."""
        with self._lock:
            self.by_git[what] += 1

    def note_heads(self, document: Json) -> None:
        """Note an answer about the heads."""
        with self._lock:
            self.heads.append(HeadAnswer(time.monotonic(), document["main"]["commit"], document["tip"]["commit"]))

    def note_file(self, commit: str, path: str, lines: list[str] | None) -> None:
        """Note an answer about a file."""
        with self._lock:
            self.files.add(FileAnswer(commit, path, None if lines is None else tuple(lines)))

    def note_refused(self, writer: str, request: str, status: int, document: Json) -> None:
        """Note an answer that a valid request must never get."""
        with self._lock:
            self.refusals.append(Refusal(time.monotonic(), writer, request, status, document))

    def note_asked(self, asked: Asked) -> None:
        """Note a request with a principal's token."""
        with self._lock:
            self.asked.append(asked)

    def note_issued(self, token: IssuedToken) -> None:
        """Note a 201 with a token."""
        with self._lock:
            token.made = time.monotonic()
            self.tokens[token.id] = token

    def note_revoked(self, token: str) -> None:
        """Note that a revocation was answered with 204, or a repeat of it with 404."""
        with self._lock:
            self.tokens[token].revoked = time.monotonic()

    def note_policy(self, mark: str) -> None:
        """Note a policy before it is sent for the first time."""
        with self._lock:
            self.policies[mark] = SetPolicy(mark, time.monotonic())

    def note_policy_set(self, mark: str) -> None:
        """Note that a policy was answered with 200."""
        with self._lock:
            self.policies[mark].acknowledged = time.monotonic()

    def note_unknown(self, submission: Submission | None = None) -> None:
        """Note that a request has no answer, or one that leaves open what became of it."""
        with self._lock:
            self.unknown += 1
            if submission:
                submission.unknown += 1
