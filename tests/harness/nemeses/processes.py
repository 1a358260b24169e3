"""Processes that die, stop for a while, come twice, or run with locks and tickets switched off."""

from __future__ import annotations

import signal
from typing import ClassVar

from tests.harness.nemeses.base import Nemesis
from tests.harness.rig import LONGEST_LOCK, WORKERS


class Kill(Nemesis):
    """A process is killed; the stack starts it again."""

    victim: ClassVar[str] = ""

    def strike(self) -> str:
        """Kill it, sometimes twice."""
        self.rig.end(self.victim)
        if self.rng.random() < 0.3:
            self.rig.processes[self.victim].await_start(self.rig.processes[self.victim].starts, 2.0)
            self.rig.end(self.victim)
        return ""


class Freeze(Nemesis):
    """A process stops for longer than locks live, and then goes on as if nothing had happened."""

    victim: ClassVar[str] = ""
    least = LONGEST_LOCK

    def strike(self) -> str:
        """Stop it."""
        self.rig.signal(self.victim, signal.SIGSTOP)
        return ""

    def heal(self) -> None:
        """Let it go on."""
        self.rig.signal(self.victim, signal.SIGCONT)


class DoubleBeat(Nemesis):
    """Every tick comes twice, from two beats."""

    name = "double-beat"
    least = 3.0

    def strike(self) -> str:
        """Start the second."""
        self.rig.processes["second-beat"].start()
        return ""

    def heal(self) -> None:
        """Kill it."""
        self.rig.processes["second-beat"].stop(signal.SIGKILL)


class NoLocks(Nemesis):
    """All who append have their locks and tickets switched off."""

    name = "no-locks"
    least = 6.0  # they are started anew

    def strike(self) -> str:
        """Start them with `use_locks` off."""
        self.rig.change(WORKERS, SLUICE_USE_LOCKS="no")
        return ""

    def heal(self) -> None:
        """Start them with locks again."""
        self.rig.change(WORKERS, SLUICE_USE_LOCKS="yes")


_KILLED = ("api", "gateway", "worker", "merger", "beat", "redis", "s3")

KINDS = [
    *(Kill.kind(f"kill-{victim}", victim=victim) for victim in _KILLED),
    *(Freeze.kind(f"freeze-{victim}", victim=victim) for victim in _KILLED if victim != "beat"),
    DoubleBeat,
    NoLocks,
]
