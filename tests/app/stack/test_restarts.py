"""Asking for a restart: nobody gets a signal who does not expect it, and nobody waits for another's answer."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.stack import restarts, state
from app.stack.restarts import NotRunning, ask


@pytest.fixture
def signals(tmp_path: Path) -> Iterator[list[int]]:
    """Hold the folder as a stack does; what is sent to this process meanwhile."""
    got: list[int] = []
    before = signal.signal(restarts.SIGNAL, lambda number, frame: got.append(number))
    with state.lock(tmp_path):
        yield got
    signal.signal(restarts.SIGNAL, before)


def test_a_stack_that_does_not_take_the_signal_gets_none(tmp_path: Path, signals: list[int]) -> None:
    """It starts still, or another command runs it: the signal would end it, and its servers with it."""
    with pytest.raises(NotRunning, match="still starting"):
        next(ask(tmp_path, ["api"]))
    assert not signals


def test_one_asks_at_a_time(tmp_path: Path, signals: list[int]) -> None:
    restarts.offer(tmp_path)
    first = ask(tmp_path, ["api"])

    def serving(number: int, frame: object) -> None:
        signals.append(number)
        with pytest.raises(NotRunning, match="already"):
            next(ask(tmp_path, ["worker"]))
        asked = json.loads((tmp_path / "restart.json").read_text())
        assert asked["names"] == ["api"]
        answer = {"id": asked["id"], "done": [["api", 1.0]], "over": True, "failure": ""}
        (tmp_path / "restarted.json").write_text(json.dumps(answer))

    signal.signal(restarts.SIGNAL, serving)
    assert [tuple(done) for done in first] == [("api", 1.0)] and len(signals) == 1
