"""What agents change, and what must come of it: which changes collide is planned, so that the outcome can be proved.

A planned conflict changes the middle line of a file whose middle line was changed by somebody else after the commit
that all agents saw; so it conflicts whoever is first. Its resolution keeps both lines. All other changes rewrite two
files that nobody else changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.figures import Disproved
from benchmarks.workload import Workload

Files = tuple[tuple[str, bytes], ...]

# Of every so many changes the last one is a planned conflict: 20 %.
ONE_IN = 5


@dataclass(frozen=True)
class Change:
    """One change of one agent."""

    number: int
    slice: str
    message: str
    files: Files  # as they are submitted
    conflict: bool = False
    result: Files = ()  # what the files are once it has landed

    @property
    def landed(self) -> Files:
        """The files as they must be once it has landed."""
        return self.result or self.files


@dataclass(frozen=True)
class Contest:
    """The changes of all agents, and what has to stand in the repository before."""

    agents: int
    changes: tuple[Change, ...]
    base: Files  # in the commit that all agents saw
    rival: Files  # the same files, as somebody else has changed them since

    def of_agent(self, number: int) -> tuple[Change, ...]:
        """Return the changes of one agent, in order."""
        return self.changes[number :: self.agents]


@dataclass(frozen=True)
class Result:
    """What became of a change. Times are in seconds."""

    number: int
    status: str
    attempts: int  # submissions, or pushes
    conflicts: int  # how often it met one
    seconds: float  # from before its submission until it landed, or could not


def plan(workload: Workload, agents: int, each: int, run: int, collide: bool) -> Contest:
    """Return the contest of agents with so many changes each; with `collide` a fifth of all are planned conflicts."""
    changes: list[Change] = []
    base: list[tuple[str, bytes]] = []
    rival: list[tuple[str, bytes]] = []
    for one in workload.changesets(agents * each, run):
        if not collide or one.number % ONE_IN != ONE_IN - 1:
            changes.append(Change(one.number, one.slice, one.message, one.files))
            continue
        folder = one.files[0][0].rpartition("/")[0]
        path = f"{folder}/contended{run}-{one.number}.txt"
        theirs, own = f"somebody else, {run}\n", f"change {one.number} of run {run}\n"
        base.append((path, _text("here\n")))
        rival.append((path, _text(theirs)))
        files, result = ((path, _text(own)),), ((path, _text(theirs, own)),)
        changes.append(Change(one.number, one.slice, one.message, files, conflict=True, result=result))
    return Contest(agents, tuple(changes), tuple(base), tuple(rival))


def check(contest: Contest, results: Iterable[Result], resolving: bool) -> list[Change]:
    """Return the changes that landed. Raises Disproved where anything became of one but what was planned."""
    landed, seen = [], {result.number: result for result in results}
    for change in contest.changes:
        result = seen.get(change.number)
        if result is None:
            raise Disproved(f"change {change.number} has no outcome")
        if not change.conflict:
            wanted = ("landed", 1, 0)
        else:
            wanted = ("landed", 2, 1) if resolving else ("conflicted", 1, 1)
        if (result.status, result.attempts, result.conflicts) != wanted:
            kind = "a planned conflict" if change.conflict else "disjoint"
            raise Disproved(f"change {change.number} is {kind} and has to become {wanted}; it became {result}")
        if result.status == "landed":
            landed.append(change)
    return landed


def attempts(results: Sequence[Result]) -> float:
    """Return the attempts that a change took, on average."""
    return sum(result.attempts for result in results) / len(results)


def _text(*middle: str) -> bytes:
    return "".join(["above\n", *middle, "below\n"]).encode()
