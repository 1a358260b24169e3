"""What is pushed: forward only, nothing is overwritten, and tags behind their branch."""

from __future__ import annotations

from storage.mirrors.plan import Plan, plan

REF = "refs/heads/main"
LINE = ["a", "b", "c", "d"]  # each commit on the one before it


def planned(there: dict[str, str], tags: dict[str, str] | None = None, most: int = 10) -> Plan:
    def is_ancestor(old: str, new: str) -> bool:
        return old in LINE and LINE.index(old) <= LINE.index(new)

    def step(old: str, new: str) -> str:
        first = LINE.index(old) + 1 if old else 0
        return LINE[min(first + most - 1, LINE.index(new))]

    return plan(REF, "d", tags or {}, there, is_ancestor, step)


def test_a_branch_goes_forward_or_is_made() -> None:
    assert planned({}) == Plan((("d", REF),))
    assert planned({REF: "b"}) == Plan((("d", REF),))
    assert planned({REF: "d"}) == Plan()


def test_a_branch_that_is_not_behind_is_left_alone_and_so_are_its_tags() -> None:
    assert planned({REF: "x"}, {"v1": "b"}) == Plan(diverged=True)


def test_a_tag_is_made_once_and_never_moved_or_deleted() -> None:
    there = {REF: "d", "refs/tags/old": "o", "refs/tags/v1": "b"}
    assert planned(there, {"v1": "b", "v2": "c"}) == Plan((("c", "refs/tags/v2"),))
    assert planned(there, {"v1": "z"}) == Plan(other_tags=("v1",))


def test_a_long_way_is_pushed_in_steps_and_tags_come_with_the_last() -> None:
    assert planned({}, {"v1": "b"}, most=3) == Plan((("c", REF),))
    assert planned({REF: "c"}, {"v1": "b"}, most=3) == Plan((("d", REF), ("b", "refs/tags/v1")))
