"""Every process of a deployment is restarted, one after another: nobody is failed, and nothing is lost."""

from __future__ import annotations

from tests.harness.drills.drill import Plan, Scene


def plan(rounds: int) -> Plan:
    """Return the drill of so many rolling restarts of everything."""

    def restart(scene: Scene) -> None:
        for number in range(rounds):
            for name, seconds in scene.stack.restart():
                scene.note(f"{name} restarted ({number + 1})", seconds)
                scene.await_landing(f"the restart of {name}")

    return restart
