"""A machine on which no thread can be started for a moment: nothing is stuck behind that."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.gateway.answers import Answers, Reader
from app.gateway.bundles import Bundles
from app.gateway.git_processes import GitProcesses
from app.gateway.stores import CatchingUp, Store
from storage.base.ids import Seq
from storage.base.threads import NoThread
from storage.clones.locks import Busy
from storage.clones.stores import Runs
from tests.support.git_repository import GitRepository
from tests.support.waiting import await_true as until


@contextmanager
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as short:
        short.setattr(threading.Thread, "start", start)
        yield


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return GitRepository.begun(tmp_path / "store").path / ".git"


def test_an_answer_gives_back_its_process_and_is_made_at_the_next_try(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = GitProcesses(1, 10.0)
    answers = Answers(tmp_path / "answers", 1 << 30)
    with no_threads(monkeypatch), pytest.raises(NoThread):
        answers.open(store, "key", lambda: processes.bundle(store))
    assert not [path for path in (tmp_path / "answers").rglob("*") if path.is_file()]
    made = answers.open(store, "key", lambda: processes.bundle(store))
    assert isinstance(made, Reader)
    assert b"".join(made).startswith(b"# v2 git bundle")
    made.close()


def test_a_bundle_is_made_at_the_next_try(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers(tmp_path / "answers", 1 << 30)
    bundles = Bundles(answers, GitProcesses(1, 10.0), 1)
    (store / "objects" / "pack" / "pack-1.pack").write_bytes(b"some bytes")

    @contextmanager
    def using() -> Iterator[Path]:
        yield store

    here: Any = SimpleNamespace(path=store, using=using)
    with no_threads(monkeypatch):
        bundles.consider(here, b"1" * 40)
    assert not bundles.is_there(here)
    (store / "objects" / "pack" / "pack-1.pack").unlink()
    (store / "objects" / "pack" / "pack-2.pack").write_bytes(b"some more bytes")
    bundles.consider(here, b"2" * 40)
    until(lambda: bundles.is_there(here))


def test_a_store_catches_up_at_the_next_try(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clone: Any = SimpleNamespace(path=store, catch_up=lambda seq: seq)
    catching_up = Store(clone)
    with no_threads(monkeypatch), pytest.raises(NoThread):
        catching_up.catch_up(Seq(3), 10.0)
    catching_up.catch_up(Seq(3), 10.0)


def test_a_store_that_is_busy_for_ever_is_asked_only_as_long_as_somebody_waits(store: Path) -> None:
    asked: list[int] = []

    def busy(seq: int) -> Seq:
        asked.append(seq)
        raise Busy

    clone: Any = SimpleNamespace(path=store, folder=store, catch_up=busy)
    catching_up = Store(clone)
    with pytest.raises(CatchingUp):
        catching_up.catch_up(Seq(3), 0.3)
    assert len(asked) > 1
    until(lambda: not catching_up._is_catching_up)


def test_a_clone_store_is_brought_up_at_the_next_try(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs()
    with no_threads(monkeypatch), pytest.raises(NoThread):
        runs.join("store", lambda: Seq(1))
    run, is_ours = runs.join("store", lambda: Seq(2))
    assert is_ours and run.result(10) == 2
