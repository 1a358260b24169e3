"""Log files of `sluice up`: bounded, while their processes go on writing."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from app.stack.log_files import Rotating, Rotation, log_files_of
from app.stack.processes import Command, Supervisor

LINE = b"x" * 99 + b"\n"


def test_a_file_that_is_too_large_becomes_the_newest_of_the_older_ones(tmp_path: Path) -> None:
    file, rotation = tmp_path / "api.log", Rotation(most_bytes=100, kept=2)
    assert not rotation.apply(file)
    for number in (1, 2, 3):
        file.write_bytes(LINE + b"%d\n" % number)
        assert rotation.apply(file) and file.read_bytes() == b""
    file.write_bytes(LINE)
    assert not rotation.apply(file), "it has just the size"
    assert [each.read_bytes() for each in log_files_of(file)] == [LINE + b"2\n", LINE + b"3\n", LINE]


def test_where_none_is_kept_a_file_is_emptied(tmp_path: Path) -> None:
    file = tmp_path / "api.log"
    file.write_bytes(LINE * 2)
    assert Rotation(most_bytes=100, kept=0).apply(file)
    assert log_files_of(file) == [file] and file.read_bytes() == b""


@pytest.mark.long
def test_a_process_goes_on_writing_whole_lines_into_bounded_files(tmp_path: Path) -> None:
    script = "import os\nfor i in range(2000): os.write(1, b'%098d\\n' % i)\nos.write(1, b'done\\n')\nos.read(0, 1)"
    rotation = Rotation(most_bytes=20_000, kept=3)
    with Supervisor(tmp_path, restart=False, abrupt=True, rotation=rotation) as supervisor:
        supervisor.start(Command("writer", [sys.executable, "-c", script], {}, tmp_path))
        file = supervisor.processes["writer"].log_file
        until = time.monotonic() + 60
        while not (log_files_of(file)[-2:-1] and b"done" in b"".join(map(Path.read_bytes, log_files_of(file)))):
            assert time.monotonic() < until
            time.sleep(0.05)
    lines = b"".join(map(Path.read_bytes, log_files_of(file))).splitlines()
    numbers = [int(line) for line in lines if line != b"done"]
    assert numbers == sorted(numbers) and {len(line) for line in lines} <= {98, 4}
    assert len(log_files_of(file)) <= 4 and file.stat().st_size <= rotation.most_bytes


def test_files_are_looked_at_until_it_is_ended(tmp_path: Path) -> None:
    rotating = Rotating(Rotation(100, 1), lambda: [tmp_path / "none.log"])
    rotating.begin()
    rotating.begin()
    rotating.end()
    assert not rotating.runs
