"""A cursor goes on with the list that gave it, and with no other."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.protocol import cursors
from app.protocol.problems import Problem
from storage.base.settings import Settings

POSITIONS = st.lists(
    st.integers(0, cursors.MAX_NUMBER) | st.text(st.characters(exclude_categories=["Cs"])) | st.binary()
).map(tuple)


@given(POSITIONS)
def test_a_cursor_gives_its_position_back(position: cursors.Position) -> None:
    cursor = cursors.encode("commits", {"slice": "web", "status": None}, position)
    assert cursors.decode(cursor, "commits", {"slice": "web"}, tuple(map(type, position))) == position


@pytest.mark.parametrize(
    ("name", "filters"),
    [
        ("tree", {"slice": "web"}),
        ("commits", {"slice": "app"}),
        ("commits", {}),
        ("commits", {"slice": "web", "path": "a"}),
    ],
)
def test_a_cursor_of_another_list_is_refused(name: str, filters: dict[str, str]) -> None:
    cursor = cursors.encode("commits", {"slice": "web"}, (7,))
    with pytest.raises(Problem, match="another list") as raised:
        cursors.decode(cursor, name, filters, (int,))
    assert raised.value.status == 422
    assert raised.value.errors[0]["field"] == "cursor"


def forged(data: bytes) -> str:
    """A cursor with the right head and any position."""
    head = base64.urlsafe_b64decode(cursors.encode("commits", {}, ()) + "==")[:9]
    return base64.urlsafe_b64encode(head + data).rstrip(b"=").decode()


# What is a position after all, where a list has positions of that kind.
FITTING: dict[tuple[type, ...], set[str]] = {
    (str,): {forged(data) for data in [b'["7"]', b'["YQ"]', b'["YQ=="]', b'["YR=="]', b'["*"]', '["é"]'.encode()]},
    (bytes,): {forged(b'["YQ=="]')},
}


@pytest.mark.parametrize(
    "cursor",
    [
        *[
            "",
            "x",
            "abc",
            "é",
            "a b",
            "=",
            "AAAA",
            "A" * 9000,
            "\ud800",
            "AQ" + "A" * 20,
            cursors.encode("commits", {}, (7,)) + "=",
        ],
        *[
            forged(data)
            for data in [b"", b"7", b"[7", b"[7,8]", b'["7"]', b"[true]", b"[7.0]", b"[ 7]", b"\xff", b"[" * 5000]
        ],
        *[forged(b"[%d]" % number) for number in [-1, cursors.MAX_NUMBER + 1, 10**4299]],
        *[forged(data) for data in [b'["\\ud800"]', b'["YQ"]', b'["YQ=="]', b'["YR=="]', b'["*"]', '["é"]'.encode()]],
    ],
)
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    for kinds in ((int,), (str,), (bytes,)):
        if cursor in FITTING.get(kinds, ()):
            continue
        with pytest.raises(Problem) as raised:
            cursors.decode(cursor, "commits", {}, kinds)
        assert raised.value.errors[0]["field"] == "cursor"


def test_the_longest_path_fits_whatever_it_is_made_of() -> None:
    path = b"/".join([b"\x01" * 255] * 16)
    assert len(path) == Settings().max_path_bytes - 1
    cursor = cursors.encode("tree", {}, (path,))
    assert cursors.decode(cursor, "tree", {}, (bytes,)) == (path,)
