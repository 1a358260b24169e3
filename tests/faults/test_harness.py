"""The harness itself, for a minute: every nemesis strikes, some at a time, and nothing is found.

`make faults` is the same for as long as one likes.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.harness import rounds
from tests.harness.nemeses import NEMESES
from tests.harness.nemeses.steps import AtStep
from tests.harness.rounds import Strike
from tests.support.servers import require

_HOLD = 0.5  # most seconds that a fault lasts beyond what makes it one
_AT_ONCE = 3


def test_every_nemesis_strikes_and_every_promise_is_kept(
    s3_kind: str, s3_program: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    toxiproxy = require("toxiproxy", request)
    names = sorted(NEMESES)
    # In this order no view is to be loaded from an S3 server that is away or slow, and none starts on a full disk.
    random.Random("six threes").shuffle(names)
    # Half of them on each S3 server, those that are about S3 on both.
    half = names[: len(names) // 2] if s3_kind == "seaweedfs" else names[len(names) // 2 :]
    chosen = half + [name for name in names if "s3" in name or "disk" in name if name not in half]
    report = rounds.run(
        tmp_path / "rig",
        s3_kind,
        f"test/{s3_kind}",
        chosen,
        strikes(chosen),
        toxiproxy,
        writers=4,
        hold=_HOLD,
        s3_program=s3_program,
    )
    assert not report.violations, "\n".join(map(str, report.violations))
    # Some steps are taken now and then only.
    rare = {name for name in chosen if issubclass(NEMESES[name], AtStep) and not name.startswith("stop-at-")}
    assert set(report.faults) | set(report.missing) | (set(report.missed) & rare) == set(chosen)
    assert report.outcomes["landed"] > 0 and report.outcomes["conflicted"] > 0


def strikes(names: list[str]) -> list[Strike]:
    """Return each nemesis once, some at a time: first who waits for somebody to come to a step, while all go on."""
    ordered = sorted(names, key=lambda name: (not name.startswith("stop-at-"), not issubclass(NEMESES[name], AtStep)))
    number = -(-len(ordered) // _AT_ONCE)
    return [tuple(ordered[i::number]) for i in range(number)]
