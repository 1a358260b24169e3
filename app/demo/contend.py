"""Many writers at once on one base: what lands, what is merged, what conflicts, and how every conflict is resolved.

A third of the writers have a file each, a third a region each in shared files, and a third change the same line of one
file. Their slices overlap. Of the last third exactly one lands; every other gets the conflict with its lines, and
resolves it until its line has landed too.
"""

import threading
import time
from dataclasses import dataclass, field

from app.client.api_client import Client, Json
from storage.base.progress import Progress, no_progress

# Lines of a shared file that are a writer's own, and lines around them, so that neighbours do not touch.
_REGION = 6
_WRITERS_OF_A_FILE = 11
_HOT = "src/hot.txt"
_HOT_LINES = ["above\n", "here\n", "below\n"]
_PATIENCE = 60.0  # seconds, for one changeset to get its outcome
_SLICES = {"everything": ["/"], "sources": ["src/"], "shared": ["src/shared/", _HOT, "src/own/"]}
# Somebody else may land while one resolves; none of ours does, so more than a few rounds are a fault.
_MAX_ROUNDS = 5


@dataclass(slots=True)
class Group:
    """A third of the writers, and the outcomes of their changesets."""

    about: str
    writers: int = 0
    landed: int = 0
    merged: int = 0  # landed, with a path that was merged
    conflicted: int = 0
    explained: int = 0  # conflicted, with the right class and hunks
    resolved: int = 0  # conflicted, and landed after all
    rounds: int = 0  # resolutions that it took


@dataclass(slots=True)
class Report:
    """The result of the contest."""

    writers: int
    groups: dict[str, Group]
    seconds: float = 0.0
    resolving_seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all landed that can, all others got the reason and resolved, and every writer's lines are there."""
        own, regions, lines = self.groups.values()
        return (
            not self.problems
            and own.landed == own.writers
            and regions.landed == regions.writers
            and (lines.landed, lines.conflicted) == (1, lines.writers - 1)
            and lines.explained == lines.resolved == lines.conflicted
        )

    def to_json(self) -> Json:
        """Return the report as one line of JSON shows it."""
        names = ("writers", "landed", "merged", "conflicted", "explained", "resolved", "rounds")
        return {
            "writers": self.writers,
            **{name: {figure: getattr(group, figure) for figure in names} for name, group in self.groups.items()},
            "seconds": round(self.seconds, 3),
            "resolving_seconds": round(self.resolving_seconds, 3),
            "ok": self.ok,
        }


@dataclass(frozen=True, slots=True)
class _Writer:
    group: str
    number: int  # in its group
    slice: str
    path: str
    content: str


class Contest:
    """One contest on a repository that nobody else writes to meanwhile."""

    def __init__(self, client: Client, writers: int = 99, progress: Progress = no_progress) -> None:
        self._client = client
        self._third = max(1, writers // 3)
        self._progress = progress
        groups = {
            "files": Group("a file each", self._third),
            "regions": Group("a region of a file", self._third),
            "lines": Group("the same line", self._third),
        }
        self._report = Report(3 * self._third, groups)
        self._lock = threading.Lock()
        self._done = 0

    def run(self) -> Report:
        """Let them write, resolve what collided, and look at what there is. Raises ProblemError and Unreachable."""
        for name, paths in _SLICES.items():
            self._client.create_slice(name, paths)
        base = self._begin()
        writers = list(self._writers())
        outcomes = self._write(writers, base)
        both = zip(writers, outcomes, strict=True)
        collided = [(writer, outcome) for writer, outcome in both if outcome["status"] == "conflicted"]
        started = time.monotonic()
        for i, (writer, outcome) in enumerate(collided):
            self._explained(writer, outcome)
            self._resolve(writer, outcome)
            self._progress("resolve", i + 1, len(collided))
        self._report.resolving_seconds = time.monotonic() - started
        self._look(writers)
        return self._report

    def _begin(self) -> str:
        """Land the files that they share, and return the commit that everyone starts from."""
        files = {_HOT: "".join(_HOT_LINES)} | {path: self._shared(path) for path in self._shared_paths()}
        changes = [{"op": "put", "path": path, "content": content} for path, content in files.items()]
        tip = self._client.head()["tip"]["commit"]
        made = self._client.submit("everything", {"base": tip, "message": "Begin\n", "changes": changes})
        return str(self._settle(made["id"])["commit"])

    def _shared_paths(self) -> list[str]:
        return [f"src/shared/{i}.txt" for i in range(-(-self._third // _WRITERS_OF_A_FILE))]

    def _shared(self, path: str, edited: int | None = None) -> str:
        lines = [f"{path} line {i}\n" for i in range(_WRITERS_OF_A_FILE * _REGION)]
        if edited is not None:
            at = edited % _WRITERS_OF_A_FILE * _REGION + _REGION // 2
            lines[at] = f"region of writer {edited}\n"
        return "".join(lines)

    def _writers(self) -> list[_Writer]:
        names = list(_SLICES)
        made = []
        for i in range(self._third):
            name = names[i % len(names)]
            shared = self._shared_paths()[i // _WRITERS_OF_A_FILE]
            made.append(_Writer("files", i, name, f"src/own/{i}.txt", f"file of writer {i}\n"))
            made.append(_Writer("regions", i, name, shared, self._shared(shared, i)))
            made.append(_Writer("lines", i, name, _HOT, "".join([_HOT_LINES[0], _own_line(i), _HOT_LINES[2]])))
        return made

    def _write(self, writers: list[_Writer], base: str) -> list[Json]:
        """Have every writer submit at the same moment, and return what became of each."""
        outcomes: list[Json] = [{} for _ in writers]
        together = threading.Barrier(len(writers) + 1)

        def write(i: int) -> None:
            writer = writers[i]
            change = {"op": "put", "path": writer.path, "content": writer.content}
            body = {"base": base, "message": f"{writer.group} {writer.number}\n", "changes": [change]}
            together.wait()
            try:
                outcomes[i] = self._settle(self._client.submit(writer.slice, body)["id"])
            except Exception as error:  # noqa: BLE001 - it is reported, and the others go on
                self._problem(f"{writer.group} {writer.number}: {error}")
                outcomes[i] = {"status": "failed"}
            with self._lock:
                self._done += 1
                self._progress("write", self._done, len(writers))

        threads = [threading.Thread(target=write, args=(i,), daemon=True) for i in range(len(writers))]
        for thread in threads:
            thread.start()
        together.wait()
        started = time.monotonic()
        for thread in threads:
            thread.join()
        self._report.seconds = time.monotonic() - started
        for writer, outcome in zip(writers, outcomes, strict=True):
            group = self._report.groups[writer.group]
            group.landed += outcome["status"] == "landed"
            group.merged += outcome["status"] == "landed" and outcome.get("merged_count", 0) > 0
            group.conflicted += outcome["status"] == "conflicted"
        return outcomes

    def _explained(self, writer: _Writer, outcome: Json) -> None:
        """Check that a conflict says exactly what collides."""
        [conflict] = self._client.conflicts_of(outcome["id"])
        own, base = _own_line(writer.number).rstrip(), _HOT_LINES[1].rstrip()
        expected = {"class": "content", "path": _HOT, "base": [base], "theirs": [own]}
        [hunk] = conflict["hunks"] or [{}]
        shown = {"class": conflict["class"], "path": conflict["path"]}
        shown |= {side: hunk[side]["lines"] for side in ("base", "theirs") if side in hunk}
        starts = {side: hunk[side]["start"] for side in ("base", "ours", "theirs") if side in hunk}
        winner = hunk["ours"]["lines"] if "ours" in hunk else []
        others = {_own_line(i).rstrip() for i in range(self._third)} - {own}
        if shown != expected or set(starts.values()) != {2} or len(winner) != 1 or not others.issuperset(winner):
            self._problem(
                f"the conflict of {outcome['id']} is reported as {shown}, beginning at {starts}, against {winner}"
            )
        else:
            self._report.groups[writer.group].explained += 1

    def _resolve(self, writer: _Writer, outcome: Json) -> None:
        """Resolve a conflict by keeping both sides' lines, and again where the head has moved, until it landed."""
        group = self._report.groups[writer.group]
        for _ in range(_MAX_ROUNDS):
            [conflict] = self._client.pages(f"/v1/changesets/{outcome['id']}/conflicts")
            made = self._client.resolve(outcome["id"], {_HOT: {"content": both_sides(conflict["marked"])}})
            group.rounds += 1
            outcome = self._settle(made["id"])
            if outcome["status"] == "landed":
                group.resolved += 1
                return
            if outcome["status"] != "conflicted":
                break
        self._problem(f"lines {writer.number} did not land: {outcome}")

    def _settle(self, changeset: str) -> Json:
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            answer = self._client.changeset(changeset, 5, "landed")
            if answer["status"] not in {"queued", "committed"}:
                return answer
            self._client.merge()
        raise TimeoutError(f"{changeset} has no outcome after {_PATIENCE:.0f} seconds")

    def _look(self, writers: list[_Writer]) -> None:
        """Check that every writer's work is in the global head."""
        files = {path: self._client.file("everything", path).decode() for path in {writer.path for writer in writers}}
        for writer in writers:
            wanted = {
                "files": writer.content,
                "regions": f"region of writer {writer.number}\n",
                "lines": _own_line(writer.number),
            }[writer.group]
            if files[writer.path].count(wanted) != 1:
                self._problem(f"{writer.path} does not have the work of {writer.group} {writer.number} once")

    def _problem(self, text: str) -> None:
        with self._lock:
            self._report.problems.append(text)


def _own_line(number: int) -> str:
    return f"line of writer {number}.\n"


def both_sides(marked: str) -> str:
    """Return a text with conflict markers resolved by keeping both sides, the head's first."""
    kept, keep = [], True
    for line in marked.splitlines(keepends=True):
        if line.startswith(("<<<<<<< ", "=======", ">>>>>>> ")):
            keep = True
        elif line.startswith("||||||| "):
            keep = False
        elif keep:
            kept.append(line)
    return "".join(kept)
