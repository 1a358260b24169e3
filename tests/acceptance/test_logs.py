"""The logs of a deployment's processes: JSON lines alone, nothing while nothing happens, and never a secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from app.client.api_client import Client
from app.stack import commands
from app.stack.stack import Stack
from storage.base.settings import Settings, SettingsError, environment, load
from tests.support.logs import logged

ROOT = Path(__file__).parents[2]
OURS = ("api", "worker", "merger", "beat", "flower")
PATIENCE = 60.0
SECRET = "hunter2/and+more"

one_s3 = pytest.mark.parametrize("s3_kind", ["seaweedfs"], indirect=True)


def events(stack: Stack, *names: str) -> list[dict[str, Any]]:
    """Everything that processes wrote; each line of it is an event."""
    found = [each for name in names or OURS for each in logged(stack.processes[name].log_file.read_text())]
    assert all({"event", "level", "process", "timestamp"} <= each.keys() for each in found)
    return found


def await_true(true: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until
        time.sleep(0.1)


def ticked(stack: Stack) -> Callable[[], bool]:
    """Return how to ask whether ten ticks of each kind were sent since now, which leave nothing in a log."""

    def sent() -> int:
        with redis.Redis.from_url(stack.settings.redis_url) as known:
            return int(known.info("commandstats")["cmdstat_lpush"]["calls"])

    before = sent()
    return lambda: sent() > before + 30


@one_s3
def test_every_process_writes_json_lines_and_none_while_nothing_happens(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack({"merge_interval": 0.5, "upkeep_interval": 0.5}, abrupt=False)
    await_true(lambda: Client(stack.url).health()["healthy"])
    # What a start brings: upkeep that nodes ask for, Flower's first look at nodes that may not listen yet.
    await_true(lambda: sum(each.get("task") == "sluice.upkeep" and "result" in each for each in events(stack)) >= 2)
    await_true(ticked(stack))
    for _ in range(3):
        before = [stack.processes[name].log_file.read_bytes() for name in OURS]
        await_true(ticked(stack))
        after = [stack.processes[name].log_file.read_bytes() for name in OURS]
        if after == before:  # else a node came late to its start, or something stood still, which is an event
            break
    assert [new.removeprefix(old) for new, old in zip(after, before, strict=True)] == [b""] * len(OURS)
    files = {name: stack.processes[name].log_file for name in OURS}
    stack.stop()
    for name, file in files.items():
        assert [json.loads(line)["event"] for line in file.read_text().splitlines()], name


@one_s3
def test_an_accepted_changeset_is_found_by_request_id_and_batch(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack(with_flower=False)
    client = Client(stack.url)
    client.create_slice("all", ["/"])
    item = {"slice": "all", "base": client.head()["tip"]["commit"], "message": "m"}
    items = [item | {"changes": [{"op": "put", "path": f"f{i}", "content": "x"}]} for i in range(150)]
    made = [each["changeset"]["id"] for each in client.submit_many(items)]
    landed = client.changeset(made[-1], 30, "landed")
    assert landed["status"] == "landed"

    await_true(lambda: any(made[0] in each.get("ids", ()) for each in events(stack, "api")))
    said = [each for each in events(stack, "api") if made[0] in each.get("ids", ())]
    assert [(each["event"], each["status"], each["changesets"]) for each in said] == [("request_done", 202, 150)]
    same = [each for each in events(stack, "api") if each.get("request") == said[0]["request"]]
    assert [changeset for each in same for changeset in each["ids"]] == made, "each of them is found"
    assert all(len(each["ids"]) <= 100 for each in same), "and no line is longer for it"

    await_true(lambda: any(made[-1] in each.get("ids", ()) for each in events(stack, "worker")))
    batch = next(each for each in events(stack, "worker") if made[-1] in each.get("ids", ()))
    assert batch["seq"] == landed["seq"] and batch["task"] == "sluice.commit"

    def ended() -> list[dict[str, Any]]:
        runs = (each for each in events(stack, "worker") if each.get("task_id") == batch["task_id"])
        return [each for each in runs if each["event"] == "task_done"]

    await_true(ended)  # the line of a task is written once it has returned, which may merge first
    [done] = ended()
    assert f"entry {landed['seq']}" in done["result"].split(", ")


@one_s3
def test_what_ends_a_child_is_an_event_of_its_node(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack(with_flower=False)
    child = psutil.Process(stack.processes["worker"].pid).children()[0]
    child.kill()
    await_true(lambda: any(str(child.pid) in each["event"] for each in events(stack, "worker")))


@pytest.mark.parametrize(
    "argv",
    [commands.api("127.0.0.1:0"), commands.worker(1), commands.merger(), commands.beat(),
     commands.flower("127.0.0.1", 0)],
    ids=OURS,
)  # fmt: skip
def test_what_keeps_a_process_from_starting_is_said_in_json_lines(argv: list[str], tmp_path: Path) -> None:
    environ = environment(Settings(), {"PYTHONPATH": str(ROOT)}) | {"SLUICE_NO_SUCH_SETTING": "1"}
    done = subprocess.run(
        commands.runnable(argv), cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode != 0
    said = [json.loads(line) for line in (done.stdout + done.stderr).splitlines()]
    [cause] = [each for each in said if "exception" in each]
    assert cause["level"] in {"error", "critical"} and "SLUICE_NO_SUCH_SETTING" in cause["exception"]


@pytest.mark.parametrize("argv", [commands.api("127.0.0.1:0"), commands.worker(1), commands.beat()],
                         ids=["api", "worker", "beat"])  # fmt: skip
def test_a_server_that_is_away_gives_no_secret_away(argv: list[str], tmp_path: Path) -> None:
    url = f"redis://user:{SECRET.replace('/', '%2F')}@127.0.0.1:1/0"
    settings = Settings(redis_url=url, s3_secret_key=SECRET, log_level="debug")
    environ = environment(settings, {"PYTHONPATH": str(ROOT)})
    with subprocess.Popen(
        commands.runnable(argv), cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        said = ""
        while "127.0.0.1:1" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        process.terminate()
        said += process.stdout.read()
    assert all(json.loads(line) for line in said.splitlines())
    assert "hunter2" not in said


def test_the_level_is_a_setting() -> None:
    with pytest.raises(SettingsError, match="SLUICE_LOG_LEVEL"):
        load({"SLUICE_LOG_LEVEL": "loud"})
    script = (
        "from storage.base import logging_setup as logs; logs.configure('api', {!r});"
        "logs.log.info('a'); logs.log.error('b')"
    )
    for level, expected in [("debug", "ab"), ("info", "ab"), ("warning", "b"), ("critical", "")]:
        argv = [sys.executable, "-c", script.format(level)]
        done = subprocess.run(argv, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=True)
        assert "".join(json.loads(line)["event"] for line in done.stderr.splitlines()) == expected


@pytest.mark.parametrize("program", ["worker", "beat", "flower"])
def test_celerys_programs_log_at_the_configured_level_and_no_secrets(program: str) -> None:
    script = (
        "import sys; sys.argv = ['celery', '-A', 'tasks.celery', sys.argv[1]]\n"
        "import tasks.celery; from storage.base.logging_setup import log;"
        "log.info('a'); log.error('b', text=sys.stdin.read())"
    )
    environ = environment(Settings(s3_access_key="k", s3_secret_key=SECRET, log_level="error"))
    argv = [sys.executable, "-c", script, program]
    done = subprocess.run(argv, cwd=ROOT, env=environ, input=SECRET, capture_output=True, text=True, check=True)
    [said] = [json.loads(line) for line in done.stderr.splitlines()]
    assert (said["event"], said["process"], said["text"]) == ("b", program, "(hidden)")


def test_a_command_logs_as_settings_say_on_a_stack_or_a_deployment() -> None:
    script = (
        "import sys; from app.console.options import log_events; from storage.base import logging_setup\n"
        "log_events(); logging_setup.log.info('a'); logging_setup.log.error('b', text=sys.stdin.read())"
    )
    environ = environment(Settings(s3_access_key="k", s3_secret_key=SECRET, log_level="error"))
    argv = [sys.executable, "-c", script]
    done = subprocess.run(argv, cwd=ROOT, env=environ, input=SECRET, capture_output=True, text=True, check=True)
    [said] = [json.loads(line) for line in done.stderr.splitlines()]
    assert (said["event"], said["process"], said["text"]) == ("b", "sluice", "(hidden)")
    edge = [*(ROOT / "app" / "commands").rglob("*.py"), *(ROOT / "app" / "console").glob("*.py")]
    calls = [path.name for path in edge if "logging_setup.configure(" in path.read_text()]
    assert calls == ["options.py"], "each command takes the level and the secrets from there"
