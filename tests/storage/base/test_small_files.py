"""Small files are read whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.base.small_files import read_small


def test_a_file_of_up_to_4096_bytes_is_read(tmp_path: Path) -> None:
    for content in (b"", b"13\n", b"x" * 4096):
        (tmp_path / "f").write_bytes(content)
        assert read_small(tmp_path / "f") == content


def test_a_larger_file_and_none_are_errors(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 4097)
    with pytest.raises(ValueError, match="more than 4096 bytes"):
        read_small(tmp_path / "f")
    with pytest.raises(FileNotFoundError):
        read_small(tmp_path / "g")
