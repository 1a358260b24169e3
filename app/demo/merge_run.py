"""Landing both sides of many merges, each below a folder of its own, and comparing the results with Git's.

Each merge has three parts: the files of its base that a side changed, imported below its folder; a changeset of the
first parent's changes on the commit with the imports; and one of the second parent's on the same commit, by another
writer. A slice has the folders of a few dozen merges, so there are few slices and no large directory. Its queue keeps
the order, so the first side is decided first, and Git and Sluice merge in the same direction.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from app.client.api_client import Client, Json
from app.demo.bodies import REQUEST_BYTES, body, change_parts, item
from app.demo.merge_report import CLEAN, CONFLICTED, MergeReport
from app.demo.plan import PlannedChangeset
from app.demo.writers import Writers
from app.judge import (
    FileChange,
    Files,
    HistoryError,
    Judge,
    MergeHistory,
    SourceCommit,
    SourceMerge,
    Trees,
    after,
    may_rename,
    split_renames,
)
from storage.base.batched import batched, batched_by_size
from storage.base.progress import Progress, batched_with_progress, no_progress
from storage.git.objects import EMPTY_TREE

REFUSED = "refused by the API"

# Merges of a slice, and of one run of Git.
_GROUP = 50
_JUDGED = 200
_IMPORT_CHANGES = 500
# Of a request and of an import's changeset. Writers hold a few requests each, and merges have many large files.
_BYTES = REQUEST_BYTES // 2
_ITEMS = 1000  # of a request
_POLL = 2.0
_COMMITTED = frozenset({"committed", "landed"})
_LISTS = ("committed", "landed", "conflicted", "rejected")
_TIME = "1970-01-01T00:00:00+00:00"
_IMPORT = SourceCommit("", "Sluice replay", "replay@localhost", _TIME, "Import\n")
_WRITERS = (("First parent", "first@localhost"), ("Second parent", "second@localhost"))


@dataclass(slots=True)
class Case:
    """A merge, and its result."""

    merge: SourceMerge
    git_clean: bool
    git_conflicts: tuple[str, ...] = ()  # paths, as Git names them
    expected: Files = field(default_factory=dict)  # Git's merge of all that a side changed, where it is clean
    folder: str = ""
    ids: list[str] = field(default_factory=list)  # changesets of the first side and of the second
    refused: str = ""  # what the API answered to one of them
    actual: Files = field(default_factory=dict)  # what is in the folder at the end


@dataclass(slots=True)
class Lane:
    """A slice and its merges; one writer at a time has it."""

    slice_id: str
    cases: list[Case]
    steps: Iterator[int] = field(default_factory=lambda: iter(()))  # each sends a request, and says how much is done
    done: bool = False
    imports: list[str] = field(default_factory=list)  # ids of changesets


def read_cases(
    history: MergeHistory, judge: Judge, limit: int | None, skipped: Counter[str], progress: Progress
) -> list[Case]:
    """Return the newest merges that can be compared, at most `limit`, with Git's verdict on each."""
    merges = list(islice(history.merges(judge, skipped, progress), limit))
    chunks = batched_with_progress(merges, _JUDGED, "judge", progress)
    return [case for chunk in chunks for case in _judged(judge, chunk)]


def _judged(judge: Judge, merges: Sequence[SourceMerge]) -> list[Case]:
    # Of each merge its base's files and its trees; of one in which Git might see a rename both parts'.
    parts: list[list[tuple[Files, Trees]]] = []
    for merge in merges:
        if may_rename(merge):
            parts.append(
                [(p.base, (judge.tree(p.base), judge.tree(p.ours), judge.tree(p.theirs))) for p in split_renames(merge)]
            )
        else:
            parts.append([(merge.base_files, merge.trees)])
    flat = [trees for part in parts for _, trees in part]
    judged = judge.verdicts(flat)
    verdicts = iter(judged)
    changes = iter(judge.differences([(base, v.tree) for (base, _, _), v in zip(flat, judged, strict=True)]))
    cases = []
    for merge, part in zip(merges, parts, strict=True):
        case = Case(merge, True)
        for files, _ in part:
            verdict = next(verdicts)
            case.git_clean &= verdict.clean
            case.git_conflicts += verdict.paths
            case.expected |= after(files, next(changes))
        cases.append(case)
    return cases


class MergeReplay:
    """One replay of merges against one API, whose repository must be empty."""

    def __init__(
        self,
        history: MergeHistory,
        client: Client,
        writers: int = 8,
        progress: Progress = no_progress,
    ) -> None:
        self._history = history
        self._client = client
        self._writers = writers
        self._progress = progress
        self._lock = threading.Lock()
        self._base = ""

    def run(self, cases: Sequence[Case], skipped: Counter[str]) -> MergeReport:
        """Land both sides of each case and compare. Raises HistoryError, ProblemError and Unreachable."""
        head = self._client.head()
        if head["tip"]["tree"] != EMPTY_TREE.hex():
            raise HistoryError("the API's repository is not empty: merges need folders of their own")
        report = MergeReport(skipped=skipped)
        started = time.monotonic()
        lanes = self._lanes(cases)
        self._base = head["tip"]["commit"]
        files = sum(len(case.merge.base_files) for case in cases)
        self._send_all("import", lanes, self._import, files)
        for lane in lanes:
            self._check_import(lane)
        self._base = self._client.head()["tip"]["commit"]
        self._send_all("submit", lanes, self._submit, 2 * len(cases))
        outcomes: dict[str, Json] = {}
        for [lane] in batched_with_progress(lanes, 1, "decide", self._progress):
            outcomes |= self._outcomes(lane)
        self._read_files(lanes)
        for case in cases:
            _compare(report, case, outcomes)
        report.seconds = time.monotonic() - started
        return report

    def _lanes(self, cases: Sequence[Case]) -> list[Lane]:
        lanes = []
        for number, group in enumerate(batched(cases, _GROUP)):
            top = f"{number:04}"
            lane = Lane(self._client.create_slice(f"merges-{top}", [f"{top}/"])["id"], group)
            for index, case in enumerate(lane.cases):
                case.folder = f"{top}/{index:02}/"
            lanes.append(lane)
        return lanes

    def _send_all(self, stage: str, lanes: list[Lane], steps: Callable[[Lane], Iterator[int]], total: int) -> None:
        """Send all requests of all lanes, those of a lane in order."""
        sent = 0

        def step(lane: Lane) -> None:
            nonlocal sent
            done = next(lane.steps, None)
            lane.done = done is None
            with self._lock:
                sent += done or 0
                self._progress(stage, sent, total)

        for lane in lanes:
            lane.steps, lane.done = steps(lane), False
        Writers(lanes, step, lambda lane: not lane.done).run(self._writers)

    def _import(self, lane: Lane) -> Iterator[int]:
        """Send the files of the bases."""
        files = [
            FileChange(case.folder + path, *version, "", "")
            for case in lane.cases
            for path, version in case.merge.base_files.items()
        ]
        chunks = batched_by_size(change_parts(self._history, files), len, _BYTES, _IMPORT_CHANGES)
        sizes: list[int] = []

        def items() -> Iterator[bytes]:
            for parts in chunks:
                sizes.append(len(parts))
                yield item(PlannedChangeset(_IMPORT, []), lane.slice_id, self._base, parts)

        for outcomes in self._requests(lane, items(), "import"):
            for outcome in outcomes:
                if outcome["status"] != 202:
                    raise HistoryError(f"a changeset of the import was refused: {json.dumps(outcome)[:2000]}")
                lane.imports.append(outcome["changeset"]["id"])
            yield sum(islice(sizes, len(outcomes)))
            del sizes[: len(outcomes)]

    def _submit(self, lane: Lane) -> Iterator[int]:
        """Send the first side of every merge, then the second of every one."""
        for side in range(len(_WRITERS)):
            cases = [case for case in lane.cases if not case.refused]
            waiting = iter(cases)
            for outcomes in self._requests(lane, self._items(lane, cases, side), f"side-{side}"):
                for case, outcome in zip(islice(waiting, len(outcomes)), outcomes, strict=True):
                    if outcome["status"] == 202:
                        case.ids.append(outcome["changeset"]["id"])
                    else:
                        case.refused = _sentence(outcome["problem"])
                yield len(outcomes)

    def _items(self, lane: Lane, cases: Sequence[Case], side: int) -> Iterator[bytes]:
        name, email = _WRITERS[side]
        sides = ((case.folder, change) for case in cases for change in case.merge.sides[side])
        parts = change_parts(self._history, (replace(change, path=folder + change.path) for folder, change in sides))
        for case in cases:
            commit = SourceCommit(case.merge.oid, name, email, _TIME, f"{name} of {case.merge.oid}\n")
            own = list(islice(parts, len(case.merge.sides[side])))
            yield item(PlannedChangeset(commit, []), lane.slice_id, self._base, own)

    def _requests(self, lane: Lane, items: Iterator[bytes], name: str) -> Iterator[list[Json]]:
        """Send items, as many in a request as fit; yields their outcomes."""
        for number, group in enumerate(batched_by_size(items, len, _BYTES, _ITEMS)):
            yield self._client.submit_many(body(group), f"merges-{lane.slice_id}-{name}-{number}")

    def _check_import(self, lane: Lane) -> None:
        for changeset_id in lane.imports:
            changeset = self._decided(changeset_id)
            if changeset["status"] not in _COMMITTED:
                raise HistoryError(f"the import was not committed: {json.dumps(changeset)[:2000]}")

    def _outcomes(self, lane: Lane) -> dict[str, Json]:
        """Return the changesets of a lane's cases by id, all decided."""
        wanted = [changeset_id for case in lane.cases for changeset_id in case.ids]
        if wanted:
            self._decided(wanted[-1])
        # One that lands meanwhile is in the second list, if not in the first.
        lists = (self._client.changesets(lane.slice_id, status) for status in _LISTS)
        listed = {changeset["id"]: changeset for changesets in lists for changeset in changesets}
        final = {changeset_id: changeset for changeset_id, changeset in listed.items() if "first" not in changeset}
        return {changeset_id: final.get(changeset_id) or self._decided(changeset_id) for changeset_id in wanted}

    def _decided(self, changeset_id: str) -> Json:
        """Wait until a changeset is decided; for a duplicate, which a lost answer causes, return the first."""
        while (changeset := self._client.changeset(changeset_id, _POLL))["status"] == "queued":
            continue
        return self._decided(changeset["first"]) if "first" in changeset else changeset

    def _read_files(self, lanes: Sequence[Lane]) -> None:
        """Read what is in every case's folder now."""
        tip = self._client.head()["tip"]["commit"]
        for [lane] in batched_with_progress(lanes, 1, "compare", self._progress):
            by_folder = {case.folder: case.actual for case in lane.cases}
            for file in self._client.tree(lane.slice_id, tip):
                top, folder, path = file["path"].split("/", 2)
                by_folder[f"{top}/{folder}/"][path] = (file["mode"], file["id"])


def _compare(report: MergeReport, case: Case, outcomes: Mapping[str, Json]) -> None:
    if case.refused:
        report.skipped[f"{REFUSED}: {case.refused}"] += 1
        return
    report.content_merges += case.merge.merges_contents
    sides = [outcomes[changeset_id] for changeset_id in case.ids]
    sluice = CLEAN
    conflicts = set(case.git_conflicts)
    for side in sides:
        conflicts ^= {conflict["path"].removeprefix(case.folder) for conflict in side.get("conflicts", [])}
        if side["status"] not in _COMMITTED:
            sluice = CONFLICTED if side["status"] == CONFLICTED else f"{side['status']}, {side.get('detail', '')}"
    git = CLEAN if case.git_clean else CONFLICTED
    report.compare(case.merge.oid, git, sluice, case.expected, case.actual, tuple(sorted(conflicts)))


def _sentence(problem: Json) -> str:
    errors = problem.get("errors") or [{}]
    return str(errors[0].get("message") or problem.get("detail") or problem.get("title"))
