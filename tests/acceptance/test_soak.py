"""A soak of half a minute: all kinds of state are exercised, and a process that leaks beside the others is found."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from app.stack.processes import Command, Supervisor
from benchmarks.landing import Site, site
from benchmarks.soak.slopes import Flatness
from benchmarks.soak.soaking import FLOWER_TASKS, Soak, settings_of_soak
from benchmarks.soak.verdict import Report, report
from benchmarks.workload import Workload
from storage.base.settings import Settings

SMALL = Workload(files=1000, width=50, fan=5, slice_leaves=5)
RATE, SECONDS, WARM_UP, EVERY = 15.0, 18.0, 3.0, 0.5
# Twenty megabytes a second, and it is never idle for long.
LEAK = "import time\nkept = []\nwhile True:\n    kept.append(bytearray(1 << 20))\n    time.sleep(0.05)\n"


@pytest.fixture(scope="module")
def soaked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("soak")
    out = io.StringIO()
    options = {"s3": "seaweedfs", "settings": settings_of_soak(), "flower_tasks": FLOWER_TASKS}
    with site(SMALL, folder / "judge.git", lambda _: None, **options) as place:
        leak(place, folder)
        soak = Soak(place, SMALL, out, clients=6, bulk=1, every=EVERY, say=lambda _: None, listed_every=2.0)
        soak.run(RATE, SECONDS, WARM_UP)
        soak.idle(1.0)
    written = [json.loads(line) for line in out.getvalue().splitlines()]
    assert written == json.loads(json.dumps(soak.samples))
    return report(written, WARM_UP), written


def leak(place: Site, folder: Path) -> None:
    """Put a process that leaks beside the stack's own."""
    supervisor = place.stack._supervisor
    assert isinstance(supervisor, Supervisor)
    supervisor.start(Command("leaky", [sys.executable, "-c", LEAK], {}, folder))


def test_a_process_that_leaks_is_found(soaked: tuple[Report, list[dict[str, Any]]]):
    found, _ = soaked
    by_name = {line.name: line for line in found.lines}
    leaky = by_name["leaky RSS"]
    assert leaky.verdict is Flatness.GROWS and not found.flat
    assert leaky.per_hour is not None and leaky.low is not None and leaky.high is not None
    assert 0 < leaky.low < leaky.per_hour < leaky.high
    # Every process of the stack is there, and the children that commit and merge.
    names = {"api", "api.1", "worker", "worker.1", "worker.2", "merger", "merger.1", "beat", "flower", "redis", "s3"}
    assert {f"{name} RSS" for name in names} <= set(by_name)
    assert by_name["s3 RSS"].verdict is Flatness.OTHERS


def test_all_kinds_of_state_were_exercised(soaked: tuple[Report, list[dict[str, Any]]]):
    found, samples = soaked
    counts = samples[-1]["load"]["counts"]
    wanted = {"submitted", "repeated", "watched", "reads", "events", "conflicted", "released", "streams"}
    assert {name for name in wanted if counts.get(name, 0) > 0} == wanted
    # What was held is released or abandoned at the end, and every conflict closed: a soak leaves nothing open.
    last = samples[-1]
    assert last["queues"]["held"] == last["queues"]["queued"] == 0
    assert last["committed"] == last["merged"] > found.landed > 0
    assert found.kinds["view outcome:*"]["keys_a_changeset"] >= 1
    assert found.folders["log/"]["objects"] > 0 and found.stored is not None and found.stored > 0


def test_nothing_is_written_to_the_log_while_nobody_submits(soaked: tuple[Report, list[dict[str, Any]]]):
    found, _ = soaked
    [idle] = [line for line in found.lines if line.name == "log, while nobody submits"]
    assert idle.verdict is Flatness.FLAT


def test_settings_that_make_caches_small_are_those_of_this_version():
    known = Settings(**settings_of_soak())
    assert known.cache_bytes < Settings().cache_bytes and known.stream_cache_bytes < Settings().stream_cache_bytes
