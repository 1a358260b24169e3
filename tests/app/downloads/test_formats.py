"""The formats of archives: more entries than plain zip has room for, and names that do not fit into ustar."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.downloads import tar_format
from app.downloads.archive import FORMATS
from app.downloads.files import Directories, File
from storage.git.objects import EXECUTABLE_MODE, FILE_MODE, SYMLINK_MODE, Kind, object_id
from tests.support.trees import NAMES

COMMIT = "8d" * 20
TIME = 1_700_000_001


def archive_of(form: str, contents: dict[bytes, tuple[int, bytes]]) -> bytes:
    made = FORMATS[form](COMMIT, TIME)
    files = [File(path, mode, object_id(Kind.BLOB, data)) for path, (mode, data) in contents.items()]
    parts = [made.begin(), *(made.add(file, contents[file.path][1]) for file in files), *made.end(iter(files))]
    return b"".join(parts)


@pytest.mark.long
def test_a_zip_of_more_entries_than_two_bytes_count_is_a_zip64() -> None:
    contents = {b"d%03d/f%d" % (i // 1000, i): (FILE_MODE, b"%d" % i) for i in range(66_000)}
    with zipfile.ZipFile(io.BytesIO(archive_of("zip", contents))) as archived:
        names = archived.namelist()
        assert len(names) == 66_066 and names[:2] == ["d000/", "d000/f0"]
        assert archived.read("d065/f65999") == b"65999"
        assert archived.comment == COMMIT.encode()


def test_what_stands_behind_four_gigabytes_has_a_wide_offset() -> None:
    made = FORMATS["zip"](COMMIT, TIME)
    row = made._central(b"far", FILE_MODE, 0, (1, 2, 3), 5 << 30)  # type: ignore[attr-defined]
    assert struct.unpack_from("<I", row, 42) == (0xFFFFFFFF,)
    assert struct.unpack_from("<HHQ", row, len(row) - 12) == (1, 8, 5 << 30)


@pytest.mark.parametrize("time", [0, 315_532_801, 4_102_444_800, 1 << 62])
def test_a_zip_has_times_that_it_can_write(time: int) -> None:
    made = FORMATS["zip"](COMMIT, time)
    file = File(b"f", FILE_MODE, object_id(Kind.BLOB, b"x"))
    data = b"".join([made.begin(), made.add(file, b"x"), *made.end(iter([file]))])
    with zipfile.ZipFile(io.BytesIO(data)) as archived:
        assert archived.getinfo("f").date_time >= (1980, 1, 1, 0, 0, 0) and archived.read("f") == b"x"


def _texts(length: int) -> Iterator[bytes]:
    yield from (
        b"a" * length,
        b"a" * (length // 2) + b"/" + b"b" * (length - length // 2 - 1),
        "ä".encode() * (length // 2),
    )


@given(st.binary(min_size=256, max_size=256) | st.just(b"\xff" * 256))
def test_the_checksum_of_a_header_is_the_sum_of_its_bytes(half: bytes) -> None:
    assert tar_format._sum(half) == sum(half)


@pytest.mark.parametrize("length", [1, 99, 100, 101, 102, 155, 156, 157, 200, 254, 256, 257, 300, 4000])
@pytest.mark.parametrize("form", ["tar", "tar.gz"])
def test_names_and_targets_of_any_length_are_read_back(form: str, length: int) -> None:
    for path in _texts(length):
        if not path or path.endswith(b"/") or path.startswith(b"/"):
            continue
        contents = {path: (EXECUTABLE_MODE, b"x" * 513), path + b"z": (SYMLINK_MODE, path)}
        with tarfile.open(fileobj=io.BytesIO(archive_of(form, contents))) as archived:
            assert archived.pax_headers["comment"] == COMMIT
            first, second = (entry for entry in archived if not entry.isdir())
            assert (first.name.encode(), first.mode, first.mtime) == (path, 0o775, TIME)
            assert archived.extractfile(first).read() == b"x" * 513  # type: ignore[union-attr]
            assert (second.name.encode(), second.linkname.encode()) == (path + b"z", path)


@given(st.sets(st.lists(NAMES, min_size=1, max_size=5).map(b"/".join), max_size=20))
def test_each_directory_is_named_once_and_before_what_it_has(paths: set[bytes]) -> None:
    files = sorted(path + b"/f" for path in paths)
    directories = Directories()
    named: list[bytes] = []
    for path in files:
        named += directories.above(path)
        above = [path[: i + 1] for i, byte in enumerate(path) if byte == ord("/")]
        assert set(above) <= set(named)
    assert len(named) == len(set(named))
