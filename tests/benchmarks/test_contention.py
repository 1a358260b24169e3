"""The plan of the contention benchmark, and that nothing but the planned outcome of every change passes for one."""

from __future__ import annotations

import dataclasses
import json

import pytest

from benchmarks.contention.agents import resolve
from benchmarks.contention.plan import Contest, Result, attempts, check, plan
from benchmarks.contention.run import AGENTS, PUSHERS, QUICK, WORKLOAD
from benchmarks.figures import Disproved
from benchmarks.workload import Workload

SMALL = Workload(files=200, width=10, fan=5, slice_leaves=5)
CONTEST = plan(SMALL, agents=4, each=5, run=3, collide=True)


def planned(contest: Contest, resolving: bool) -> list[Result]:
    """Return the results that have to come of a contest."""
    of_conflict = ("landed", 2, 1) if resolving else ("conflicted", 1, 1)
    of = {False: ("landed", 1, 0), True: of_conflict}
    return [Result(change.number, *of[change.conflict], seconds=0.1) for change in contest.changes]


def test_a_fifth_of_the_changes_are_planned_conflicts_and_each_agent_has_as_many():
    assert sum(change.conflict for change in CONTEST.changes) == 4
    by_agent = [CONTEST.of_agent(number) for number in range(4)]
    assert [len(changes) for changes in by_agent] == [5] * 4
    assert sorted(change.number for changes in by_agent for change in changes) == list(range(20))
    assert not any(change.conflict for change in plan(SMALL, 4, 5, 3, collide=False).changes)


def test_changes_share_no_file_but_those_that_somebody_else_changed_since_the_base():
    paths = [path for change in CONTEST.changes for path, _ in change.files]
    assert len(paths) == len(set(paths)) == 2 * 16 + 4
    contended = {path for change in CONTEST.changes if change.conflict for path, _ in change.files}
    assert contended == dict(CONTEST.base).keys() == dict(CONTEST.rival).keys()
    slices = SMALL.slices()
    assert all(path.startswith(tuple(slices[each.slice])) for each in CONTEST.changes for path, _ in each.files)


def test_a_conflict_is_in_the_middle_line_and_its_resolution_keeps_both():
    change = next(change for change in CONTEST.changes if change.conflict)
    [(path, own)], [(_, both)] = change.files, change.landed
    base, rival = dict(CONTEST.base)[path], dict(CONTEST.rival)[path]
    lines = [text.decode().splitlines() for text in (base, rival, own)]
    assert [(len(text), text[0], text[2]) for text in lines] == [(3, "above", "below")] * 3
    assert len({text[1] for text in lines}) == 3
    assert both.decode().splitlines() == ["above", lines[1][1], lines[2][1], "below"]


@pytest.mark.parametrize("table", [AGENTS, QUICK])
def test_the_repository_has_the_files_of_every_contest(table: dict[int, int]):
    assert list(table) == [2, 8, 32, 128, 1000]
    assert max(agents * each for agents, each in table.items()) <= WORKLOAD.files // 2
    assert PUSHERS in table


@pytest.mark.parametrize("resolving", [False, True])
def test_the_planned_outcome_passes_and_says_what_landed(resolving: bool):
    landed = check(CONTEST, planned(CONTEST, resolving), resolving)
    assert len(landed) == (20 if resolving else 16)
    assert attempts(planned(CONTEST, resolving)) == pytest.approx(1.2 if resolving else 1.0)


@pytest.mark.parametrize(
    ("conflict", "wrong"),
    [
        (False, {"attempts": 2}),
        (False, {"conflicts": 1}),
        (False, {"status": "conflicted"}),
        (True, {"conflicts": 2, "attempts": 3}),
        (True, {"attempts": 1, "conflicts": 0}),
        (True, {"status": "conflicted", "attempts": 1}),
        (True, {"status": "rejected"}),
    ],
)
def test_any_other_outcome_of_a_change_disproves_the_contest(conflict: bool, wrong: dict[str, object]):
    number = next(change.number for change in CONTEST.changes if change.conflict is conflict)
    results = planned(CONTEST, resolving=True)
    results[number] = dataclasses.replace(results[number], **wrong)  # type: ignore[arg-type]
    with pytest.raises(Disproved, match=f"change {number} is"):
        check(CONTEST, results, resolving=True)


def test_a_conflict_that_landed_without_a_resolver_disproves_the_contest():
    with pytest.raises(Disproved, match="has to become"):
        check(CONTEST, planned(CONTEST, resolving=True), resolving=False)


def test_a_change_without_an_outcome_disproves_the_contest():
    with pytest.raises(Disproved, match="change 19 has no outcome"):
        check(CONTEST, planned(CONTEST, resolving=True)[:-1], resolving=True)


def test_an_agent_resolves_by_keeping_both_lines_and_only_its_own_conflict():
    change = next(change for change in CONTEST.changes if change.conflict)
    [(path, result)] = change.landed
    _, theirs, own, _ = result.decode().splitlines(keepends=True)
    marked = f"above\n<<<<<<< head\n{theirs}||||||| base\nhere\n=======\n{own}>>>>>>> submitted\nbelow\n"
    conflict = {"path": path, "class": "content", "marked": marked}
    assert resolve(change, json.dumps({"items": [conflict]}).encode()) == {path: {"content": result.decode()}}
    for wrong in ([], [conflict | {"path": "another"}], [conflict | {"class": "mode"}], [conflict, conflict]):
        with pytest.raises(Disproved, match="conflicts at"):
            resolve(change, json.dumps({"items": wrong}).encode())
