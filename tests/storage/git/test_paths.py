"""Paths as Git prints and reads them."""

from __future__ import annotations

import pytest

from storage.git.paths import quoted


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
