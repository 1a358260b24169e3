"""Running a replay: import, concurrent writers, and the comparison at the end."""

import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from app.client.api_client import Client, Json
from app.demo.bodies import REQUEST_BYTES, body, change_parts, changeset_items, item
from app.demo.plan import Plan, PlannedChangeset
from app.demo.report import Report
from app.demo.writers import Writers
from app.judge import FileChange, History, HistoryError, SourceCommit
from storage.base.batched import batched_by_size
from storage.base.progress import Progress, no_progress
from storage.git.objects import EMPTY_TREE

_IMPORT_CHANGES = 500
_IMPORT_BYTES = REQUEST_BYTES // 2
_POLL = 2.0
_OPEN = frozenset({"queued", "committed"})
_PROBLEMS = 5
_IMPORT = SourceCommit("", "Sluice replay", "replay@localhost", "1970-01-01T00:00:00+00:00", "Import\n")


@dataclass(slots=True)
class Lane:
    """A slice's changesets in order; one writer at a time has it."""

    slice_id: str
    base: str  # what the next one is submitted on: a commit, then the changeset before
    waiting: deque[PlannedChangeset] = field(default_factory=deque)
    sent: list[str] = field(default_factory=list)  # ids, in order


class Replay:
    """One replay of one history against one API, whose repository must be empty."""

    def __init__(
        self,
        history: History,
        client: Client,
        writers: int = 16,
        limit: int | None = None,
        bulk: int = 50,
        progress: Progress = no_progress,
    ) -> None:
        self._history = history
        self._client = client
        self._writers = writers
        self._limit = limit
        self._bulk = bulk
        self._progress = progress
        self._lock = threading.Lock()
        self._sent = 0
        self._report = Report(expected=history.tree)

    def run(self) -> Report:
        """Replay, and return what came of it. Raises HistoryError, ProblemError and Unreachable."""
        report = self._report
        if self._client.head()["tip"]["tree"] != EMPTY_TREE.hex():
            raise HistoryError("the API's repository is not empty: its tree would never be that of the history")
        line = self._history.line()
        start = line[0] if self._limit is None else line[max(0, len(line) - 1 - self._limit)]
        commits = list(self._history.commits(start))
        first = list(self._history.files(start))
        plan = Plan({change.path for commit in commits for change in commit.changes} | {file.path for file in first})
        slices = [self._client.create_slice(slice_.name, list(slice_.paths))["id"] for slice_ in plan.slices]
        merged = self._merges()
        base = self._import(plan, slices, first)
        lanes = [Lane(slice_id, base) for slice_id in slices]
        for commit in commits:
            for index, changeset in plan.split(commit).items():
                lanes[index].waiting.append(changeset)
                report.changesets += 1
        started = time.monotonic()
        # The longest first: what is left for one writer at the end is short.
        busy = sorted((lane for lane in lanes if lane.waiting), key=lambda lane: -len(lane.waiting))
        Writers(busy, self._send_next, lambda lane: bool(lane.waiting)).run(self._writers)
        self._settle(busy)
        report.seconds = time.monotonic() - started
        self._count(busy)
        report.tree = self._client.head()["main"]["tree"]
        report.merged = self._merges() - merged
        return report

    def _import(self, plan: Plan, slices: list[str], files: list[FileChange]) -> str:
        """Land the files of the first commit, and return the commit that has them all."""
        base = self._client.head()["tip"]["commit"]
        by_slice: dict[int, list[FileChange]] = {}
        for file in files:
            by_slice.setdefault(plan.slice_of(file.path), []).append(file)

        def items() -> Iterator[bytes]:
            for index, own in by_slice.items():
                for parts in batched_by_size(change_parts(self._history, own), len, _IMPORT_BYTES, _IMPORT_CHANGES):
                    yield item(PlannedChangeset(_IMPORT, []), slices[index], base, parts)
                    self._report.imported += len(parts)
                    self._progress("import", self._report.imported, len(files))

        sent: list[str] = []
        for some in batched_by_size(items(), len, REQUEST_BYTES):
            sent += self._send(some, f"import-{slices[0]}-{len(sent)}")
        for changeset_id in sent:
            outcome = self._await(changeset_id)
            if outcome["status"] != "landed":
                raise HistoryError(f"the import did not land: {json.dumps(outcome)}")
        return str(self._client.head()["tip"]["commit"])

    def _send_next(self, lane: Lane) -> None:
        """Send the next request of a slice, without waiting for the outcomes of earlier ones."""
        waiting = changeset_items(self._history, islice(lane.waiting, self._bulk), lane.slice_id, lane.base)
        ids = self._send(next(batched_by_size(waiting, len, REQUEST_BYTES)), f"replay-{lane.slice_id}-{len(lane.sent)}")
        for _ in ids:
            lane.waiting.popleft()
        lane.sent += ids
        lane.base = ids[-1]
        with self._lock:
            self._sent += len(ids)
            self._progress("submit", self._sent, self._report.changesets)

    def _send(self, items: list[bytes], key: str) -> list[str]:
        outcomes = self._client.submit_many(body(items), key)
        for outcome in outcomes:
            if outcome["status"] != 202:
                raise HistoryError(f"a changeset was refused: {json.dumps(outcome)[:2000]}")
        return [outcome["changeset"]["id"] for outcome in outcomes]

    def _settle(self, lanes: list[Lane]) -> None:
        """Wait until every changeset has an outcome and the chain is merged.

        Each changeset is based on the one before it in its slice: when the last has its outcome, all have.
        """
        settled = 0
        for lane in lanes:
            if self._await(lane.base, lane, settled)["status"] != "landed":
                # Some before it may have been committed all the same.
                for changeset in self._client.changesets(lane.slice_id, "committed"):
                    self._await(changeset["id"])
            settled += len(lane.sent)
            self._progress("land", settled, self._report.changesets)
        while self._client.head()["pending"]:
            self._client.merge()
            time.sleep(_POLL / 10)

    def _await(self, changeset_id: str, lane: Lane | None = None, settled: int = 0) -> Json:
        """Wait until a changeset is final, and merged if it was committed; ask for a merge where that takes long."""
        while (changeset := self._client.changeset(changeset_id, _POLL, "landed"))["status"] in _OPEN:
            if changeset["status"] == "committed":
                self._client.merge()
            elif lane and changeset.get("position") is not None:
                done = settled + len(lane.sent) - 1 - changeset["position"]
                self._progress("land", done, self._report.changesets)
        return changeset

    def _count(self, lanes: list[Lane]) -> None:
        """Count outcomes by the lists of each slice, and ask by id for changesets that are in none of them."""
        for lane in lanes:
            mine = set(lane.sent)
            landed = {changeset["id"] for changeset in self._client.changesets(lane.slice_id, "landed")} & mine
            self._report.landed += len(landed)
            missed: dict[str, list[Json]] = {"conflicted": [], "rejected": []}
            for status, changesets in missed.items():
                changesets += [
                    changeset for changeset in self._client.changesets(lane.slice_id, status) if changeset["id"] in mine
                ]
            unlisted = mine - landed - {missing["id"] for changesets in missed.values() for missing in changesets}
            for changeset in [self._await(changeset_id) for changeset_id in sorted(unlisted)] + missed.pop("rejected"):
                changeset = self._first_of(changeset)
                if changeset["status"] == "landed":
                    self._report.landed += 1
                else:
                    missed.setdefault(changeset["status"], []).append(changeset)
            self._report.conflicted += len(missed["conflicted"])
            self._report.rejected += len(missed.get("rejected", []))
            for changesets in missed.values():
                self._report.problems += changesets[:_PROBLEMS]

    def _first_of(self, changeset: Json) -> Json:
        """Return the changeset that has a duplicate's outcome.

        If an answer was lost together with Redis, the repeat is accepted as a new changeset; only one of the two lands.
        """
        return self._await(changeset["first"]) if "first" in changeset else changeset

    def _merges(self) -> int:
        return sum(1 for _ in self._client.global_commits(1000))
