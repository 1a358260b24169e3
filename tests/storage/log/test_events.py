"""What entries tell: the same to everybody, in log order, under ids that mean a place in the log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from storage.base.ids import Seq
from storage.log.entry import Close, Entry, Release, Released, decode
from storage.log.events import NOTHING, EntryEvents, Event, Position, behind, events, events_of, parse
from storage.log.records import Decided, Status
from tests.support.persisted import TESTDATA, published, ulid


def entry(kind: str) -> Entry:
    return decode((TESTDATA / "entries" / f"v1-{kind}.json").read_bytes())


def with_record(index: int, **fields: Any) -> Entry:
    """The entry of commits, with other fields in a record of it."""
    records = list(entry("commits").decided)
    records[index] = replace(records[index], **fields)
    return replace(entry("commits"), decided=tuple(records))


def test_commits_with_their_global_commit_tell_what_they_decided_and_then_what_landed() -> None:
    told = events_of(decode(published()[1]))
    about = {"id": ulid("G0"), "slice": ulid("A3"), "seq": 12, "commit": "7" * 40}
    abandoned = {"id": ulid("G1"), "slice": ulid("A3"), "seq": 12, "status": "abandoned"}
    assert told.count == 3 and not told.landing
    assert shown(told) == [
        (0, "committed", {**about, "status": "committed"}),
        (1, "abandoned", abandoned),
        (2, "landed", {**about, "status": "landed"}),
    ]
    assert [index for index, *_ in shown(told, skip=2)] == [2]


def shown(told: EntryEvents, *commits: EntryEvents, skip: int = 0) -> list[tuple[int, str, dict[str, Any]]]:
    return [(index, event.name, json.loads(event.data)) for index, event in events(told, commits, skip)]


def test_commits_tell_one_event_for_each_record_with_what_its_status_needs() -> None:
    ids = ["01ARZ3NDEKTSV4RRFFQ69G5FA" + last for last in "VWXY"]
    about = {"slice": "all", "seq": 3}
    first = {"id": ids[0], "status": "committed", "commit": "da23aa6719007a46a16b9d85dd6643a8925b2ef9", **about}
    second = {"id": ids[1], "status": "committed", "commit": "3c091c070a7013e84feab3bb1f9205e224df3659", **about}
    third = {"id": ids[2], "status": "conflicted", "conflicts": ["f"], **about}
    detail = "its slice has been deleted"
    fourth = {"id": ids[3], "status": "rejected", "reason": "no-such-slice", "detail": detail, **about, "slice": "gone"}
    assert shown(events_of(entry("commits"))) == [
        (0, "committed", first),
        (1, "committed", second),
        (2, "conflicted", third),
        (3, "rejected", fourth),
    ]


def test_a_merge_tells_of_every_commit_of_its_entries_and_of_nothing_else() -> None:
    merge, commits = events_of(entry("merge")), events_of(entry("commits"))
    told = shown(merge, NOTHING, commits, NOTHING)
    assert [(index, name, data["id"][-1], data["status"]) for index, name, data in told] == [
        (0, "landed", "V", "landed"),
        (1, "landed", "W", "landed"),
    ]
    assert merge.count == len(told) == 2
    assert told[0][2]["commit"] == "da23aa6719007a46a16b9d85dd6643a8925b2ef9" and told[0][2]["seq"] == 3


def test_a_resolution_names_what_it_replaces_and_an_abandon_is_an_event() -> None:
    resolving = with_record(0, resolves="01ARZ3NDEKTSV4RRFFQ69G5FAA")
    abandoned = Decided(id="i", slice="s", pack="p", status=Status.ABANDONED)
    with_both = replace(resolving, decided=(resolving.decided[0], abandoned))
    [(_, _, first), (_, name, second)] = shown(events_of(with_both))
    assert first["resolves"] == "01ARZ3NDEKTSV4RRFFQ69G5FAA"
    assert name == "abandoned" and second == {"id": "i", "slice": "s", "status": "abandoned", "seq": 3}


def test_a_release_tells_of_each_changeset() -> None:
    release = Release(seq=Seq(9), released=(Released(id="a", slice="s"), Released(id="b", slice="t")))
    assert shown(events_of(release)) == [
        (0, "released", {"id": "a", "slice": "s", "status": "queued", "seq": 9}),
        (1, "released", {"id": "b", "slice": "t", "status": "queued", "seq": 9}),
    ]


@pytest.mark.parametrize("kind", ["genesis", "slices"])
def test_other_entries_tell_nothing(kind: str) -> None:
    assert events_of(entry(kind)) == NOTHING and shown(NOTHING) == []
    assert events_of(Close(seq=Seq(5), closed=())).count == 0


def test_an_event_is_one_line_whatever_a_path_contains() -> None:
    [conflict] = entry("commits").decided[2].conflicts
    said = with_record(2, conflicts=(replace(conflict, path="a\r\n\n\u2028\x85ü"),))
    data = events_of(said).events[2].data
    assert data.isascii() and len(data.splitlines()) == 1
    assert json.loads(data)["conflicts"] == ["a\r\n\n\u2028\x85ü"]


def merge_of(sizes: list[int]) -> tuple[EntryEvents, list[EntryEvents]]:
    """A merge, and what its entries tell: entries of so many commits each."""
    names = iter(range(sum(sizes)))
    commits = [
        EntryEvents(landing=tuple(Event("landed", "s", str(next(names))) for _ in range(size))) for size in sizes
    ]
    return events_of(replace(entry("merge"), seq=99, first=5, through=99, changesets=sum(sizes))), commits


@given(st.lists(st.integers(0, 4), max_size=6), st.integers(0, 30))
def test_whoever_goes_on_anywhere_is_told_the_rest(sizes: list[int], skip: int) -> None:
    merge, commits = merge_of(sizes)
    everything = [(index, event.data) for index, event in events(merge, commits)]
    assert everything == [(i, str(i)) for i in range(sum(sizes))]
    assert [(index, event.data) for index, event in events(merge, commits, skip)] == everything[skip:]


def test_the_entries_of_a_merge_are_taken_one_after_the_other() -> None:
    merge, commits = merge_of([2] * 1000)
    taken = 0

    def read() -> Iterator[EntryEvents]:
        nonlocal taken
        for each in commits:
            taken += 1
            yield each

    told = events(merge, read())
    for expected in (1, 1, 2, 2, 3):
        next(told)
        assert taken == expected


@given(st.integers(1, 10**12 - 1), st.integers(0, 10**9 - 1))
def test_an_id_says_behind_which_event_somebody_stands(seq: int, index: int) -> None:
    position = parse(f"{seq}-{index}")
    assert position == Position(seq, index + 1) and str(position) == f"{seq}-{index}" and position.named == seq
    assert parse(str(seq)) == behind(seq) == Position(seq + 1) and str(behind(seq)) == str(seq)
    assert behind(seq).named == seq
    assert parse("0") < parse(str(seq - 1)) or seq == 1
    assert parse(str(seq - 1)) < position < parse(str(seq))


@pytest.mark.parametrize(
    "text",
    ["", "-", "1-", "-1", "01", "1-01", "0-0", "+1", " 1", "1\n", "1-2-3", "1.5", "x", "١", "9" * 13, "1-" + "9" * 10],
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not the id of an event"):
        parse(text)
