"""Writers: each invents changes on what it saw, seeded, and knows for each line that it writes whose it is.

Files hold unique lines. A shared file has many writers, and each inserts lines of its own (merged, mostly) or takes out
lines that it saw; a hot file has one line that everybody replaces (conflicts, mostly); own files have one writer. What
a writer says of its edits is the difference between the text that it saw and the one that it sends.
"""

from __future__ import annotations

import random
import threading
import time
from hashlib import sha1
from itertools import count

from tests.harness.history import Edit, History, Json, Submission
from tests.harness.session import Session
from tests.harness.wire import Wire

SLICES = {"everything": ["/"], "parts": ["own/", "shared/", "hot/"], "texts": ["shared/", "hot/", "own/"]}
SHARED = tuple(f"shared/{i}.txt" for i in range(6))
HOT = tuple(f"hot/{i}.txt" for i in range(4))
_LINES = 40  # of a shared file, at first
_BEGINNING = 120.0  # most seconds until they are there
# A writer with so many changesets under way asks what became of them before it goes on: a machine that is slow has less
# to do, and not a queue that grows.
_MOST_OPEN = 16

Lines = list[str] | None
Seen = dict[str, Lines]
"""What a writer takes for a file's text: what it read, with what it submitted on that."""


def begin(wire: Wire, history: History, slices: dict[str, list[str]], planted: dict[str, str]) -> None:
    """Make the slices and the files that are there before anybody writes. Waits until they are.

    `slices` are more of them; `planted` are more files, by a word that stands in them. Raises TimeoutError.
    """
    until = time.monotonic() + _BEGINNING
    session = Session("setup", wire, history, random.Random(0), threading.Event(), until)
    for name, paths in (SLICES | slices).items():
        while not session_made(wire, name, paths):
            _check(until)
    head = session.head()
    if head is None:
        raise _too_late()
    texts = {path: [f"{path} line {i}" for i in range(_LINES)] for path in SHARED}
    texts |= {path: [f"{path} nobody's"] for path in HOT}
    texts |= {path: [f"{word} planted"] for word, path in planted.items()}
    submission = Submission("setup", "setup", {path: Edit(tuple(lines)) for path, lines in texts.items()})
    changes = [{"op": "put", "path": path, "content": text(lines)} for path, lines in texts.items()]
    body = {"base": head["tip"]["commit"], "message": message_of("setup"), "changes": changes}
    made = session.submit("everything", submission, body)
    if made is None:
        raise _too_late()
    while (document := session.look(made, wait=5)) is None or document["status"] != "landed":
        _check(until)


def _check(until: float) -> None:
    if time.monotonic() > until:
        raise _too_late()


def _too_late() -> TimeoutError:
    return TimeoutError(f"what is there before anybody writes is not after {_BEGINNING:g} s")


def session_made(wire: Wire, name: str, paths: list[str]) -> bool:
    """Try to make a slice; tell whether it is there."""
    return wire("POST", "/v1/slices", {"name": name, "paths": paths}).status in {201, 409}


def message_of(key: str) -> str:
    """Return the commit message of a submission, by which an export shows whose it is."""
    return f"Submission {key}\n"


def text(lines: list[str]) -> str:
    """Return a file's content."""
    return "".join(line + "\n" for line in lines)


class Writer(threading.Thread):
    """One writer: submits until `stop`, then follows up what it began until it knows, or `over`."""

    def __init__(
        self, seed: str, number: int, wire: Wire, history: History, stop: threading.Event, over: threading.Event
    ) -> None:
        super().__init__(name=f"w{number}", daemon=True)
        self.rng = random.Random(f"{seed}/{number}")
        self.session = Session(self.name, wire, history, self.rng, over)
        self.failure: BaseException | None = None
        self._stop_writing, self._over = stop, over
        self._keys = (f"{self.name}-{i}" for i in count())
        self._open: dict[str, Submission] = {}  # accepted ones by id, without a final status in an answer
        self._held: list[str] = []
        self._conflicted: list[tuple[str, Submission]] = []
        self._own: list[str] = []  # files of its own that landed, as answered

    def run(self) -> None:
        """Write."""
        actions = {
            self._write_one: 4,
            self._write_stack: 3,
            self._write_bulk: 2,
            self._write_by_versions: 2,
            self._hold: 1,
            self._let_go: 2,
            self._follow: 5,
            self._resolve: 2,
            self._abandon: 1,
        }
        try:
            while not self._stop_writing.wait(self.rng.uniform(0.0, 0.1)):
                [action] = self.rng.choices(list(actions), list(actions.values()))
                if len(self._open) - len(self._held) >= _MOST_OPEN:
                    action = self._follow
                action()
            self._finish()
        except BaseException as failure:  # noqa: BLE001 - whoever joins it raises it
            self.failure = failure

    # --- what it does -------------------------------------------------------------------------------------------------

    def _write_one(self) -> None:
        self._stack(1)

    def _write_stack(self) -> None:
        self._stack(self.rng.randint(2, 4))

    def _hold(self) -> None:
        self._stack(1, hold=True)

    def _stack(self, depth: int, hold: bool = False) -> None:
        """Submit changesets one on another, without waiting for what becomes of them."""
        commit = self._base()
        if commit is None:
            return
        seen: Seen = {}
        below: Submission | None = None
        base = commit
        for _ in range(depth):
            invented = self._invent(commit, seen, below)
            if invented is None:
                return
            submission, changes = invented
            submission.held = hold
            body = {"base": base, "message": message_of(submission.key), "changes": changes}
            made = self.session.submit(self._slice(), submission, body | ({"hold": True} if hold else {}))
            if made is None:
                return
            self._open[made] = submission
            if hold:
                self._held.append(made)
            base, below = made, submission

    def _write_bulk(self) -> None:
        """Submit several in one request, some of them on one another."""
        commit = self._base()
        if commit is None:
            return
        submissions: list[Submission] = []
        items: list[Json] = []
        seen: Seen = {}
        for i in range(self.rng.randint(2, 6)):
            on_last = i > 0 and self.rng.random() < 0.6
            if not on_last:
                seen = {}
            invented = self._invent(commit, seen, submissions[-1] if on_last else None)
            if invented is None:
                return
            submission, changes = invented
            item = {"slice": self._slice(), "base": i - 1 if on_last else commit, "changes": changes}
            items.append(item | {"message": message_of(submission.key), "idempotency_key": submission.key})
            submissions.append(submission)
        for submission, made in zip(submissions, self.session.submit_many(submissions, items), strict=True):
            if made:
                self._open[made] = submission

    def _write_by_versions(self) -> None:
        """Submit a changeset whose every change says which version of the file was seen."""
        commit = self._base()
        seen: Seen = {}
        invented = self._invent(commit, seen, None) if commit else None
        if commit is None or invented is None:
            return
        submission, changes = invented
        for change in changes:
            _, lines = self.session.file(commit, change["path"])
            change["base"] = None if lines is None else _blob_id(lines)
        made = self.session.submit(
            self._slice(), submission, {"message": message_of(submission.key), "changes": changes}
        )
        if made:
            self._open[made] = submission

    def _let_go(self) -> None:
        if self._held:
            changeset = self._held.pop(self.rng.randrange(len(self._held)))
            self.session.post(changeset, "release" if self.rng.random() < 0.7 else "abandon")

    def _abandon(self) -> None:
        if self._open:
            self.session.post(self.rng.choice(list(self._open)), "abandon")

    def _follow(self) -> None:
        for changeset in self.rng.sample(list(self._open), min(3, len(self._open))):
            self._seen(changeset, self.session.look(changeset, self.rng.choice([0, 0, 0.5])))

    def _seen(self, changeset: str, document: Json | None) -> None:
        if document is None or document["status"] in {"held", "queued", "committed"}:
            return
        submission = self._open.pop(changeset)
        if document["status"] == "conflicted":
            self._conflicted.append((changeset, submission))
        elif document["status"] == "landed":
            own = [path for path, edit in submission.edits.items() if edit.added and path.startswith("own/")]
            self._own += [path for path in own if path not in self._own]

    def _resolve(self) -> None:
        """Resolve a conflict: the head's lines stay, and the writer's own come behind them."""
        if not self._conflicted:
            return
        changeset, old = self._conflicted.pop(self.rng.randrange(len(self._conflicted)))
        conflicts = self.session.conflicts(changeset)
        if not conflicts:
            return
        edits, paths = dict(old.edits), {}
        for conflict in conflicts:
            path, marked = conflict["path"], conflict.get("marked")
            if marked is None:
                edits[path], paths[path] = Edit(), {"take": "ours"}
                continue
            head = self.session.head_side(changeset, path)
            if head is None:
                return
            mine = both_sides(marked.splitlines(), head)
            edits[path], paths[path] = edit_of(head, mine), {"content": text(mine)}
        submission = Submission(next(self._keys), self.name, edits, replaces=changeset)
        made = self.session.resolve(changeset, submission, {"paths": paths, "message": message_of(submission.key)})
        if made:
            self._open[made] = submission

    def _finish(self) -> None:
        """Let go of what is held, and wait for what becomes of everything."""
        for changeset in self._held:
            self.session.post(changeset, "release")
        while self._open and not self._over.is_set():
            for changeset in list(self._open):
                self._seen(changeset, self.session.look(changeset, 2.0))

    # --- what it invents ----------------------------------------------------------------------------------------------

    def _base(self) -> str | None:
        head = self.session.head()
        return None if head is None else str(head[self.rng.choice(["main", "tip"])]["commit"])

    def _slice(self) -> str:
        return self.rng.choice(list(SLICES))

    def _invent(self, commit: str, seen: Seen, on: Submission | None) -> tuple[Submission, list[Json]] | None:
        """Return a submission and its changes on what is `seen`, which goes on to be what comes of it."""
        key = next(self._keys)
        edits: dict[str, Edit] = {}
        changes: list[Json] = []
        for number in range(self.rng.randint(1, 3)):
            path = self._path(key, number, seen)
            if path in edits:
                continue
            if path not in seen:
                known, seen[path] = (True, None) if key in path else self.session.file(commit, path)
                if not known:
                    return None
            before = seen[path]
            after = self._rewritten(path, before, f"{key}.{number}")
            if after == before:
                continue
            edits[path] = edit_of(before or [], after or [])
            seen[path] = after
            changes.append(
                {"op": "delete", "path": path} if after is None else {"op": "put", "path": path, "content": text(after)}
            )
        if not changes:
            return None
        return Submission(key, self.name, edits, on.key if on else None), changes

    def _path(self, key: str, number: int, seen: Seen) -> str:
        match self.rng.choices(["shared", "new", "own", "hot"], [10, 6, 3, 1])[0]:
            case "shared":
                return self.rng.choice(SHARED)
            case "hot":
                return self.rng.choice(HOT)
            case "own":
                own = self._own + [path for path in seen if path.startswith("own/")]
                if own:
                    return self.rng.choice(own)
        return f"own/{self.name}/{key}-{number}.txt"

    def _rewritten(self, path: str, before: Lines, line: str) -> Lines:
        """Return what a file shall have; None that it shall be deleted."""
        if before is None or path.startswith("hot/"):
            return [line]
        if path.startswith("own/") and self.rng.random() < 0.3:
            return None
        taken_out = [present for present in before if not present.startswith("shared/")]
        if path.startswith("shared/") and taken_out and self.rng.random() < 0.15:
            gone = self.rng.choice(taken_out)
            return [present for present in before if present != gone]
        at = self.rng.randrange(len(before) + 1)
        return [*before[:at], line, *before[at:]]


def edit_of(before: list[str], after: list[str]) -> Edit:
    """Return what makes one text of another."""
    old, new = set(before), set(after)
    return Edit(tuple(line for line in after if line not in old), tuple(line for line in before if line not in new))


def both_sides(marked: list[str], head: list[str]) -> list[str]:
    """Return a text with conflict markers as somebody edits it who wants the head's lines and then the other side's.

    What stands between conflicts is merged already, so the head itself has to be given beside it.
    """
    kept: list[str] = []
    side, base, theirs = "", set[str](), list[str]()
    there = set(head)
    for line in marked:
        if line.startswith("<<<<<<< "):
            side = "ours"
        elif line.startswith("||||||| "):
            side, base = "base", set()
        elif line == "=======":
            side, theirs = "theirs", []
        elif line.startswith(">>>>>>> "):
            kept += [own for own in theirs if own not in base and own not in there]
            side = ""
        elif side == "base":
            base.add(line)
        elif side == "theirs":
            theirs.append(line)
        else:
            kept.append(line)
    return kept


def _blob_id(lines: list[str]) -> str:
    data = text(lines).encode()
    return sha1(b"blob %d\0%s" % (len(data), data), usedforsecurity=False).hexdigest()
