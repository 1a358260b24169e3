"""The supervisor: what it starts keeps running, and nothing of it outlives it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from app.stack import health
from app.stack.processes import Command, NotReady, Process, ProcessFailed, Supervisor

# Says READY once its handlers are in place, then waits for ever.
WAIT = "import signal; print('READY', flush=True); signal.pause()"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAIT}"
# Starts a child in its own session's group and says who it is.
WITH_CHILD = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print("CHILD", child.pid, flush=True)
{WAIT}
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    with Supervisor(tmp_path / "logs") as supervisor:
        yield supervisor


@pytest.fixture
def run(supervisor: Supervisor, tmp_path: Path) -> Callable[..., Process]:
    def start(program: str, name: str = "it", **options: object) -> Process:
        def ready() -> bool:
            return "READY" in supervisor.processes[name].logs()

        options = {"ready": ready, "start_timeout": 120.0, **options}
        supervisor.start(Command(name, [sys.executable, "-c", program], dict(os.environ), tmp_path, **options))
        return supervisor.processes[name]

    return start


def child_of(process: Process) -> psutil.Process:
    [line] = [line for line in process.logs().splitlines() if line.startswith("CHILD")]
    return psutil.Process(int(line.split()[1]))


def test_a_process_that_dies_is_started_again_and_the_log_says_so(run):
    process = run(WAIT)
    with capture_logs() as events:
        first = process.send(signal.SIGKILL)
        assert process.await_end(first, timeout=60)
        assert process.await_start(after=1, timeout=60)
    assert process.starts == 2
    assert process.pid != first
    assert events == [{"event": "process_died", "child": "it", "pid": first, "status": -9, "log_level": "warning"}]


def test_without_restart_a_dead_process_stays_dead_until_it_is_started(tmp_path: Path):
    with Supervisor(tmp_path / "logs", restart=False) as supervisor:
        supervisor.start(Command("it", [sys.executable, "-c", WAIT], dict(os.environ), tmp_path))
        process = supervisor.processes["it"]
        assert process.await_end(process.send(signal.SIGKILL), timeout=60)
        process.stop()
        assert (process.running, process.starts, process.status) == (False, 1, -9)
        process.start()
        assert (process.running, process.starts) == (True, 2)


def test_a_stopped_process_is_not_started_again(run):
    process = run(WAIT)
    process.stop()
    assert (process.running, process.starts, process.status) == (False, 1, -signal.SIGTERM)


def test_a_process_that_ignores_sigterm_is_killed_after_its_grace(run):
    process = run(DEAF, grace=0.2)
    process.stop()
    assert process.status == -signal.SIGKILL


@pytest.mark.long
def test_what_a_killed_process_left_behind_is_gone_when_its_end_is_seen(run):
    process = run(WITH_CHILD)
    child = child_of(process)
    assert process.await_end(process.send(signal.SIGKILL), timeout=60)
    child.wait(timeout=60)
    assert not child.is_running()


@pytest.mark.long
def test_stopping_ends_exactly_what_was_started(run, supervisor: Supervisor):
    bystander = subprocess.Popen([sys.executable, "-c", WAIT], stdout=subprocess.DEVNULL)
    try:
        one, two = run(WITH_CHILD, "one"), run(WAIT, "two")
        started = [psutil.Process(one.pid), child_of(one), psutil.Process(two.pid)]
        supervisor.stop()
        assert psutil.wait_procs(started, timeout=60)[1] == []
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_one_that_ends_before_it_is_ready_fails_with_the_end_of_its_log(run):
    with pytest.raises(ProcessFailed, match=r"it ended \(3\) before it was ready(.|\n)*\| no port for me"):
        run("print('no port for me'); raise SystemExit(3)")


def test_one_that_never_answers_fails_within_its_patience(run):
    with pytest.raises(ProcessFailed, match=r"it was not ready after 0\.3 seconds"):
        run(WAIT, ready=lambda: False, start_timeout=0.3)


def test_one_that_is_not_ready_in_time_fails_with_what_it_still_needs(run):
    def ready() -> bool:
        raise NotReady("503: the view is being loaded")

    with pytest.raises(ProcessFailed, match=r"it was not ready after 0\.3 seconds \(503: the view is being loaded\)"):
        run(WAIT, ready=ready, start_timeout=0.3)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b'HTTP/1.1 503 No\r\nContent-Length: 15\r\n\r\n{"ready":false}', 'readyz: 503 {"ready":false}'),
        (b"HTTP/1.1 503 No\r\nContent-Length: 15\r\n\r\n{", "readyz: "),
        (b"HTTP/1.1 ", "readyz: "),
        (b"", "readyz: "),
    ],
    ids=["whole", "half-a-body", "half-a-head", "nothing"],
)
def test_an_api_that_says_no_or_is_killed_while_it_answers_is_not_ready(
    sent: bytes, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_PATIENCE", 60.0)

    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(sent)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(NotReady, match=re.escape(said)):
            health.answers(f"http://127.0.0.1:{server.getsockname()[1]}/readyz")
        thread.join()


def test_a_program_that_does_not_exist_fails_by_name(supervisor: Supervisor, tmp_path: Path):
    with pytest.raises(ProcessFailed, match=r"it could not be started: .*no-such-program"):
        supervisor.start(Command("it", ["/no-such-program"], {}, tmp_path))


def test_one_that_is_replaced_runs_until_the_new_one_is_ready(run, supervisor: Supervisor, tmp_path: Path):
    old = run(WAIT)
    seen = []

    def ready() -> bool:
        seen.append(old.running)
        return len(seen) > 3

    supervisor.replace(Command("it", [sys.executable, "-c", WAIT], dict(os.environ), tmp_path, ready))
    new = supervisor.processes["it"]
    assert (new is old, new.running, old.running) == (False, True, False)
    assert seen == [True] * 4
    supervisor.stop()
    assert not new.running


def test_one_whose_successor_does_not_come_up_goes_on(run, supervisor: Supervisor, tmp_path: Path):
    old = run(WAIT)
    broken = "print('no port for me'); raise SystemExit(3)"
    with pytest.raises(ProcessFailed, match=r"it ended \(3\)"):
        supervisor.replace(Command("it", [sys.executable, "-c", broken], dict(os.environ), tmp_path, lambda: False))
    assert supervisor.processes["it"] is old
    assert (old.running, old.starts) == (True, 1)


def test_a_process_listens_on_the_socket_that_it_was_given(run):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        accept = f"import socket; print('READY', flush=True); socket.socket(fileno={fd}).accept()[0].sendall(b'it')"
        run(accept, descriptors=(fd,))
        with socket.create_connection(listener.getsockname()) as client:
            assert client.recv(2) == b"it"


def test_processes_survive_the_thread_that_asked_for_them(run):
    # PR_SET_PDEATHSIG is about the forking thread: were it this one, its end would be theirs.
    started: list[Process] = []
    thread = threading.Thread(target=lambda: started.append(run(WAIT)))
    thread.start()
    thread.join()
    [process] = started
    assert (process.running, process.starts) == (True, 1)
    assert not process.await_end(process.pid, timeout=0.2)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
@pytest.mark.long
def test_nothing_outlives_a_supervisor_that_is_killed(tmp_path: Path):
    program = f"""
import os, sys, signal
from pathlib import Path
from app.stack.processes import Command, Supervisor
here = Path({str(tmp_path)!r})
supervisor = Supervisor(here / "logs")
supervisor.start(Command("it", [sys.executable, "-c", {DEAF!r}], dict(os.environ), here))
print(supervisor.processes["it"].pid, flush=True)
signal.pause()
"""
    root = str(Path(__file__).parents[3])
    with subprocess.Popen([sys.executable, "-c", program], cwd=root, stdout=subprocess.PIPE, text=True) as keeper:
        assert keeper.stdout
        process = psutil.Process(int(keeper.stdout.readline()))
        keeper.kill()
        process.wait(timeout=60)
    assert not process.is_running()
