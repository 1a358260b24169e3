"""How `sluice restart` asks `sluice up` for a rolling restart: files in the data folder, and a signal.

The signal would end a process that does not expect it, with everything that it runs: a stack that is still starting,
or one of another command. So a process that handles the signal declares that first.

A user who may write into the folder may stop the stack anyway, so restarting needs no other permission.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from app.stack import state
from app.stack.commands import NAMES, SERVERS
from app.stack.processes import ProcessFailed
from storage.base.errors import Refused

if TYPE_CHECKING:
    from app.stack.stack import Stack

SIGNAL = signal.SIGUSR1
# Nothing tells that the other file has changed.
_POLL_INTERVAL = 0.1
_ASKED, _ANSWERED, _OFFERED, _LOCK = "restart.json", "restarted.json", "restartable.json", "restart.lock"


class NotRunning(Refused):
    """No stack that can be restarted runs on the data folder, or it ended, or another restart is running."""


@dataclass(slots=True)
class _Answer:
    id: str
    done: list[tuple[str, float]] = field(default_factory=list)  # processes and seconds
    over: bool = False
    failure: str = ""


def ask(folder: Path, names: list[str]) -> Iterator[tuple[str, float]]:
    """Ask the stack on `folder` to restart processes (default: all but SERVERS); yield each with its seconds.

    Raises NotRunning, and ProcessFailed with what went wrong.
    """
    pid = _running(folder)
    if _offered(folder) != pid:
        raise NotRunning(f"the stack on {folder} is still starting, or is not one of `sluice up`")
    with _alone(folder):
        yield from _ask(folder, pid, names)


def offer(folder: Path) -> None:
    """Declare that this process handles the signal from now on."""
    _write(folder / _OFFERED, {"pid": os.getpid()})


def _ask(folder: Path, pid: int, names: list[str]) -> Iterator[tuple[str, float]]:
    asked, shown = secrets.token_hex(8), 0
    _write(folder / _ASKED, {"id": asked, "names": names})
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
        time.sleep(_POLL_INTERVAL)


def serve(stack: Stack, say: Callable[[str], None]) -> None:
    """Restart the requested processes, and write the result, also if a process does not come back."""
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


def _offered(folder: Path) -> int | None:
    try:
        return int(json.loads((folder / _OFFERED).read_text())["pid"])
    except FileNotFoundError:
        return None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Allow one request at a time: a second one would overwrite the first, which would wait for ever."""
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotRunning(f"the stack on {folder} is being restarted already") from None
        yield


def _tell(folder: Path, answer: _Answer) -> None:
    _write(folder / _ANSWERED, asdict(answer))


def _read(folder: Path) -> _Answer | None:
    try:
        return _Answer(**json.loads((folder / _ANSWERED).read_text()))
    except FileNotFoundError:
        return None


def _write(path: Path, what: object) -> None:
    """Write it atomically."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(what))
    new.replace(path)
