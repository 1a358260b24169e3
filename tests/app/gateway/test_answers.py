"""An answer is made once for all who ask for it, whatever becomes of them, of the folder and of Git."""

from __future__ import annotations

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import pytest

from app.gateway import answers as answers_module
from app.gateway.answers import Answers, Broken, Full, Reader, own_folder
from app.gateway.git_processes import Busy, GitProcess, GitProcesses
from tests.support.gateway import git

SIZE = 3 << 20


@pytest.fixture(scope="module")
def made_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a file of random bytes, so that a bundle is as large; tests work on copies."""
    folder = tmp_path_factory.mktemp("answers")
    source = folder / "source"
    source.mkdir()
    git(source, "init", "-q", "-b", "main")
    (source / "file").write_bytes(os.urandom(SIZE))
    git(source, "add", ".")
    git(source, "commit", "-qm", "One")
    git(folder, "clone", "-q", "--bare", str(source), "store")
    return folder / "store"


@pytest.fixture
def store(made_store: Path, tmp_path: Path) -> Path:
    """A repository of the test's own, as `made_store`."""
    return shutil.copytree(made_store, tmp_path / "store")


class Starts:
    """Starts bundles, and counts them."""

    def __init__(self, store: Path, most: int = 4) -> None:
        self.processes = GitProcesses(most, 0.05)
        self.store = store
        self.started: list[GitProcess] = []

    def __call__(self) -> GitProcess:
        self.started.append(self.processes.bundle(self.store))
        return self.started[-1]


def read(answer: IO[bytes] | Reader) -> bytes:
    try:
        if isinstance(answer, Reader):
            answer.begin()
            return b"".join(answer)
        return answer.read()
    finally:
        answer.close()


def settled(answers: Answers) -> None:
    """Wait for the threads that make answers."""
    for thread in [each for each in threading.enumerate() if each.name == "answer"]:
        thread.join()


def test_many_who_ask_at_once_get_one_answer(store: Path, tmp_path: Path) -> None:
    answers, start = Answers(tmp_path / "answers", 1 << 30), Starts(store)
    barrier = threading.Barrier(8)

    def ask(_: int) -> bytes:
        barrier.wait()
        return read(answers.open(store, "key", start))

    with ThreadPoolExecutor(8) as pool:
        got = set(pool.map(ask, range(8)))
    assert len(got) == 1 and len(got.pop()) > SIZE and len(start.started) == 1
    settled(answers)
    again = answers.open(store, "key", start)
    assert not isinstance(again, Reader) and len(read(again)) > SIZE and len(start.started) == 1
    read(answers.open(store, "other", start))
    assert len(start.started) == 2


def test_files_are_bounded_and_the_least_used_goes_first(store: Path, tmp_path: Path) -> None:
    answers, start = Answers(tmp_path / "answers", 4 * (SIZE + (64 << 10))), Starts(store)
    for key in "abcd":
        read(answers.open(store, key, start))
        settled(answers)
    read(answers.open(store, "a", start))
    assert len(start.started) == 4
    read(answers.open(store, "e", start))
    settled(answers)
    assert [answers.has(store, key) for key in "abcde"] == [True, False, True, True, True]
    files = [path for path in (tmp_path / "answers").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) == answers.kept_bytes <= 4 * (SIZE + (64 << 10))


def test_what_is_too_large_is_sent_and_not_kept_and_not_tried_again(store: Path, tmp_path: Path) -> None:
    answers, start = Answers(tmp_path / "answers", 4 * SIZE), Starts(store)
    assert answers.is_worth(store, "key")
    assert len(read(answers.open(store, "key", start))) > SIZE
    settled(answers)
    assert answers.kept_bytes == 0 and not answers.is_worth(store, "key")
    assert [path for path in (tmp_path / "answers").rglob("*") if path.is_file()] == []


def test_a_deleted_folder_costs_nothing_but_the_work(store: Path, tmp_path: Path) -> None:
    answers, start = Answers(tmp_path / "answers", 1 << 30), Starts(store)
    reader = answers.open(store, "key", start)
    shutil.rmtree(tmp_path / "answers")  # while it is made
    first = read(reader)
    settled(answers)
    assert read(answers.open(store, "key", start)) == first and len(start.started) == 2
    settled(answers)
    shutil.rmtree(tmp_path / "answers")
    assert read(answers.open(store, "key", start)) == first and len(start.started) == 3


def test_a_store_that_was_made_anew_gets_no_answer_of_the_one_before(
    store: Path, made_store: Path, tmp_path: Path
) -> None:
    answers, start = Answers(tmp_path / "answers", 1 << 30), Starts(store)
    read(answers.open(store, "key", start))
    settled(answers)
    shutil.rmtree(store)
    git(tmp_path, "clone", "-q", "--bare", str(made_store), "store")
    assert not answers.has(store, "key")
    read(answers.open(store, "key", start))
    assert len(start.started) == 2


def test_what_nobody_reads_is_ended_and_made_anew(store: Path, tmp_path: Path) -> None:
    answers, start = Answers(tmp_path / "answers", 1 << 30), Starts(store, most=1)
    reader = answers.open(store, "key", start)
    assert isinstance(reader, Reader)
    reader.close()
    settled(answers)
    assert len(read(answers.open(store, "key", start))) > SIZE, "its place was given back"


def test_a_process_that_dies_cuts_its_readers(store: Path, tmp_path: Path) -> None:
    answers, start = Answers(tmp_path / "answers", 1 << 30), Starts(store)
    reader = answers.open(store, "key", start)
    start.started[0].kill()
    with pytest.raises((BrokenPipeError, Broken), match="ended in the middle"):
        read(reader)
    settled(answers)
    assert answers.kept_bytes == 0 and len(read(answers.open(store, "key", start))) > SIZE


def test_one_reader_is_ended_without_the_others(store: Path, tmp_path: Path) -> None:
    answers, start = Answers(tmp_path / "answers", 1 << 30), Starts(store)
    one, other = answers.open(store, "key", start), answers.open(store, "key", start)
    assert isinstance(one, Reader)
    one.abort()
    with pytest.raises(BrokenPipeError, match="ended in the middle"):
        read(one)
    assert len(read(other)) > SIZE


def test_no_more_processes_run_than_may(store: Path) -> None:
    start = Starts(store, most=1)
    first = start()
    with pytest.raises(Busy):
        start()
    first.kill()
    assert first.finish() < 0
    start().finish()


def test_each_process_has_a_folder_of_its_own(tmp_path: Path) -> None:
    first, second = own_folder(tmp_path), own_folder(tmp_path)
    assert first != second and first.parent == second.parent == tmp_path


def test_what_processes_have_left_is_removed_and_what_others_have_is_not(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "kept").write_bytes(b"x")
    (tmp_path / "7.lock").touch()
    first = own_folder(tmp_path)
    first.mkdir()
    second = own_folder(tmp_path)
    assert not (tmp_path / "7").exists() and first.exists() and second != first


def test_what_is_kept_is_had_while_others_wait_for_their_turn_to_start(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers_module, "_STARTERS", 1)
    answers, start = Answers(tmp_path / "answers", 1 << 30), Starts(store)
    read(answers.open(store, "kept", start))
    settled(answers)
    waiting, goes_on = threading.Event(), threading.Event()

    def slow() -> GitProcess:
        waiting.set()
        assert goes_on.wait(60)
        return start()

    with ThreadPoolExecutor(2) as pool:
        other = pool.submit(lambda: read(answers.open(store, "other", slow)))
        assert waiting.wait(60)
        try:
            kept = pool.submit(lambda: read(answers.open(store, "kept", start)))
            assert len(kept.result(10)) > SIZE
        finally:
            goes_on.set()
        assert len(other.result(60)) > SIZE
    settled(answers)


def test_what_is_read_slowly_takes_no_more_disk_than_what_is_kept(store: Path, tmp_path: Path) -> None:
    answers, start = Answers(tmp_path / "answers", SIZE // 2), Starts(store)
    slow = answers.open(store, "one", start)
    settled(answers)
    with pytest.raises(Full):
        answers.open(store, "two", start)
    assert len(start.started) == 1, "who asks for it has a process of its own instead, and no file"
    assert len(read(slow)) > SIZE
    assert len(read(answers.open(store, "two", start))) > SIZE
    settled(answers)
