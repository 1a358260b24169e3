"""How `sluice restart` asks `sluice up` for a rolling restart: two files in the data folder, and a signal.

Whoever may write into the folder may stop the stack anyway, so it needs no rights of its own.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from app.stack import state
from app.stack.processes import ProcessFailed
from app.stack.stack import NAMES, SERVERS, Stack

SIGNAL = signal.SIGUSR1
# Nothing tells that the other file has changed.
_LOOK_EVERY = 0.1
_ASKED, _TOLD = "restart.json", "restarted.json"


class NotRunning(RuntimeError):
    """No stack runs on the data folder, or it ended."""


@dataclass(slots=True)
class _Answer:
    id: str
    done: list[tuple[str, float]] = field(default_factory=list)  # processes and seconds
    over: bool = False
    failure: str = ""


def ask(folder: Path, names: list[str]) -> Iterator[tuple[str, float]]:
    """Have the stack on `folder` restart processes (all but SERVERS, where none is named); yield each with its seconds.

    Raises NotRunning, and ProcessFailed with what went wrong.
    """
    asked, shown = secrets.token_hex(8), 0
    _write(folder / _ASKED, {"id": asked, "names": names})
    pid = _running(folder)
    os.kill(pid, SIGNAL)
    while True:
        answer = _read(folder)
        if answer and answer.id == asked:
            yield from answer.done[shown:]
            shown = len(answer.done)
            if answer.failure:
                raise ProcessFailed(answer.failure)
            if answer.over:
                return
        _running(folder)
        time.sleep(_LOOK_EVERY)


def serve(stack: Stack, say: Callable[[str], None]) -> None:
    """Do what was asked of a stack, and tell how it went; a process that does not come back is told as well."""
    request = json.loads((stack.data / _ASKED).read_text())
    answer = _Answer(request["id"])
    try:
        names = request["names"] or [name for name in NAMES if name not in SERVERS]
        for name, seconds in stack.restart(*[name for name in names if name in stack.processes]):
            say(f"Restarted {name} in {seconds:.1f} s")
            answer.done.append((name, seconds))
            _tell(stack.data, answer)
    except ProcessFailed as failure:
        say(f"Not restarted: {failure}")
        answer.failure = str(failure)
    answer.over = True
    _tell(stack.data, answer)


def _running(folder: Path) -> int:
    pid = state.holder(folder)
    if pid is None:
        raise NotRunning(f"no stack runs on {folder}")
    return pid


def _tell(folder: Path, answer: _Answer) -> None:
    told = {"id": answer.id, "done": answer.done, "over": answer.over, "failure": answer.failure}
    _write(folder / _TOLD, told)


def _read(folder: Path) -> _Answer | None:
    try:
        return _Answer(**json.loads((folder / _TOLD).read_text()))
    except FileNotFoundError:
        return None


def _write(path: Path, what: object) -> None:
    """Write it whole or not at all."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(what))
    new.replace(path)
