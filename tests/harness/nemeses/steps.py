"""Whoever works stops for longer than locks live, or dies, before or after a step of what it does. See `failpoints`."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections import Counter
from typing import ClassVar

from tests.harness.failpoints import KILL, KILL_NODE, KILL_PARENT, STOP, WHEN
from tests.harness.nemeses.base import Nemesis
from tests.harness.nemeses.losses import flush, forget
from tests.harness.rig import LONGEST_LOCK, Rig

BATCH = {
    "claim": "claim",
    "prepare": "prepare",
    "ticket": "ticket",
    "snapshot": "snapshot",
    "link": "link",
    "prove": "prove",
    "pack": "create-packs",
    "append": "create-log",
    "apply": "apply",
    "release": "release",
}
"""The steps of a commit batch, in order, and their names as failpoints."""

# Seconds to wait until somebody reaches a failpoint, and how many are tried: some are not passed every time, and those
# that are, late on a machine that is slow.
_COMES, _COMES_SURELY, _TRIES = 4.0, 15.0, 3


class AtStep(Nemesis):
    """Whoever comes first to a step of a scope stops or dies there."""

    scope: ClassVar[str] = ""
    steps: ClassVar[tuple[str, ...]] = ()  # none: those that were passed in this round so far
    actions: ClassVar[tuple[str, ...]] = ()

    def __init__(self, rig: Rig, rng: random.Random) -> None:
        super().__init__(rig, rng)
        self._tried: Counter[str] = Counter()
        self._stopped: int | None = None

    def strike(self) -> str | None:
        """Have somebody come to a failpoint, of those that were tried least, and wait until it has."""
        for _ in range(_TRIES):
            known = [f"{self.scope}.{step}" for step in self.steps] or self.rig.failpoints.known(self.scope)
            points = [f"{step}.{when}" for step in known for when in WHEN]
            least = min([self._tried[point] for point in points], default=0)
            # A scope that nobody was in yet has at least a beginning.
            point = self.rng.choice(
                [point for point in points if self._tried[point] == least] or [f"{self.scope}.run.before"]
            )
            self._tried[point] += 1
            if self._reached(point):
                return point.partition(".")[2].replace(".", " ")
        return None

    def _reached(self, point: str) -> bool:
        action = self.rng.choice(self.actions)
        self.rig.failpoints.arm(point, action)
        self._provoke()
        reached = self.rig.failpoints.await_reached(point, action, _COMES_SURELY if self.steps else _COMES)
        self._stopped = reached if action == STOP else None
        return reached is not None

    def heal(self) -> None:
        """Let who was stopped go on, if another nemesis has not ended it."""
        if self._stopped is not None and self.rig.is_own(self._stopped):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._stopped, signal.SIGCONT)

    def _provoke(self) -> None:
        """Have the scope run, where it does not by itself every few seconds."""


class InLoad(AtStep):
    """Somebody stops or dies while the view is being loaded, or the inbox looked through, after a flush."""

    def _provoke(self) -> None:
        flush(self.rig)


class InCollection(AtStep):
    """Somebody stops or dies while garbage is being collected: packs that no entry names."""

    def _provoke(self) -> None:
        self.rig.leave_garbage()


class InCompaction(AtStep):
    """Somebody stops or dies during a compaction."""

    def _provoke(self) -> None:
        # Who died at one has kept the others from another for two minutes: too long for a round.
        forget(self.rig, "compacting")


_SCOPES: dict[str, type[AtStep]] = {
    "commit": AtStep,
    "merge": AtStep,
    "upkeep": AtStep,
    "load": InLoad,
    "recover": InLoad,
    "checkpoint": AtStep,
    "compact": InCompaction,
    "collect": InCollection,
    "intake": AtStep,
    "release": AtStep,
    "push": AtStep,
    "follow": AtStep,
}

_IN_FORKS = {"upkeep", "recover", "checkpoint", "compact", "collect"}

KINDS = [
    *(
        AtStep.kind(f"stop-at-{name}", scope="commit", steps=(step,), actions=(STOP,), least=LONGEST_LOCK)
        for name, step in BATCH.items()
    ),
    *(
        kind.kind(f"stop-in-{scope}", scope=scope, actions=(STOP,), least=LONGEST_LOCK)
        for scope, kind in _SCOPES.items()
        if scope != "commit"
    ),
    *(
        # Some are runs in a fork, and whoever waits for it may die as well.
        kind.kind(
            f"kill-in-{scope}",
            scope=scope,
            actions=(KILL, KILL_NODE, KILL_PARENT) if scope in _IN_FORKS else (KILL, KILL_NODE),
        )
        for scope, kind in _SCOPES.items()
    ),
]
