"""Failpoints: steps of the product's work at which a process can be stopped or killed, armed through files in a folder.

A failpoint is a step within a scope, such as `commit.apply`, before it or after it. Nodes of a rig run the product
through `stoppable`, which looks into this folder at every one that it passes; the harness arms one, and waits until a
node reaches it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Names the folder to the nodes. Not `SLUICE_…`: the product knows nothing of it.
ENVIRON = "HARNESS_FAILPOINTS"
STOP, KILL, KILL_NODE, KILL_PARENT = "stop", "kill", "kill-node", "kill-parent"
WHEN = ("before", "after")
_LOOK_EVERY = 0.02


class Failpoints:
    """The folder: what is armed, what was reached and by whom, and which failpoints there are at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._armed, self._reached, self._passed = folder / "armed", folder / "reached", folder / "passed"
        self._noted: set[str] = set()

    # --- the harness --------------------------------------------------------------------------------------------------

    def make(self) -> Failpoints:
        """Make the folder."""
        for folder in (self._armed, self._reached, self._passed):
            folder.mkdir(parents=True, exist_ok=True)
        return self

    def known(self, scope: str) -> list[str]:
        """Return the failpoints of a scope that any node has passed so far, in order."""
        return sorted(path.name for path in self._passed.iterdir() if path.name.startswith(scope + "."))

    def arm(self, point: str, action: str) -> None:
        """Have the next process that comes to a failpoint stop or die there."""
        (self._armed / f"{point}.{action}").touch()

    def await_reached(self, point: str, action: str, timeout: float) -> int | None:
        """Wait until somebody is there; return the process's id. None, and it is armed no more, if nobody came."""
        until = time.monotonic() + timeout
        armed = self._armed / f"{point}.{action}"
        while True:
            for path in self._reached.glob(f"{point}.{action}.*"):
                path.unlink()
                return int(path.suffix[1:])
            if time.monotonic() > until:
                try:
                    armed.unlink()
                except FileNotFoundError:  # somebody came at this very moment
                    until += 1.0
                    continue
                return None
            time.sleep(_LOOK_EVERY)

    # --- the nodes ----------------------------------------------------------------------------------------------------

    def around(self, point: str, call: Callable[..., Any], *args: Any, **more: Any) -> Any:
        """Call something, and stop or die before or after it where that is asked.

        Costs a look or two into a folder that is mostly empty.
        """
        if point not in self._noted:
            (self._passed / point).touch()
            self._noted.add(point)
        self._pass(f"{point}.before")
        result = call(*args, **more)
        self._pass(f"{point}.after")
        return result

    def _pass(self, point: str) -> None:
        for name in os.listdir(self._armed):  # noqa: PTH208 - at every step of a batch
            at, _, action = name.rpartition(".")
            if at != point:
                continue
            try:
                (self._armed / name).rename(self._reached / f"{name}.{os.getpid()}")
            except FileNotFoundError:  # another process was here first
                continue
            _act(action)


def _act(action: str) -> None:
    if action == KILL_NODE:
        os.killpg(os.getpgrp(), signal.SIGKILL)
    if action == KILL_PARENT:
        os.kill(os.getppid(), signal.SIGKILL)
        signal.pause()  # what is done for somebody ends with it
    os.kill(os.getpid(), signal.SIGSTOP if action == STOP else signal.SIGKILL)
