"""Tables: what was put in is found by one short range, merged ones have what their parts had."""

from __future__ import annotations

import random
from hashlib import sha1

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.log.entry import TableRow
from storage.lookup import tables
from storage.lookup.tables import (
    HEAD_BYTES,
    MERGED,
    ROW_BYTES,
    CorruptTable,
    due,
    encode,
    find,
    head_of,
    merged,
    oldest_first,
    prefix_of,
    rows_of,
)


def rows(count: int, seed: str = "") -> dict[bytes, bytes]:
    """Return so many rows with keys as hashes are."""
    return {sha1(f"{seed}{i}".encode()).digest(): b"%030d" % i for i in range(count)}


def look_up(data: bytes, key: bytes) -> tuple[bytes | None, int]:
    """Return a key's value as a reader of ranges finds it, and how many bytes were read beside the header."""
    offset, length = head_of(data[:HEAD_BYTES]).span(key)
    return find(data[offset : offset + length], key), length


@pytest.mark.parametrize("count", [0, 1, 2, 127, 128, 129, 5000])
def test_every_row_is_found_and_nothing_else(count: int) -> None:
    there, absent = rows(count), rows(50, "absent")
    data = encode(there)
    assert dict(rows_of(data)) == there
    assert {key: look_up(data, key)[0] for key in there} == there
    assert {look_up(data, key)[0] for key in absent} == {None}


def test_a_look_up_reads_a_short_range_whatever_the_size() -> None:
    sizes = {}
    for count in (1000, 100_000):
        there = rows(count)
        data = encode(there)
        sizes[count] = max(look_up(data, key)[1] for key in list(there)[:500])
    assert sizes[100_000] <= 250 * ROW_BYTES and sizes[1000] <= 250 * ROW_BYTES


@given(st.binary(min_size=0, max_size=400), st.binary(min_size=20, max_size=20))
def test_bytes_that_look_like_a_key_inside_a_row_are_no_key(noise: bytes, key: bytes) -> None:
    values = [(noise + key)[i : i + 30].ljust(30, b"x") for i in range(0, len(noise) + 20, 30)]
    run = b"".join(sha1(value).digest() + value for value in values)
    assert find(run, key) is None
    assert find(run + key + b"v" * 30, key) == b"v" * 30


def whole(count: int, seed: str) -> tuple[TableRow, bytes]:
    return TableRow(seed, 0, 0, 0), encode(rows(count, seed))


def test_tables_are_merged_and_the_newest_row_stays() -> None:
    older, newer = rows(1000, "a"), rows(1000, "b")
    both = next(iter(older))
    newer[both] = b"n" * 30
    [(bits, prefix, data)] = merged([(TableRow("1", 0, 0, 0), encode(older)), (TableRow("2", 0, 0, 0), encode(newer))])
    assert (bits, prefix) == (0, 0) and dict(rows_of(data)) == older | newer
    assert all(look_up(data, key)[0] == value for key, value in (older | newer).items())


def test_a_table_that_would_be_too_large_is_cut_by_two_more_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_ROWS", 1500)
    parts = merged([whole(1000, "a"), whole(1000, "b")])
    assert [(bits, prefix) for bits, prefix, _ in parts] == [(2, 0), (2, 1), (2, 2), (2, 3)]
    assert {key: value for *_, data in parts for key, value in rows_of(data)} == rows(1000, "a") | rows(1000, "b")
    for bits, prefix, data in parts:
        table = TableRow("x", 1, bits, prefix)
        assert all(prefix_of(key, table.bits) == table.prefix for key, _ in rows_of(data)) and head_of(data).common == 2
        assert all(look_up(data, key)[0] == value for key, value in rows_of(data))
    monkeypatch.setattr(tables, "MAX_ROWS", 100)
    deeper = merged([(TableRow("x", 1, 2, 2), parts[2][2])])
    assert {(bits, prefix >> 2) for bits, prefix, _ in deeper} == {(4, 2)}
    assert all(look_up(data, key)[0] == value for *_, data in deeper for key, value in rows_of(data))
    monkeypatch.setattr(tables, "MAX_ROWS", 1000)
    [(bits, prefix, _)] = merged([(TableRow("x", 1, 2, 2), parts[2][2])])
    assert (bits, prefix) == (2, 2), "it keeps what its keys have in common"


def test_there_are_few_tables_whatever_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_ROWS", 200)
    rng, there, expected = random.Random(1), {}, {}
    for i in range(300):
        made = rows(rng.randint(1, 40), str(i))
        expected |= made
        there[TableRow(f"{i:03}", 0, 0, 0)] = encode(made)
        while group := due(there):
            assert len(group) == MERGED
            for bits, prefix, data in merged([(table, there[table]) for table in group]):
                assert head_of(data).rows <= tables.MAX_ROWS
                there[TableRow(f"{i:03}/{prefix}", group[0].level + 1, bits, prefix)] = data
            for table in group:
                del there[table]
        levels = len({table.level for table in there})
        for key in list(made)[:2]:
            assert sum(prefix_of(key, table.bits) == table.prefix for table in there) <= (MERGED - 1) * 2 * levels
        # A fourth of MAX_ROWS at least stands in a table that was cut.
        assert len(there) <= (MERGED - 1) * levels + 4 * len(expected) // (tables.MAX_ROWS // 4)
    found = {key: value for table in oldest_first(there) for key, value in rows_of(there[table])}
    assert found == expected
    assert all(prefix_of(key, table.bits) == table.prefix for table, data in there.items() for key, _ in rows_of(data))


@pytest.mark.parametrize("damage", [slice(0, -1), slice(1, None), slice(0, 10)])
def test_a_damaged_table_is_refused(damage: slice) -> None:
    with pytest.raises(CorruptTable):
        list(rows_of(encode(rows(300))[damage]))


def test_a_changed_byte_is_noticed_where_a_table_is_read_whole() -> None:
    data = bytearray(encode(rows(300)))
    data[-100] ^= 1
    with pytest.raises(CorruptTable):
        list(rows_of(bytes(data)))
