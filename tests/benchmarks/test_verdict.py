"""What a soak says of samples that are made up: flat where all is, and by name what is not."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import pytest

from benchmarks.soak import verdict
from benchmarks.soak.slopes import Flatness, Point, trend
from benchmarks.soak.verdict import IDLE, SOAK, Report, report

MIB = 1 << 20
EVERY, SECONDS, WARM_UP = 10, 1800, 600
RATE = 50
Json = dict[str, Any]
Change = Callable[[int, Json], None]


@pytest.fixture(scope="module", autouse=True)
def trends_of_equal_series_once() -> Iterator[None]:
    """A trend takes 200 series of 780 slopes each; it is a pure function, and most series are those of other tests."""
    of_points = cache(trend)

    def trend_once(points: Sequence[Point]) -> object:
        return of_points(tuple(points))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verdict, "trend", trend_once)
        yield


def samples(*changes: Change) -> list[Json]:
    """Return half an hour of a stack in which nothing but the history grows, with changes to each sample."""
    draw, made = random.Random(1), []
    for t in range(0, SECONDS + EVERY, EVERY):
        noise = {name: draw.randrange(MIB // 4) for name in ("api", "worker.1", "redis")}
        sample: Json = {
            "t": t,
            "phase": SOAK,
            "committed": RATE * t,
            "merged": RATE * t,
            "processes": {
                name: {"pid": 7, "rss": 80 * MIB + noise[name], "uss": 60 * MIB, "fds": 30, "threads": 5}
                for name in ("api", "worker.1", "redis")
            },
            "redis": {"used_memory": 50 * MIB + noise["redis"], "clients": 70},
            "queues": {"queued": draw.randrange(20)},
            "load": {"counts": {"bytes": 4000 * RATE * t}, "latencies": {"landed": [0.1, 0.2]}},
        }
        if t % 60 == 0:
            folders = {"log/": 500 * RATE * t, "packs/": 5000 * RATE * t, "inbox/": 40 * MIB + draw.randrange(MIB)}
            sample["bucket"] = {
                "merged": RATE * t,
                "submitted": 4000 * RATE * t,
                "folders": {name: {"objects": t, "bytes": size} for name, size in folders.items()},
            }
        for change in changes:
            change(t, sample)
        made.append(sample)
    idle = made[-1] | {"t": SECONDS + 60, "phase": IDLE, "idle_entries": {}}
    return [*made, idle]


def verdicts(found: Report) -> dict[str, Flatness]:
    return {line.name: line.verdict for line in found.lines}


def grown(found: Report) -> set[str]:
    return {line.name for line in found.lines if line.verdict is Flatness.GROWS}


def test_a_stack_in_which_nothing_but_the_history_grows_is_flat():
    found = report(samples(), WARM_UP)
    assert found.flat and grown(found) == set()
    assert found.minutes == 20 and found.landed == 20 * 60 * RATE
    assert found.stored == pytest.approx((500 + 5000) / 4000, abs=0.01)  # the inbox does not grow
    assert found.folders["packs/"]["bytes_a_changeset"] == 5000
    assert [third["landed"]["p50"] for third in found.latency] == [100, 100, 100]


def leaks(name: str, an_hour: float) -> Change:
    def change(t: int, sample: Json) -> None:
        sample["processes"][name]["rss"] += int(an_hour * t / 3600)

    return change


def test_a_process_that_leaks_is_named():
    found = report(samples(leaks("worker.1", 12 * MIB)), WARM_UP)
    assert not found.flat and grown(found) == {"worker.1 RSS"}


def test_a_process_that_fills_its_caches_during_the_warm_up_is_flat():
    def fill(t: int, sample: Json) -> None:
        sample["processes"]["api"]["rss"] += 100 * MIB * min(t, WARM_UP) // WARM_UP

    assert report(samples(fill), WARM_UP).flat
    # Judged from the beginning it is a bend: whether it goes on cannot be told.
    assert verdicts(report(samples(fill), 0))["api RSS"] is Flatness.UNCLEAR


def test_memory_of_a_server_that_is_not_ours_is_shown_and_not_judged():
    found = report(samples(leaks("redis", 100 * MIB)), WARM_UP)
    assert verdicts(found)["redis RSS"] is Flatness.OTHERS and found.flat


def test_redis_memory_is_judged_at_its_lowest_and_per_changeset():
    def saw(t: int, sample: Json) -> None:
        sample["redis"]["used_memory"] += t % 60 * MIB // 4

    assert report(samples(saw), WARM_UP).flat

    def grow(t: int, sample: Json) -> None:
        sample["redis"]["used_memory"] += 1000 * sample["merged"]

    found = report(samples(saw, grow), WARM_UP)
    name = "Redis used_memory, at its lowest"
    assert grown(found) == {name}
    [line] = [line for line in found.lines if line.name == name]
    assert 900 < int(line.note.split()[0]) < 1100


def test_redis_is_judged_by_what_is_left_after_each_compaction():
    def saw(t: int, sample: Json) -> None:
        sample["redis"]["used_memory"] += t % 90 * MIB
        sample["compacted"] = t // 90

    def grow(t: int, sample: Json) -> None:
        sample["redis"]["used_memory"] += 1000 * sample["merged"]

    name = "Redis used_memory, after compactions"
    assert verdicts(report(samples(saw), WARM_UP))[name] is Flatness.FLAT
    assert grown(report(samples(saw, grow), WARM_UP)) == {name}


def test_a_process_that_was_replaced_has_no_memory_to_be_called_flat():
    def die(t: int, sample: Json) -> None:
        sample["processes"]["api"]["pid"] = 7 if t < 1200 else 8

    found = report(samples(die), WARM_UP)
    assert grown(found) == {"api RSS"}


def test_one_that_came_and_went_is_passed_over():
    def visit(t: int, sample: Json) -> None:
        if t == 900:
            sample["processes"]["worker.2"] = {"pid": 9, "rss": MIB, "uss": MIB, "fds": 1, "threads": 1}

    assert "worker.2 RSS" not in verdicts(report(samples(visit), WARM_UP))


@pytest.mark.parametrize("what", ["fds", "threads"])
def test_descriptors_and_threads_that_are_never_given_back_are_named(what: str):
    def hoard(t: int, sample: Json) -> None:
        sample["processes"]["api"][what] += t // 60

    assert grown(report(samples(hoard), WARM_UP)) == {f"api {what}"}


def test_a_queue_that_is_never_empty_again_is_named():
    def pile(t: int, sample: Json) -> None:
        sample["queues"]["queued"] += t

    assert grown(report(samples(pile), WARM_UP)) == {"queued"}


def test_a_folder_that_grows_faster_than_the_changes_is_named():
    def swell(_t: int, sample: Json) -> None:
        if "bucket" in sample:
            sample["bucket"]["folders"]["log/"]["bytes"] += sample["merged"] ** 2 // 100

    assert grown(report(samples(swell), WARM_UP)) == {"bucket log/"}


def test_a_folder_of_temporary_objects_may_not_grow_even_with_the_changes():
    def keep(_t: int, sample: Json) -> None:
        if "bucket" in sample:
            sample["bucket"]["folders"]["inbox/"]["bytes"] += 200 * sample["merged"]

    assert grown(report(samples(keep), WARM_UP)) == {"bucket inbox/"}


def test_entries_without_submissions_are_growth_except_compactions():
    made = samples()
    made[-1]["idle_entries"] = {"compact": 2, "condemn": 1}
    assert report(made, WARM_UP).flat
    made[-1]["idle_entries"] = {"compact": 2, "merge": 1}
    assert grown(report(made, WARM_UP)) == {"log, while nobody submits"}


def test_keys_are_told_by_kind_and_changeset_from_the_exact_counts():
    made = samples()
    made[60]["keys"] = {"exact": True, "kinds": {"view chain": {"keys": 1, "bytes": 1000}}}
    made[90]["keys"] = {"exact": False, "kinds": {"view chain": {"keys": 1, "bytes": 1 << 40}}}
    kinds = {"view chain": {"keys": 1, "bytes": 5_401_000}, "key:*": {"keys": 30_000, "bytes": 0}}
    made[-2]["keys"] = {"exact": True, "kinds": kinds}
    found = report(made, WARM_UP).kinds
    assert found["view chain"]["bytes_a_changeset"] == 90
    assert found["key:*"]["keys_a_changeset"] == 0.5


def test_a_run_that_was_cut_off_in_its_warm_up_says_that_it_cannot_tell():
    found = report(samples()[:30], WARM_UP)
    assert not found.flat and verdicts(found) == {"samples": Flatness.UNCLEAR}


def test_a_run_that_was_cut_off_later_is_judged_as_far_as_it_went():
    found = report(samples(leaks("api", 60 * MIB))[:120], WARM_UP)
    assert "api RSS" in grown(found) and found.minutes == 9.83


def test_the_report_is_json():
    json.dumps(report(samples(), WARM_UP).to_json())
