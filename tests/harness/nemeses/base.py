"""What a nemesis is."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import ClassVar

from tests.harness.rig import Rig


class Nemesis:
    """One way to break a rig, named for the fault. Those that differ by their victim alone are made by `kind`."""

    name: ClassVar[str] = ""
    # What the machine must have for it (see Rig.missing).
    needs: ClassVar[str] = ""
    # Seconds that it must last to be what it is called; 0: it is over at once, and the stack repairs it by itself.
    least: ClassVar[float] = 0.0

    def __init__(self, rig: Rig, rng: random.Random) -> None:
        self.rig = rig
        self.rng = rng

    @classmethod
    def kind(cls, name: str, **victim: object) -> type[Nemesis]:
        """Return this kind of nemesis for one victim."""
        return type(name, (cls,), {"name": name, "__doc__": cls.__doc__, **victim})

    def prepare(self) -> None:
        """Do what has to be done before anything is broken, once a round."""

    def strike(self) -> str | None:
        """Break it; return where, in a word (empty: there is only one), None if it could not be broken now."""
        raise NotImplementedError

    def heal(self) -> None:
        """Put it right again; for what the stack repairs by itself there is nothing to do."""


def await_(condition: Callable[[], bool], timeout: float, every: float = 0.02) -> bool:
    """Wait until a condition holds that nothing announces, at most so long; tell whether it does."""
    until = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(every)
    return True
