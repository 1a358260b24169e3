"""Figures of the benchmarks: phases, ratios with goals, and the objects that a changeset created."""

from __future__ import annotations

import pytest

from benchmarks.far import possible, sized
from benchmarks.figures import at_least, at_most
from benchmarks.landing import PHASES, QUICK, spread
from benchmarks.load.generator import Outcome
from benchmarks.show import goal
from benchmarks.store import created


@pytest.mark.parametrize(
    ("value", "details", "shown"),
    [
        (2.0, at_least(2.0, 1.6), "≥ 2, floor 1.6: met"),
        (1.9, at_least(2.0, 1.6), "≥ 2, floor 1.6: missed"),
        (1.3, at_most(1.3), "≤ 1.3: met"),
        (1.4, {"goal": 1.3}, "≤ 1.3: missed"),
        (1.4, {}, ""),
    ],
)
def test_a_ratio_is_shown_with_its_goal_and_whether_it_is_met(value: float, details: dict[str, object], shown: str):
    assert goal({"value": value, **details}) == shown


def test_half_load_is_half_of_the_rate_for_some_seconds():
    half = PHASES["200"].at_half(300.0)
    assert (half.rate, half.count, half.sample, half.clients) == (150.0, 1500, 300, 200)
    assert (half.goal, half.half_load, half.name) == (None, False, "sluice, 200 clients, half load")
    assert PHASES["200"].at_half(4000.0).count == PHASES["200"].count
    assert PHASES["200"].at_half(0.01).count == 1


def test_a_quick_run_has_the_same_phases_on_a_small_repository():
    assert {name: phase.name for name, phase in QUICK.items()} == {name: phase.name for name, phase in PHASES.items()}
    assert max(phase.count for phase in QUICK.values()) <= 2000 // 2
    assert max(phase.count for phase in PHASES.values()) <= 10_000 // 2


def test_the_spread_of_latencies_is_the_p99_to_the_p50():
    waits = [0.1] * 98 + [0.5] * 2
    assert spread([Outcome(100, 1.0, 1.0, {"landed": waits}, 0, 0.0)]) == 5.0


def test_objects_are_counted_by_folder_unless_some_were_deleted():
    before = {"inbox/1", "log/1"}
    after = before | {"inbox/2", "inbox/3", "packs/2.pack", "packs/2.idx", "log/2", "log/3"}
    assert created(before, after, 2) == {"inbox": 1.0, "log": 1.0, "packs": 1.0, "all": 3.0}
    assert created(before, after - {"inbox/1"}, 2) is None


@pytest.mark.parametrize(
    ("name", "near", "bound"),
    [("1", 90.0, 5.0), ("16", 300.0, 80.0), ("64", 300.0, 300.0), ("64", 400.0, 320.0), ("bulk", 1200.0, 1200.0)],
)
def test_a_far_rate_is_bound_by_the_near_one_and_by_one_put_a_client(name: str, near: float, bound: float):
    assert possible(PHASES[name], 0.2, near) == pytest.approx(bound)


@pytest.mark.parametrize(
    ("name", "near", "count"),
    [("1", 90.0, 50), ("alone", 20.0, 8), ("64", 30.0, 300), ("64", 3000.0, 3000), ("1000", 3.0, 1000)],
)
def test_a_far_phase_has_changesets_for_its_seconds_and_for_each_client(name: str, near: float, count: int):
    assert sized(PHASES[name], 0.2, near, 10.0).count == count
