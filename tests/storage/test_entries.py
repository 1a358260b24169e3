"""Entries of every format that was ever written are read for ever, and mean what they meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.entries import NO_HASH, CorruptEntry, Effects, digest, effects, encode, place_of
from storage.ids import Seq
from storage.log import follow

ENTRIES = Path(__file__).parents[1] / "testdata" / "entries"
KINDS = ("genesis", "slices", "commits", "merge")
# The hash of the last of them: whoever changes the bytes of an old entry changes this.
LAST = "7f837293b80800f4abd0a8ced8410b918590977b8ca498594d1188e2ab4beacf"


def stored() -> list[tuple[Seq, bytes]]:
    return [(Seq(seq), (ENTRIES / f"v1-{kind}.json").read_bytes()) for seq, kind in enumerate(KINDS, 1)]


def rows() -> list[Effects]:
    return [effects(entry, entry_hash) for entry, entry_hash in follow(iter(stored()), NO_HASH)]


def test_entries_of_format_1_are_read_and_chained() -> None:
    followed = list(follow(iter(stored())))
    assert [entry["kind"] for entry, _ in followed] == list(KINDS)
    assert followed[-1][1] == LAST


def test_an_entry_is_the_same_bytes_when_it_is_written_again() -> None:
    assert [encode(entry) for entry, _ in follow(iter(stored()))] == [data for _, data in stored()]


def test_what_they_set_in_the_view() -> None:
    genesis, slices, commits, merge = rows()
    assert genesis.head["through"] == 1 and genesis.head["committed"] == 0
    assert slices.hashes["slice_ids"] == {"all": "01ARZ3NDEKTSV4RRFFQ69G5FA3"}
    assert slices.sorted_sets["covers:/"] == {"01ARZ3NDEKTSV4RRFFQ69G5FA3": 0}
    first, second, third, fourth = ("01ARZ3NDEKTSV4RRFFQ69G5FA" + last for last in "VWXY")
    assert commits.sorted_sets["chain"] == {first: place_of(3, 0), second: place_of(3, 1)}
    assert commits.sorted_sets["decided:all:conflicted"] == {third: place_of(3, 2)}
    assert commits.sorted_sets["decided:gone:rejected"] == {fourth: place_of(3, 3)}
    assert commits.firsts["key:k"] == f"{first} f"
    assert commits.head["committed"] == 2 and merge.head["merged"] == 2 and merge.head["through"] == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.replace(b'"format":1', b'"format":2'),
        lambda data: data.replace(b'"seq":3', b'"seq":4'),
        lambda data: data[:-1],
        lambda data: b"[]",
        lambda data: data.replace(b'"committed":2', b'"committed":3'),
    ],
    ids=["another format", "another place", "cut short", "no object", "another content"],
)
def test_a_damaged_entry_is_never_followed(damage) -> None:
    entries = stored()
    entries[2] = (entries[2][0], damage(entries[2][1]))
    assert entries[2][1] != stored()[2][1]
    with pytest.raises(CorruptEntry):
        list(follow(iter(entries)))


def test_an_entrys_hash_is_that_of_its_bytes() -> None:
    assert digest(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
