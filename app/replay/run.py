"""Running a replay: import, concurrent writers, and the comparison at the end."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from app.client import Client, Json, content
from app.replay.history import FileChange, History, HistoryError, SourceCommit
from app.replay.plan import Plan, PlannedChangeset

_IMPORT_CHANGES = 500
_REQUEST_BYTES = 8 << 20
_MOST_CHANGES = 10_000
_POLL = 20.0

Progress = Callable[[str, int, int], None]
"""Told the stage (import, submit, land), what is done and what there is."""


@dataclass(slots=True)
class Report:
    """What a replay came to."""

    changesets: int = 0
    landed: int = 0
    merged: int = 0
    conflicted: int = 0
    rejected: int = 0
    seconds: float = 0.0
    tree: str = ""
    expected: str = ""
    imported: int = 0
    problems: list[Json] = field(default_factory=list)

    @property
    def match(self) -> bool:
        """Whether the tree that Sluice built is the repository's own."""
        return self.tree == self.expected

    @property
    def ok(self) -> bool:
        """Whether all landed and the trees are the same."""
        return self.match and self.landed == self.changesets

    def to_json(self) -> Json:
        """Return the line that `--json` prints."""
        return {
            "changesets": self.changesets,
            "landed": self.landed,
            "merged": self.merged,
            "conflicted": self.conflicted,
            "rejected": self.rejected,
            "imported": self.imported,
            "seconds": round(self.seconds, 3),
            "per_s": round(self.landed / self.seconds, 1) if self.seconds else 0.0,
            "tree": self.tree,
            "expected": self.expected,
            "match": self.match,
        }


class _Lane:
    """A slice's changesets in order; one writer at a time has it."""

    def __init__(self, slice_id: str, base: str) -> None:
        self.slice_id = slice_id
        self.base = base
        self.waiting: deque[PlannedChangeset] = deque()
        self.sent = 0
        self.imported = 0  # changesets of the import, which are not counted


class Replay:
    """One replay of one history against one API."""

    def __init__(
        self,
        history: History,
        client: Client,
        writers: int = 16,
        limit: int | None = None,
        bulk: int = 50,
        progress: Progress = lambda stage, done, total: None,
    ) -> None:
        self._history = history
        self._client = client
        self._writers = writers
        self._limit = limit
        self._bulk = bulk
        self._progress = progress
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._sent = 0

    def run(self) -> Report:
        """Replay, and return what came of it.

        Raises HistoryError, ProblemError and Unreachable.
        """
        line = self._history.line()
        start = line[0] if self._limit is None else line[max(0, len(line) - 1 - self._limit)]
        commits = list(self._history.commits(start))
        first = list(self._history.files(start))
        plan = Plan({change.path for commit in commits for change in commit.changes} | {each.path for each in first})
        report = Report(expected=self._history.tree)
        slices = [self._client.create_slice(each.name, each.paths)["id"] for each in plan.slices]
        before = self._merges()
        base = self._import(plan, slices, first, report)
        lanes = [_Lane(slice_id, base) for slice_id in slices]
        for lane in lanes:
            lane.imported = sum(1 for _ in self._client.changesets(lane.slice_id, "landed"))
            lane.imported += sum(1 for _ in self._client.changesets(lane.slice_id, "committed"))
        for commit in commits:
            for index, changeset in plan.split(commit).items():
                lanes[index].waiting.append(changeset)
                report.changesets += 1
        started = time.monotonic()
        self._submit(lanes, report.changesets)
        self._settle(lanes, report, before)
        report.seconds = time.monotonic() - started
        return report

    def _import(self, plan: Plan, slices: list[str], files: list[FileChange], report: Report) -> str:
        """Submit the files of the first commit, and return the commit that has them all."""
        base = self._client.head()["tip"]["commit"]
        last = ""
        commit = SourceCommit("", "Sluice replay", "replay@localhost", "1970-01-01T00:00:00+00:00", "Import")
        for group in self._groups(plan, files):
            where = slices[plan.slice_of(group[0].path)]
            items = [self._item(PlannedChangeset(commit, group), where, base)]
            last = self._send(items, f"import-{where}-{group[0].oid}-{report.imported}")[-1]
            report.imported += len(group)
            self._progress("import", report.imported, len(files))
        if not last:
            return base
        # Slices are queued apart, so the last one sent need not be the last one done.
        for each in slices:
            while next(iter(self._client.changesets(each, "queued", 1)), None):
                self._client.changeset(last, 1.0)
                time.sleep(0.05)
        self._refuse_unlanded(slices)
        return self._client.head()["tip"]["commit"]

    def _groups(self, plan: Plan, files: list[FileChange]) -> Iterator[list[FileChange]]:
        """Yield files of one slice that fit into one changeset."""
        group: list[FileChange] = []
        size = 0
        for change in files:
            length = len(self._history.content(change.oid)) if change.mode != "160000" else 0
            full = len(group) >= _IMPORT_CHANGES or (group and size + length > _REQUEST_BYTES // 2)
            if full or (group and plan.slice_of(group[0].path) != plan.slice_of(change.path)):
                yield group
                group, size = [], 0
            group.append(change)
            size += length
        if group:
            yield group

    def _refuse_unlanded(self, slices: list[str]) -> None:
        for each in slices:
            for status in ("conflicted", "rejected"):
                for changeset in self._client.changesets(each, status, 1):
                    raise HistoryError(f"the import did not land: {json.dumps(changeset)}")

    def _submit(self, lanes: list[_Lane], total: int) -> None:
        """Let the writers take slices in turn, each slice in order, without waiting for outcomes."""
        free = deque(sorted((lane for lane in lanes if lane.waiting), key=lambda lane: -len(lane.waiting)))
        busy = len(free)
        some = threading.Condition(self._lock)

        def write() -> None:
            nonlocal busy
            while True:
                with some:
                    while not free and busy and not self._error:
                        some.wait()
                    if self._error or not free:
                        return
                    lane = free.popleft()
                try:
                    self._send_next(lane)
                except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
                    with some:
                        self._error = self._error or error
                        some.notify_all()
                    return
                with some:
                    if lane.waiting:
                        free.append(lane)
                    else:
                        busy -= 1
                    some.notify_all()
                    self._progress("submit", self._sent, total)

        threads = [threading.Thread(target=write, name=f"writer-{i}") for i in range(self._writers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._error:
            raise self._error

    def _send_next(self, lane: _Lane) -> None:
        items: list[bytes] = []
        size = 0
        while lane.waiting and len(items) < self._bulk and size < _REQUEST_BYTES:
            changeset = lane.waiting.popleft()
            item = self._item(changeset, lane.slice_id, len(items) - 1 if items else lane.base)
            items.append(item)
            size += len(item)
        ids = self._send(items, f"replay-{lane.slice_id}-{lane.sent}")
        lane.sent += len(ids)
        lane.base = ids[-1]
        with self._lock:
            self._sent += len(ids)

    def _send(self, items: list[bytes], key: str) -> list[str]:
        outcomes = self._client.submit_many(b'{"changesets":[' + b",".join(items) + b"]}", key)
        while any(outcome["status"] == 429 for outcome in outcomes):
            # A queue is full: the same request again, whose accepted part is known by its keys.
            time.sleep(1.0)
            outcomes = self._client.submit_many(b'{"changesets":[' + b",".join(items) + b"]}", key)
        for outcome in outcomes:
            if outcome["status"] != 202:
                raise HistoryError(f"a changeset was refused: {json.dumps(outcome)[:2000]}")
        return [outcome["changeset"]["id"] for outcome in outcomes]

    def _item(self, changeset: PlannedChangeset, slice_id: str, base: str | int) -> bytes:
        if len(changeset.changes) > _MOST_CHANGES:
            raise HistoryError(f"commit {changeset.commit.oid} changes {len(changeset.changes)} files of one slice")
        commit = changeset.commit
        return json.dumps(
            {
                "slice": slice_id,
                "base": base,
                "author": {"name": commit.author, "email": commit.email},
                "time": commit.time,
                "message": commit.message,
                "changes": [self._change(change) for change in changeset.changes],
            }
        ).encode()

    def _change(self, change: FileChange) -> dict[str, Any]:
        if change.deletes:
            return {"op": "delete", "path": change.path}
        if change.mode == "160000":
            return {"op": "put", "path": change.path, "mode": change.mode, "id": change.oid}
        return {"op": "put", "path": change.path, "mode": change.mode, **content(self._history.content(change.oid))}

    def _settle(self, lanes: list[_Lane], report: Report, before: int) -> None:
        """Wait until every changeset has an outcome and the chain is merged; count and compare."""
        used = [lane for lane in lanes if lane.sent]
        for lane in used:
            while self._client.changeset(lane.base, _POLL, "landed")["status"] in {"queued", "committed"}:
                self._client.merge()
            while next(iter(self._client.changesets(lane.slice_id, "queued", 1)), None):
                time.sleep(0.05)
            self._progress("land", sum(each.sent for each in used[: used.index(lane) + 1]), report.changesets)
        while self._client.head()["pending"]:
            self._client.merge()
            time.sleep(0.05)
        for lane in used:
            report.landed += sum(1 for _ in self._client.changesets(lane.slice_id, "landed")) - lane.imported
            for status in ("conflicted", "rejected"):
                refused = list(self._client.changesets(lane.slice_id, status))
                setattr(report, status, getattr(report, status) + len(refused))
                report.problems += refused[:5]
        report.tree = self._client.head()["main"]["tree"]
        report.merged = self._merges() - before

    def _merges(self) -> int:
        return sum(1 for _ in self._client.global_commits(1000))
