"""Redis fails over to a replica: the address moves, the demoted server stays, and no process is touched."""

from __future__ import annotations

import time

from tests.harness.drills.drill import Plan, Scene
from tests.harness.movable import Movable

# What is promised (seconds), from the promotion on.
LANDING_AGAIN = 10.0


def plan(rounds: int) -> Plan:
    """Return the drill of so many failovers, each with the way back."""

    def failover(scene: Scene) -> None:
        assert isinstance(scene.stack, Movable)
        pair = scene.stack.pair
        for number in range(rounds):
            pair.begin()
            scene.carry_on()
            _moved(scene, pair.fail_over, f"the failover ({number + 1})")
            scene.carry_on()
            _moved(scene, pair.fail_back, f"the way back ({number + 1})")
            scene.carry_on()

    return failover


def _moved(scene: Scene, move: object, what: str) -> None:
    assert callable(move)
    scene.say(what)
    move()
    back = time.monotonic()
    scene.await_landing(what)
    scene.note(f"the first landing after {what}", time.monotonic() - back)
    scene.await_landed(scene.submit())
    took = time.monotonic() - back
    scene.note(f"a changeset that is submitted now has landed, after {what}", took)
    scene.await_recovery(what)
    scene.note(f"all that was accepted has ended, after {what}", time.monotonic() - back)
    if took > LANDING_AGAIN:
        scene.report.late.append(f"{what}: landing went on after {took:.1f} s, not within {LANDING_AGAIN:g} s")
