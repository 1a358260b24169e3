"""The drills, for a few seconds: S3 is away, Redis is full, workers die, every process is restarted: nobody is failed.

`make drills` is the same for as long as one likes, and judges how soon landing goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.stack.commands import NAMES
from app.stack.stack import Stack
from tests.harness.drills import failover, full_redis, killed, outage, restart
from tests.harness.drills import run as command_line
from tests.harness.drills.drill import Plan, Report, run
from tests.harness.movable import Movable
from tests.harness.wire import Http
from tests.support.waiting import await_true

AWAY = 3.0
# For an answer on a busy machine.
PATIENCE = 60.0
WRITERS, CALM = 4, 2
# Seconds that Redis is full; what has landed before; and how young history may leave then.
FULL, CHANGESETS = 10.0, 2000
YOUNG = {"late_put": 4.0, "inbox_margin": 5.0, "checkpoint_entries": 4}


def drilled(name: str, plan: Plan, folder: Path, s3_kind: str, s3_program: str, **options: Any) -> Report:
    report = run(name, plan, folder, s3_kind, f"test/{s3_kind}", WRITERS, CALM, s3_program=s3_program, **options)
    assert not report.breaches, "\n".join(report.breaches)
    assert not report.violations, "\n".join(map(str, report.violations))
    assert report.outcomes["landed"] > 0
    return report


@pytest.mark.parametrize("line", ["", "outage", "restart", "full-redis", "failover", "killed"])
def test_help_teaches(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        command_line.main([*line.split(), "--help"])
    assert end.value.code == 0 and capsys.readouterr().out.startswith("usage: python -m tests.harness.drills")


def test_an_s3_outage_is_503_and_loses_nothing(s3_kind: str, s3_program: str, tmp_path: Path) -> None:
    report = drilled("outage", outage.plan(AWAY), tmp_path / "stack", s3_kind, s3_program)
    assert report.answers[503] > 0


def test_a_rolling_restart_fails_no_request_and_loses_nothing(s3_kind: str, s3_program: str, tmp_path: Path) -> None:
    report = drilled("restart", restart.plan(1), tmp_path / "stack", s3_kind, s3_program, kind=restart.WithGateway)
    assert {name.split()[0] for name in report.figures} == set(NAMES)
    assert report.streams > 1, "the stream of events was taken up where it ended"


def test_a_full_redis_serves_reads_recovers_by_itself_and_loses_nothing(
    s3_kind: str, s3_program: str, tmp_path: Path
) -> None:
    plan = full_redis.plan(FULL, CHANGESETS)
    report = drilled("full-redis", plan, tmp_path / "stack", s3_kind, s3_program, settings=YOUNG)
    assert report.answers[503] > 0
    assert not report.late, "the memory fell"


def test_a_failover_of_redis_loses_nothing_and_needs_no_restart(s3_kind: str, s3_program: str, tmp_path: Path) -> None:
    drilled("failover", failover.plan(1), tmp_path / "stack", s3_kind, s3_program, kind=Movable)


def test_a_worker_killed_with_the_append_lock_loses_nothing(s3_kind: str, s3_program: str, tmp_path: Path) -> None:
    report = drilled("killed", killed.plan(1), tmp_path / "stack", s3_kind, s3_program, kind=killed.TwoHosts)
    assert sum("append lock" in name for name in report.figures) == 2


@pytest.mark.parametrize("s3_kind", ["seaweedfs"], indirect=True)
def test_what_waited_for_s3_lands_though_nobody_writes_any_more(new_stack: Callable[..., Stack]) -> None:
    # Upkeep, which looks for what is left lying, does not come in this test.
    stack = new_stack({"upkeep_interval": 3600.0, "merge_interval": 0.5}, with_flower=False)
    wire = Http(stack.url, PATIENCE)
    assert wire("POST", "/v1/slices", {"name": "all", "paths": ["/"]}).status == 201
    stack.halt("worker")
    body = {"message": "m", "changes": [{"op": "put", "path": "a", "content": "x", "base": None}]}
    accepted = wire("POST", "/v1/slices/all/changesets", body)
    assert accepted.status == 202
    stack.halt("s3")
    stack.resume("worker")
    await_true(lambda: "batch_released" in stack.processes["worker"].logs(), PATIENCE)
    stack.resume("s3")

    def landed() -> bool:
        found = wire("GET", f"/v1/changesets/{accepted.document['id']}?wait=5&until=landed")
        return found.status == 200 and found.document["status"] == "landed"

    await_true(landed, PATIENCE)
