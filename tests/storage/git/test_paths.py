"""Paths as Git prints and reads them, as records have them, and as answers tell them."""

from __future__ import annotations

import json
from base64 import b64decode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.git.paths import path_json, paths_json, quoted, raw_path, recorded_path


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (b"a/b c~.d", b"a/b c~.d"),
        (b'say "x"', b'"say \\"x\\""'),
        (b"a\\b", b'"a\\\\b"'),
        (b"\a\b\t\n\v\f\r", b'"\\a\\b\\t\\n\\v\\f\\r"'),
        (b"\0\x1f\x7f", b'"\\000\\037\\177"'),
        ("ä".encode(), b'"\\303\\244"'),
    ],
)
def test_a_path_is_in_quotes_where_something_is_unusual(path: bytes, shown: bytes) -> None:
    assert quoted(path) == shown
    assert quoted(path, always=True) == (shown if shown.startswith(b'"') else b'"%b"' % shown)


BYTE_PATHS = st.lists(
    st.one_of(
        st.sampled_from(
            [b"a", b"\xff", b"\xe9", b"\xc3", b"\xa9", b"\xed\xa0\x80", b"/", b"00", b"e9", "ü\u2028".encode()]
        ),
        st.binary(min_size=1, max_size=3),
    ),
    min_size=1,
).map(lambda parts: b"".join(parts).replace(b"\0", b""))


@given(BYTE_PATHS, BYTE_PATHS)
def test_every_path_comes_back_from_a_record_and_from_an_answer(path: bytes, other: bytes) -> None:
    text = recorded_path(path)
    assert raw_path(text) == path and json.loads(json.dumps(text)) == text
    assert msgspec.json.decode(msgspec.json.encode(text)) == text, "which takes Unicode alone"
    assert (recorded_path(other) == text) == (other == path), "one text for each path"
    [(name, told)] = path_json("at", path).items()
    if is_utf8(path):
        assert (name, told.encode(), text) == ("at", path, told)
    else:
        assert (name, b64decode(told)) == ("at_base64", path)
        assert b"\0" in text.encode(), "which no path has: whoever takes it for one finds nothing"


@given(BYTE_PATHS, BYTE_PATHS)
def test_the_text_of_a_path_is_that_of_its_parts(folder: bytes, name: bytes) -> None:
    assert recorded_path(folder + b"/" + name) == f"{recorded_path(folder)}/{recorded_path(name)}"


def test_a_list_of_paths_has_those_that_are_not_utf8_beside_it() -> None:
    assert paths_json("paths", ["a", b"b"]) == {"paths": ["a", "b"]}
    assert paths_json("paths", [b"\xff", "a", recorded_path(b"\xe9")]) == {
        "paths": ["a"],
        "paths_base64": ["/w==", "6Q=="],
    }
    assert paths_json("paths", []) == {"paths": []}


def is_utf8(path: bytes) -> bool:
    try:
        path.decode()
    except UnicodeDecodeError:
        return False
    return True
