"""The S3 server is away for a while: 503 and nothing else, and landing goes on soon after it is back."""

from __future__ import annotations

import time

from tests.harness.drills.drill import Plan, Scene

# What is promised (seconds), from the S3 server's first answer on.
LANDING_AGAIN = 5.0
# Most seconds that it lasts longer on a busy machine, and between two looks whether anybody is refused.
_BUSY, _LOOK_EVERY = 60.0, 0.2


def plan(seconds: float) -> Plan:
    """Return the drill of an outage that lasts so long, and until somebody is refused."""

    def outage(scene: Scene) -> None:
        scene.say(f"the S3 server is stopped for {seconds:g} s")
        refused = scene.tally.answers[503]
        scene.stack.halt("s3")
        time.sleep(seconds)
        until = time.monotonic() + _BUSY
        while scene.tally.answers[503] == refused and time.monotonic() < until:
            time.sleep(_LOOK_EVERY)
        began = time.monotonic()
        scene.stack.resume("s3")
        scene.note("the S3 server answers, after its start", time.monotonic() - began)
        back = time.monotonic()
        first = scene.await_landing("the return of the S3 server")
        scene.note("the first landing, after that", first)
        scene.await_landed(scene.submit())
        took = time.monotonic() - back
        scene.note("a changeset that is submitted now has landed, after it", took)
        scene.await_recovery("the return of the S3 server")
        scene.note("all that was accepted has ended", time.monotonic() - back)
        scene.stack.await_health("the return of the S3 server")
        scene.note("the deployment is healthy", time.monotonic() - back)
        if took > LANDING_AGAIN:
            scene.report.late.append(f"landing went on {took:.1f} s after its return, not within {LANDING_AGAIN:g} s")

    return outage
