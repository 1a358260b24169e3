"""Gathered rows do what the commands did that they were taken from, whenever they are taken out."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.view.object_index import ID_BYTES, ROW_BYTES, IndexRows

OIDS = st.integers(0, 5).map(lambda n: bytes([n]) * ID_BYTES)
PLACES = st.binary(min_size=ROW_BYTES - ID_BYTES, max_size=ROW_BYTES - ID_BYTES)
INDEX = st.lists(st.tuples(OIDS, PLACES).map(b"".join), min_size=1).map(lambda rows: ["INDEX", "at:", b"".join(rows)])
UNINDEX = st.lists(OIDS, min_size=1).map(lambda oids: ["UNINDEX", "at:", b"".join(oids)])
OTHER = st.text(max_size=3).map(lambda value: ["SET", "chain", value])
CHUNKS = st.lists(st.tuples(st.lists(INDEX | UNINDEX | OTHER, min_size=1), st.booleans()))


def carry_out(made: dict[bytes, bytes], chunk: bytes) -> list[tuple[bytes, ...]]:
    """Carry out a chunk as lua/rows.lua does; return the commands that are Redis's own."""
    others = []
    for command in msgpack.unpackb(chunk, raw=True):
        given = command[2]
        match command[0]:
            case b"INDEX":
                for at in range(0, len(given), ROW_BYTES):
                    made[given[at : at + ID_BYTES]] = given[at + ID_BYTES : at + ROW_BYTES]
            case b"UNINDEX":
                for at in range(0, len(given), ID_BYTES):
                    made.pop(given[at : at + ID_BYTES], None)
            case _:
                others.append(tuple(command))
    return others


@given(CHUNKS)
@pytest.mark.long
def test_what_is_gathered_is_what_the_commands_make(chunks: list[tuple[list[list[str | bytes]], bool]]) -> None:
    straight: dict[bytes, bytes] = {}
    gathered: dict[bytes, bytes] = {}
    rows = IndexRows()
    for commands, taken in chunks:
        chunk = msgpack.packb(commands, use_bin_type=False)
        others = carry_out(straight, chunk)
        assert [other for rest in rows.gather(chunk) for other in carry_out({}, rest)] == others
        for part in rows.take() if taken else ():
            carry_out(gathered, part)
    for part in rows.take():
        carry_out(gathered, part)
    assert gathered == straight and not len(rows) and not list(rows.take())


def test_rows_come_in_the_order_of_their_hashes() -> None:
    rows = IndexRows()
    for number in (3, 1, 2, 1):
        row = bytes([number]) * ID_BYTES + bytes(ROW_BYTES - ID_BYTES)
        rows.gather(msgpack.packb([["INDEX", "at:", row]], use_bin_type=False))
    [[[_, _, made]]] = [msgpack.unpackb(chunk, raw=True) for chunk in rows.take()]
    assert [made[at] for at in range(0, len(made), ROW_BYTES)] == [1, 2, 3]
