"""Making room in a Redis with little memory left outlives whatever Redis says, and costs little where it is vain."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis

from storage.backends.redis_memory import Memory, Pressure
from storage.base.settings import Settings, environment
from storage.repository import Repository
from tasks import relief
from tasks.node import watch
from tests.support.own_redis import own_redis, url_of

ROOT = Path(relief.__file__).parents[1]
SECRET = "not-for-any-log"


class Ended(Exception):
    """A loop that has no end was ended."""


@pytest.fixture
def server(tmp_path: Path, servers: object) -> Iterator[redis.Redis]:
    with own_redis(tmp_path) as client:
        yield client


@pytest.fixture
def settings(server: redis.Redis) -> Settings:
    # No bucket: a step that needs one fails.
    return Settings(redis_url=url_of(server), s3_endpoints="http://127.0.0.1:1", s3_secret_key=SECRET)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the pauses that are made; nobody waits for their end."""
    made: list[float] = []
    # Of that module alone: threads that other tests left behind sleep as well.
    monkeypatch.setattr(relief, "time", SimpleNamespace(monotonic=time.monotonic, sleep=made.append))
    return made


def tight_for(rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([True] * rounds + [False])
    monkeypatch.setattr(Memory, "is_tight", lambda self: next(answers))


def test_relief_waits_longer_and_longer_for_a_redis_that_takes_no_writes(
    server: redis.Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    server.replicaof("127.0.0.1", "1")
    tight_for(6, monkeypatch)
    monkeypatch.setattr("storage.backends.redis_client._RETRIES", 0)
    relief.run(Repository(settings))
    grown = [each for each in pauses if each >= relief._PAUSE]
    assert grown == [4.0, 8.0, 15.0, 15.0, 15.0, 15.0]


def test_rounds_that_make_no_room_pause_longer_and_longer(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    tight_for(7, monkeypatch)
    monkeypatch.setattr(relief, "relieve", lambda repo, copies: True)
    # Before and after each round: nothing three times, too little to count, room, nothing, more than there was.
    used = iter([900, 900] * 3 + [100_900, 100_899] + [900, 700] + [700, 700] + [700, 900])
    monkeypatch.setattr(relief, "pressure", lambda client: Pressure(next(used), 1_000))
    relief.run(Repository(settings))
    assert pauses == [4.0, 8.0, 15.0, 15.0, 2.0, 4.0, 8.0]


def relief_process(settings: Settings, script: str, **environ: str) -> subprocess.CompletedProcess[str]:
    environ = environment(settings, {"PYTHONPATH": str(ROOT), **environ})
    argv = [sys.executable, "-c", f"from tasks import relief\n{script}"]
    return subprocess.run(
        argv, cwd=ROOT, env={"PATH": os.environ["PATH"], **environ}, capture_output=True, text=True, check=False
    )


def test_all_that_relief_writes_is_json_lines_without_a_secret(settings: Settings) -> None:
    script = "relief.run = lambda repo: print(repo.settings.s3_secret_key) or 1 / 0\nrelief.main([])"
    done = relief_process(settings, script)
    lines = [json.loads(line) for line in (done.stdout + done.stderr).splitlines()]
    assert [line["event"] for line in lines] == ["(hidden)", "process_failed"]
    assert {line["process"] for line in lines} == {"relief"}
    assert SECRET not in done.stdout + done.stderr and done.returncode == 1


def test_relief_writes_events_of_the_chosen_level_alone(settings: Settings) -> None:
    script = "relief.run = lambda repo: relief.log.warning('said')\nrelief.main([])"
    assert '"said"' in relief_process(settings, script).stderr
    assert relief_process(settings, script, SLUICE_LOG_LEVEL="error").stderr == ""


def test_wrong_settings_end_relief_with_one_json_line(settings: Settings) -> None:
    done = relief_process(settings, "relief.main([])", SLUICE_REDIS_TIMEOUT="soon")
    [line] = map(json.loads, done.stderr.splitlines())
    assert line["event"] == "process_failed" and line["error"] == "SettingsError" and done.returncode == 1


def test_a_node_starts_relief_less_and_less_often_while_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[float] = []
    looks = iter([True] + [False] * 8 + [True])

    def look(repo: Repository) -> bool:
        well = next(looks, None)
        if well is None:
            raise Ended
        return well

    monkeypatch.setattr("tasks.node.watch.time", SimpleNamespace(monotonic=time.monotonic, sleep=made.append))
    monkeypatch.setattr(watch, "look", look)
    with pytest.raises(Ended):
        watch.Watch().run()
    assert made == [5.0, 1.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 1.0]


def test_a_node_says_in_one_line_how_relief_failed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Memory, "is_tight", lambda self: True)
    monkeypatch.setattr(watch, "make_room", lambda: -9)
    assert not watch.look(Repository(settings))
    [line] = map(json.loads, capfd.readouterr().err.splitlines())
    assert (line["event"], line["code"]) == ("relief_failed", -9)
    monkeypatch.setattr(watch, "make_room", lambda: 0)
    assert watch.look(Repository(settings)) and not capfd.readouterr().err
