"""The harness itself, for a few seconds: every nemesis strikes once, two at a time, and nothing is found.

`make faults` is the same for as long as one likes.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.harness import rounds
from tests.harness.nemeses import NEMESES
from tests.servers import require

_HOLD = 0.5  # most seconds that a fault lasts beyond what makes it one


def test_every_nemesis_strikes_and_every_promise_is_kept(
    s3_kind: str, s3_program: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    toxiproxy = require("toxiproxy", request)
    names = sorted(NEMESES)
    random.Random(s3_kind).shuffle(names)
    # Half of them on each S3 server, those that are about S3 on both.
    half = names[: len(names) // 2] if s3_kind == "seaweedfs" else names[len(names) // 2 :]
    chosen = half + [name for name in names if "s3" in name or "disk" in name if name not in half]
    pairs = list(zip(chosen[::2], [*chosen[1::2], chosen[0]], strict=False))
    report = rounds.run(
        tmp_path / "rig",
        s3_kind,
        f"test/{s3_kind}",
        chosen,
        pairs,
        toxiproxy,
        writers=4,
        hold=_HOLD,
        s3_program=s3_program,
    )
    assert not report.violations, "\n".join(map(str, report.violations))
    assert set(report.faults) | set(report.missing) == set(chosen)
    assert report.outcomes["landed"] > 0 and report.outcomes["conflicted"] > 0
