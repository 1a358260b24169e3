"""Parts of the benchmarks, once on a handful of changesets: there are figures where the results are proved.

No figure is asserted: times are the machine's.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import far, flood, landing, ratios, reads, tokens, wide
from benchmarks.client import Import
from benchmarks.clones import run as clones
from benchmarks.contention import run as contention
from benchmarks.contention.plan import plan
from benchmarks.landing import Phase
from benchmarks.peers.contended_push import pushers
from benchmarks.workload import Workload
from tests.support.servers import require

SMALL = Workload(files=200, width=10, fan=5, slice_leaves=5)


def quiet(_: str) -> None:
    pass


def test_landing_has_figures_of_each_phase_and_of_the_yardstick(tmp_path: Path):
    phases = [
        Phase("bulk", 2, 10, 20, goal=(2.0, 1.6)),
        Phase("alone", 1, 1, 3, until_landed=True),
        Phase("many", 50, 1, 100, half_load=True),
    ]
    figures = landing.run(SMALL, tmp_path, quiet, phases=phases, rounds=2, imported=20, s3="seaweedfs")
    assert [figure.name for figure in figures] == [
        "git fast-import, in turns",
        "bulk",
        "alone",
        "many",
        "many, half load",
        "bulk, to fast-import",
        "alone, to fast-import",
        "alone, in PUTs",
        "alone, PUTs",
        "many, to fast-import",
        "many, half load, p99",
    ]
    assert {len(figure.rounds) for figure in figures} == {2}
    by_name = {figure.name: figure for figure in figures}
    assert by_name["many"].details["landed"] == 200
    assert by_name["many"].details["waited"] == 0
    assert by_name["alone"].details["latency_sample"] == 6
    # A submission and an entry are the least.
    assert by_name["alone, PUTs"].value >= 2


def test_landing_with_tokens_is_compared_with_landing_without(tmp_path: Path):
    phases = [Phase("sluice, bulk", 2, 10, 20), Phase("sluice, many", 10, 1, 20)]
    figures = tokens.run(SMALL, tmp_path, quiet, phases=phases, rounds=2, grants_in_all=100, s3="seaweedfs")
    assert [figure.name for figure in figures] == [
        "tokens, a question",
        "tokens, bulk, time",
        "tokens, bulk, server CPU",
        "tokens, many, time",
        "tokens, many, server CPU",
    ]
    assert all(len(figure.rounds) == 2 and len(figure.details["hard"]) == 2 for figure in figures[1:])


def test_a_flood_is_compared_with_a_quiet_time_in_its_slice_and_in_another(tmp_path: Path):
    figures = flood.run(tmp_path, quiet, rounds=1, plan=flood.Plan(ahead=30, changes=2, seconds=1.0), s3="seaweedfs")
    assert [figure.name for figure in figures] == ["flood in another slice", "flood in the same slice"]
    for figure in figures:
        assert figure.details["ratios"].keys() == {"without shares", "turns", "quotas"}
        assert figure.details["latency_of"].keys() == {"quiet", *figure.details["ratios"]}


def test_a_far_store_is_compared_with_the_same_store_near(tmp_path: Path, request: pytest.FixtureRequest):
    phases = {
        "bulk": Phase("bulk", 2, 10, 40),
        "alone": Phase("alone", 1, 1, 2, until_landed=True),
        "200": Phase("many", 20, 1, 40, half_load=True),
    }
    program = require("toxiproxy", request)
    figures = far.run(
        SMALL, tmp_path, quiet, program, phases=phases, added=(0, 20), rounds=1, seconds=0.5, s3="seaweedfs"
    )
    assert [figure.name for figure in figures] == [
        "0 ms, bulk",
        "0 ms, alone",
        "0 ms, many",
        "20 ms, bulk",
        "20 ms, alone",
        "20 ms, many",
        "20 ms, many, half load",
        "20 ms, bulk, rate",
        "20 ms, alone, wait",
        "20 ms, many, rate",
        "20 ms, many, half load, wait",
    ]
    by_name = {figure.name: figure for figure in figures}
    # A changeset that comes alone waits for a submission and an entry, each of which takes the latency.
    assert by_name["20 ms, alone, wait"].value >= 2


def test_every_change_of_a_contest_becomes_what_was_planned(tmp_path: Path):
    figures = contention.run(
        tmp_path, quiet, workload=SMALL, agents={2: 5, 20: 1}, pushing=2, seconds=1.0, rounds=1, s3="seaweedfs"
    )
    assert [figure.name for figure in figures] == [
        "sluice, 2 agents, disjoint",
        "git push, 2 agents, disjoint",
        "sluice, 2 agents, conflicts",
        "git push, 2 agents, conflicts",
        "sluice, 2 agents, resolver",
        "git push, 2 agents, resolver",
        "sluice, 20 agents, disjoint",
        "sluice, 20 agents, conflicts",
        "sluice, 20 agents, resolver",
    ]
    shares = {
        f.name: (f.details["landed_share"], f.details["attempts_a_change"], f.details["conflicted"]) for f in figures
    }
    for agents, conflicts in ((2, 2), (20, 4)):
        assert shares[f"sluice, {agents} agents, disjoint"] == (1.0, 1.0, 0)
        assert shares[f"sluice, {agents} agents, conflicts"] == (0.8, 1.0, conflicts)
        assert shares[f"sluice, {agents} agents, resolver"] == (1.0, 1.2, conflicts)


def test_agents_who_push_land_the_same_tree(tmp_path: Path):
    with pushers(SMALL, tmp_path, 3) as peers:
        for run, (collide, resolving) in enumerate([(False, False), (True, False), (True, True)]):
            contest = plan(SMALL, 3, 5, run, collide)
            results, _ = peers.contend(contest, resolving, seconds=120)
            landed = {result.number for result in results if result.status == "landed"}
            given_up = {change.number for change in contest.changes if change.conflict and not resolving}
            assert landed == set(range(15)) - given_up
            assert sum(result.conflicts for result in results) == 3 * collide


def test_a_wide_repository_takes_turns_with_a_small_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ratios, "PHASE", Phase("ratio", 2, 20, 40))
    # Before the first changeset the tree of every file has to be there, whichever connection sent it.
    monkeypatch.setattr(wide, "_IMPORT", Import(puts=50, changesets=3, connections=4))
    figures = wide.run(tmp_path, quiet, files=8_000, small_files=1_200, rounds=2, s3="seaweedfs")
    assert [figure.name for figure in figures] == [
        "wide, together, time",
        "wide, together, server CPU",
        "wide, spread, time",
        "wide, spread, server CPU",
    ]
    assert all(len(figure.rounds) == 2 and figure.details["goal"] == 1.3 for figure in figures)
    assert all(figure.details["waited"] == 0 for figure in figures)


def test_reads_are_compared_with_those_of_git(tmp_path: Path):
    figures = reads.run(SMALL, tmp_path, quiet, rounds=2, s3="seaweedfs")
    assert [figure.name for figure in figures] == [
        "manifest, to git ls-tree -r",
        "manifest of a new process, to git ls-tree -r",
        "tar archive, to git archive",
    ]
    assert {len(figure.rounds) for figure in figures} == {2}


def test_clones_are_compared_with_those_of_git_http_backend(tmp_path: Path):
    few = clones.Plan(changesets=20, clients=(1, 2), seconds=0.1)
    figures = clones.run(SMALL, tmp_path, quiet, rounds=2, plan=few, s3="seaweedfs")
    assert len(figures) == 2 * (6 * 2 + 2), "six kinds, by one client and by two, and two times; whole and slice"
    by_name = {figure.name: figure for figure in figures}
    assert by_name["depth 1, a slice, 2 clients"].details["goal"] == 5.0
    assert all(len(figure.rounds) == 2 for figure in figures)
    full, first = by_name["full, the whole, 1 clients"], by_name["full, asked first, the whole, 1 clients"]
    assert full.details["bytes"]["gateway"] > by_name["fetch, the whole, 1 clients"].details["bytes"]["gateway"]
    assert first.details["bytes"]["gateway"] > 0
