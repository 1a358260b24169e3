"""Connections that stay open: each of the file that stands there now, alone with its thread, and few of them."""

from __future__ import annotations

import os
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from storage.clones import connections
from storage.clones.connections import Connections


class Opened:
    """Opens files, and knows how often."""

    def __init__(self) -> None:
        self.times = 0
        self.made: list[sqlite3.Connection] = []

    def __call__(self, path: Path) -> sqlite3.Connection:
        self.times += 1
        made = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, check_same_thread=False)
        self.made.append(made)
        made.execute("SELECT * FROM said").fetchone()
        return made

    @property
    def open(self) -> int:
        """How many are open still."""
        return sum(not is_closed(each) for each in self.made)


def is_closed(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except sqlite3.ProgrammingError:
        return True
    return False


def written(path: Path, text: str) -> Path:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS said (text TEXT)")
        connection.execute("DELETE FROM said")
        connection.execute("INSERT INTO said VALUES (?)", (text,))
    return path


def read(some: Connections, path: Path) -> str:
    with some.reading(path) as connection:
        return str(connection.execute("SELECT text FROM said").fetchone()[0])


@pytest.fixture
def opened() -> Opened:
    return Opened()


@pytest.fixture
def some(opened: Opened) -> Connections:
    return Connections(opened)


def test_a_file_is_opened_once_and_what_others_write_is_read(some: Connections, opened: Opened, tmp_path: Path) -> None:
    file = written(tmp_path / "a", "one")
    assert read(some, file) == "one"
    written(file, "two")
    assert (read(some, file), opened.times) == ("two", 1)


def test_another_file_in_its_place_is_read(some: Connections, opened: Opened, tmp_path: Path) -> None:
    file = written(tmp_path / "a", "old")
    assert read(some, file) == "old"
    written(tmp_path / "b", "new").rename(file)
    assert (read(some, file), opened.times, opened.open) == ("new", 2, 1)


def test_a_file_that_is_gone_is_an_error_and_not_made(some: Connections, opened: Opened, tmp_path: Path) -> None:
    file = written(tmp_path / "a", "old")
    read(some, file)
    file.unlink()
    with pytest.raises(sqlite3.OperationalError):
        read(some, file)
    assert not file.exists() and is_closed(opened.made[0])


def test_a_file_that_is_overwritten_in_its_place_is_an_error(some: Connections, opened: Opened, tmp_path: Path) -> None:
    file = written(tmp_path / "a", "old")
    read(some, file)
    file.write_bytes(b"damaged")
    with pytest.raises(sqlite3.DatabaseError):
        read(some, file)
    assert opened.open == 0
    shutil.copy(written(tmp_path / "b", "mended"), file)
    assert read(some, file) == "mended"


def test_two_who_read_at_once_have_one_each(some: Connections, opened: Opened, tmp_path: Path) -> None:
    file = written(tmp_path / "a", "one")
    with some.reading(file) as first, some.reading(file) as second:
        assert first is not second
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: read(some, file), range(400))) == {"one"}
    assert opened.open == opened.times <= 10


def test_only_so_many_stay_open(
    some: Connections, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_MOST_IDLE", 2)
    files = [written(tmp_path / str(number), str(number)) for number in range(4)]
    assert [read(some, file) for file in files] == ["0", "1", "2", "3"]
    assert [is_closed(each) for each in opened.made] == [True, True, False, False]


def test_what_was_deleted_is_closed_by_a_read_of_another_file(
    some: Connections, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = written(tmp_path / "a", "one"), written(tmp_path / "b", "other")
    read(some, one)
    one.unlink()
    monkeypatch.setattr(connections, "_LOOK_EVERY", 0.0)
    read(some, other)
    assert [is_closed(each) for each in opened.made] == [True, False]


def test_a_failed_read_gives_nothing_back(some: Connections, opened: Opened, tmp_path: Path) -> None:
    file = written(tmp_path / "a", "one")
    with pytest.raises(ZeroDivisionError), some.reading(file):
        raise ZeroDivisionError
    assert opened.open == 0 and read(some, file) == "one"


def test_a_forked_process_uses_none_of_its_parents(some: Connections, opened: Opened, tmp_path: Path) -> None:
    file = written(tmp_path / "a", "one")
    read(some, file)
    child = os.fork()
    if not child:
        said = 1
        try:
            said = 0 if (read(some, file), opened.times) == ("one", 2) and not is_closed(opened.made[0]) else 2
        finally:
            os._exit(said)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (read(some, file), opened.times) == ("one", 1)
