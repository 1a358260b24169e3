"""Every process of a deployment is restarted, one after another: nobody is failed, and nothing is lost."""

from __future__ import annotations

from typing import Any

from app.stack.stack import Stack
from tests.harness.drills.drill import Plan, Scene


class WithGateway(Stack):
    """A Sluice with every process that there is."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, with_gateway=True, **options)


def plan(rounds: int) -> Plan:
    """Return the drill of so many rolling restarts of everything."""

    def restart(scene: Scene) -> None:
        for number in range(rounds):
            for name, seconds in scene.stack.restart():
                scene.note(f"{name} restarted ({number + 1})", seconds)
                scene.await_landing(f"the restart of {name}")

    return restart
