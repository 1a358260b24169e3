"""The whole stack on one machine: it comes up, comes back, shows its tasks, and leaves nothing behind."""

from __future__ import annotations

import base64
import json
import re
import signal
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from app.client.api_client import Client
from app.stack import health
from app.stack import stack as stack_module
from app.stack.processes import ProcessFailed
from app.stack.stack import FLOWER_USER, Stack
from app.stack.state import ROOT_TOKEN, FolderInUse
from storage.base import settings
from storage.coordination import nodes
from storage.repository import Repository
from tests.support.waiting import await_true

ROOT = Path(__file__).parents[2]
NAMES = ["redis", "s3", "api", "worker", "merger", "beat", "flower"]
TASKS = {"sluice.commit", "sluice.merge"}
# A batch of more changesets than one global commit takes is merged by a task of its own.
SETTINGS = {"merge_interval": 0.5, "upkeep_interval": 0.5, "commit_changesets": 2, "merge_changesets": 1}
# What has nothing to do with the bucket is tested on one kind of S3 server.
one_s3 = pytest.mark.parametrize("s3_kind", ["seaweedfs"], indirect=True)


def fetch(url: str, user: str = "", password: str = "", timeout: float = 60.0) -> Any:
    request = urllib.request.Request(url)
    if user:
        request.add_header("Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())
    with urllib.request.urlopen(request, timeout=timeout) as response:
        return json.loads(response.read())


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """A test that fails does not wait for a program that would run for ever."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)


def flowers_tasks(stack: Stack) -> list[dict[str, Any]]:
    """The tasks that Flower knows, by the API behind its list."""
    tasks = fetch(f"{stack.flower_url}/api/tasks?limit=1000", FLOWER_USER, stack.flower_password)
    return list(tasks.values())


def land(stack: Stack, path: str) -> bool:
    """Have the nodes do something that Flower shows; say no, since it has yet to show it."""
    client = Client(stack.url)
    if not any(each["name"] == "all" for each in client.slices()):
        client.create_slice("all", ["/"])
    item = {"slice": "all", "base": client.head()["tip"]["commit"], "message": "m"}
    changes = [{"op": "put", "path": f"{path}-{i}", "content": path} for i in range(4)]
    made = client.submit_many([item | {"changes": [change]} for change in changes])
    for each in made:
        await_true(lambda each=each: client.changeset(each["changeset"]["id"], 30, "landed")["status"] == "landed")  # type: ignore[misc]
    return False


def is_healthy(stack: Stack) -> bool:
    """All nodes answer, beat too."""
    return bool(Client(stack.url).health().get("healthy"))


def family(stack: Stack) -> list[psutil.Process]:
    """Every process of the stack and its children."""
    leaders = [psutil.Process(process.pid) for process in stack.processes.values() if process.pid]
    return [*leaders, *(child for leader in leaders for child in leader.children(recursive=True))]


def test_the_stack_comes_up_with_everything_and_goes_without_a_trace(
    new_stack: Callable[..., Stack], monkeypatch: pytest.MonkeyPatch
):
    stack = new_stack(abrupt=False)
    assert list(stack.processes) == NAMES
    assert fetch(f"{stack.url}/readyz")["ready"] is True
    monkeypatch.setattr(nodes, "SILENCE", 50.0)  # to the API they may be silent for a moment on a busy machine
    reported = Repository(stack.settings).nodes.at_work()
    assert nodes.missing(reported) == [], "who has started it need not wait once more"
    await_true(lambda: is_healthy(stack))
    everyone = family(stack)
    stack.stop()
    assert psutil.wait_procs(everyone, timeout=60)[1] == []


@one_s3
def test_flower_shows_the_tasks_by_name_to_those_who_know_the_password(new_stack: Callable[..., Stack]):
    stack = new_stack(SETTINGS)
    land(stack, "f")
    await_true(lambda: {task["name"] for task in flowers_tasks(stack) if task["state"] == "SUCCESS"} >= TASKS)
    for path in ("/api/tasks", "/api/workers", "/tasks", "/workers"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            fetch(stack.flower_url + path)
        refused.value.close()
        assert refused.value.code == 401


@one_s3
def test_workers_beat_and_flower_come_back_after_redis_forgot_everything(new_stack: Callable[..., Stack]):
    stack = new_stack(SETTINGS)
    land(stack, "before")
    starts = {name: process.starts for name, process in stack.processes.items()}
    with redis.Redis.from_url(stack.settings.redis_url) as known:
        known.flushall()
    flushed = time.time()

    def since() -> set[str]:
        return {t["name"] for t in flowers_tasks(stack) if (t["received"] or 0) > flushed and t["state"] == "SUCCESS"}

    # Flower hears nothing of what is done before it listens again.
    await_true(lambda: since() >= TASKS or land(stack, uuid.uuid4().hex))
    await_true(lambda: is_healthy(stack))
    assert {name: process.starts for name, process in stack.processes.items()} == starts


@one_s3
def test_workers_beat_and_flower_come_back_after_redis_was_away(new_stack: Callable[..., Stack]):
    stack = new_stack(SETTINGS)
    stack.halt("redis")
    stack.resume("redis")
    back = time.time()

    def since() -> set[str]:
        return {t["name"] for t in flowers_tasks(stack) if (t["received"] or 0) > back and t["state"] == "SUCCESS"}

    # Flower hears nothing of what is done before it listens again.
    await_true(lambda: since() >= TASKS or land(stack, uuid.uuid4().hex))


@one_s3
def test_a_killed_worker_leaves_no_children_and_is_started_again(new_stack: Callable[..., Stack]):
    stack = new_stack(with_flower=False)
    worker = stack.processes["worker"]
    children = psutil.Process(worker.pid).children(recursive=True)
    assert children
    pid = stack.kill("worker")
    assert worker.await_end(pid, timeout=60)
    assert psutil.wait_procs(children, timeout=60)[1] == []
    assert worker.await_start(after=1, timeout=60)
    worker.await_ready()


def test_a_folder_keeps_credentials_and_data_for_one_stack_at_a_time(new_stack: Callable[..., Stack], tmp_path: Path):
    first = new_stack(data=tmp_path / "data", with_flower=False, with_beat=False, abrupt=False)
    with pytest.raises(FolderInUse):
        Stack(tmp_path / "data").start()
    known, head = first.settings, fetch(f"{first.url}/v1/head")
    assert stat.S_IMODE((tmp_path / "data" / "stack.json").stat().st_mode) == 0o600
    first.stop()
    second = new_stack(data=tmp_path / "data", with_flower=False, with_beat=False)
    assert (second.settings.s3_access_key, second.settings.s3_secret_key) == (known.s3_access_key, known.s3_secret_key)
    assert second.flower_password == first.flower_password
    assert not second.fresh
    assert fetch(f"{second.url}/v1/head") == head


@one_s3
def test_a_start_that_fails_says_why_and_leaves_nothing_running(new_stack: Callable[..., Stack], tmp_path: Path):
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    with pytest.raises(ProcessFailed, match=r"api ended \(\d+\) before it was ready(.|\n)*SLUICE_NO_SUCH_FIELD"):
        new_stack(environ={"SLUICE_NO_SUCH_FIELD": "1"}, data=tmp_path / "data")
    assert {process.pid for process in psutil.Process().children(recursive=True)} - before == set()


@one_s3
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_sluice_up_prints_the_addresses_and_a_signal_stops_everything(
    number: signal.Signals, s3_kind: str, s3_program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("PATH", str(Path(s3_program).parent), prepend=":")
    monkeypatch.setenv("SLUICE_MAX_PAGE", "100")
    options = ["--data", str(tmp_path / "data"), "--port", "0", "--git-port", "0", "--flower-port", "0"]
    options += ["--s3", s3_kind]
    argv = [sys.executable, "-c", "from app.commands.local.up import command; command()", *options]
    with subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE, text=True) as up, ended(up):
        assert up.stderr
        panel = ""
        while "Ctrl-C" not in panel:
            line = up.stderr.readline()
            assert line, panel
            panel += line
        everyone = psutil.Process(up.pid).children(recursive=True)
        found = re.search(r"API\s+(http://\S+)", panel)
        assert found
        assert fetch(f"{found[1]}/readyz")["ready"] is True
        with pytest.raises(urllib.error.HTTPError, match="422"):  # a limit of the environment holds
            fetch(f"{found[1]}/v1/slices?limit=101", "root", (tmp_path / "data" / ROOT_TOKEN).read_text().strip())
        assert re.search(r"Flower\s+http://127\.0\.0\.1:\d+", panel)
        assert re.search(
            rf"password \S*{json.loads((tmp_path / 'data/stack.json').read_text())['flower_password']}", panel
        )
        up.send_signal(number)
        assert up.wait(timeout=60) == 0
    assert psutil.wait_procs(everyone, timeout=60)[1] == []


@one_s3
def test_an_api_whose_successor_does_not_come_up_goes_on(new_stack: Callable[..., Stack]):
    stack = new_stack(with_flower=False)
    stack._environ["SLUICE_NO_SUCH_FIELD"] = "1"
    before = stack.processes["api"].pid
    with pytest.raises(ProcessFailed, match="SLUICE_NO_SUCH_FIELD"):
        list(stack.restart("api"))
    assert stack.processes["api"].pid == before
    assert fetch(f"{stack.url}/readyz")["ready"] is True
    stack.kill("api")
    assert stack.processes["api"].await_start(after=1, timeout=60)
    assert fetch(f"{stack.url}/healthz", timeout=90.0)["alive"] is True, "who connected meanwhile has waited"


@one_s3
def test_a_restart_waits_for_health_and_names_what_is_missing(
    new_stack: Callable[..., Stack], monkeypatch: pytest.MonkeyPatch
):
    stack = new_stack(with_flower=False)
    assert [name for name, _ in stack.restart("worker", "merger", "beat")] == ["worker", "merger", "beat"]
    stack.halt("beat")
    monkeypatch.setattr(stack_module, "_FIT_PATIENCE", 8.0)
    monkeypatch.setattr(health, "_PATIENCE", 60.0)  # or a busy machine's API may say nothing at last
    with pytest.raises(ProcessFailed, match=r"no answer from .*beat"):
        list(stack.restart("api"))
    assert fetch(f"{stack.url}/readyz")["ready"] is True


@one_s3
def test_sluice_restart_restarts_what_sluice_up_runs_and_nobody_is_refused(
    s3_kind: str, s3_program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("PATH", str(Path(s3_program).parent), prepend=":")
    data = tmp_path / "data"
    call = [sys.executable, "-c", "from app.cli import main; main()"]
    options = ["--data", str(data), "--port", "0", "--git-port", "0", "--no-flower", "--s3", s3_kind]
    with subprocess.Popen([*call, "up", *options], cwd=ROOT, stderr=subprocess.PIPE, text=True) as up, ended(up):
        assert up.stderr
        panel = ""
        while "Ctrl-C" not in panel:
            panel += up.stderr.readline()
        found = re.search(r"API\s+(http://\S+)", panel)
        assert found
        before = {child.pid for child in psutil.Process(up.pid).children()}
        restart = [*call, "restart", "--data", str(data), "--json"]
        with subprocess.Popen(restart, cwd=ROOT, stdout=subprocess.PIPE, text=True) as restarting:
            while restarting.poll() is None:
                assert fetch(f"{found[1]}/healthz")["alive"] is True
            assert restarting.stdout
            assert list(json.loads(restarting.stdout.read())) == [
                "api",
                "gateway",
                "worker",
                "merger",
                "sender",
                "beat",
            ]
        after = {child.pid for child in psutil.Process(up.pid).children()}
        assert (len(before), len(after), len(before & after)) == (8, 8, 2), "Redis and S3 are the same"
        up.terminate()
        up.communicate()
    done = subprocess.run(restart, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 7 and "no stack runs on" in done.stderr


def test_the_processes_read_only_these_settings_of_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SLUICE_MAX_WAIT", "1")
    wanted = settings.Settings(repository="mine", max_page=7)
    child = settings.environment(wanted, {"MORE": "yes"})
    assert settings.load(child) == wanted
    assert (child["MORE"], child["PATH"]) == ("yes", settings.environment(wanted)["PATH"])
