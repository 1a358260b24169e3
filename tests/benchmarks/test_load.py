"""The load of a soak keeps its pace, and its mix has everything in the shares that it says."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.soak.generator import Pace
from benchmarks.soak.keys import kind_of
from benchmarks.soak.mix import SHARES, Mix, Tally
from benchmarks.workload import Workload

SMALL = Workload(files=2000, change_bytes=200)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_changesets_are_due_at_their_times_however_slow_the_answers_are():
    clock = Clock()
    pace = Pace(10.0, clock)
    assert [pace.take(1) for _ in range(3)] == pytest.approx([0.0, 0.1, 0.2])
    assert pace.take(5) == pytest.approx(0.3)
    assert pace.take(1) == pytest.approx(0.8)
    clock.now = 1.0
    # Late by a tenth of a second: made up for, without a pause.
    assert [pace.take(1) for _ in range(3)] == pytest.approx([0.0, 0.0, 0.1])
    assert pace.lost == 0


def test_what_could_not_be_sent_in_time_is_lost_and_never_a_burst():
    clock = Clock()
    pace = Pace(10.0, clock)
    clock.now = 60.0
    assert [pace.take(1) for _ in range(3)] == pytest.approx([0.0, 0.1, 0.2])
    assert pace.lost == 60.0


def test_without_a_rate_everything_is_due_at_once():
    pace = Pace(None, Clock())
    assert {pace.take(50) for _ in range(10)} == {0.0}


@pytest.mark.parametrize("bulk", [0, 3])
def test_a_hundred_operations_are_of_each_kind_as_many_as_its_share(bulk: int):
    mix = Mix(SMALL, Tally(), "a", bulk)
    counts = Counter(act.__name__.removeprefix("_") for _, act in (mix.next() for _ in range(100)))
    assert counts == Counter({**SHARES, "bulk": bulk, "plain": 100 - sum(SHARES.values()) - bulk})


def test_changesets_change_each_file_in_turn_with_unique_contents():
    mix = Mix(SMALL, Tally(), "a")
    bodies = [mix._rewrite(number, "") for number in range(800)]
    changes = [change for body in bodies for change in body["changes"]]
    assert len({change["path"] for change in changes}) == 1600  # the others are for pairs that collide or merge
    again = [change for number in range(800, 810) for change in mix._rewrite(number, "")["changes"]]
    assert len({change["content"] for change in changes + again}) == 1620
    assert {body["slice"] for body in bodies} == set(SMALL.slices())


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (b"sluice:{code}:v:2-01ARZ3NDEKTSV4RRFFQ69G5FAV:outcome:01ARZ3NDEKTSV4RRFFQ69G5FAX", "view outcome:*"),
        (b"sluice:{code}:v:2-01ARZ3NDEKTSV4RRFFQ69G5FAV:at:0fa3", "view at:*"),
        (b"sluice:{code}:v:2-01ARZ3NDEKTSV4RRFFQ69G5FAV:chain", "view chain"),
        (
            b"sluice:{code}:v:2-01ARZ3NDEKTSV4RRFFQ69G5FAV:decided:01ARZ3NDEKTSV4RRFFQ69G5FAX:landed",
            "view decided:*:landed",
        ),
        (b"sluice:{code}:queue:01ARZ3NDEKTSV4RRFFQ69G5FAX", "queue:*"),
        (b"sluice:{code}:lock:file:\xff\x00:b1234", "lock:file:*"),
        (b"sluice:{code}:key:a:b", "key:*"),
        (b"code:celery:commits", "celery commits"),
        (b"else", "other else"),
    ],
)
def test_keys_are_grouped_by_what_their_names_have_in_common(key: bytes, kind: str):
    assert kind_of(key, "code") == kind
