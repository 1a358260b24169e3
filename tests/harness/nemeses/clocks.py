"""Clocks that are wrong, by libfaketime: a process's own, and nobody else's."""

from __future__ import annotations

from typing import ClassVar

from tests.harness.nemeses.base import Nemesis
from tests.harness.rig import CLOCKS

# By less and by more than what a submission may be late, and than what S3 servers bear with: 15 minutes.
_SECONDS = (5, 20, 300, 800, 3600)


class Clock(Nemesis):
    """A process's clock is set back or forward."""

    needs = "clock"
    least = 3.0
    victim: ClassVar[str] = ""
    sign: ClassVar[str] = ""

    def strike(self) -> str:
        """Set it wrong."""
        seconds = self.rng.choice(_SECONDS)
        self.rig.clock(self.victim).write_text(f"{self.sign}{seconds}\n")
        return f"{seconds} s"

    def heal(self) -> None:
        """Set it right."""
        self.rig.clock(self.victim).write_text("+0\n")


KINDS = [
    Clock.kind(f"clock-{name}-{victim}", victim=victim, sign=sign)
    for victim in CLOCKS
    for name, sign in (("back", "-"), ("forward", "+"))
]
