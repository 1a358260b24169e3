"""Work in a process of its own: its memory ends with it, and it ends with whoever waits for it."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tasks.node.forked import EndedBadly, run_forked

ROOT = Path(__file__).parents[3]
# Waits for work that never ends; says who does it, and when it waits no more.
WAITING = """
import os, signal, sys, time
from tasks.node import forked as module
from tasks.node.forked import run_forked

module._GRACE = float(sys.argv[1])

class Stopped(Exception):
    pass

def stop(*_):
    raise Stopped

def work():
    try:
        print(os.getpid(), flush=True)
        time.sleep(600)
    finally:
        print("given back", flush=True)

signal.signal(signal.SIGTERM, stop)
try:
    run_forked(work)
except Stopped:
    print("stopped", flush=True)
    time.sleep(600)
"""


def fail() -> bool:
    raise ValueError("it went wrong")


def be_killed() -> bool:
    os.kill(os.getpid(), signal.SIGKILL)
    return True


@pytest.fixture(params=[60.0])
def waiting(request: pytest.FixtureRequest) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """A process that waits for another, and the other; the parameter is its seconds from SIGTERM to SIGKILL."""
    command = [sys.executable, "-c", WAITING, str(request.param)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            worker = psutil.Process(int(process.stdout.readline()))
            assert worker.ppid() == process.pid
            yield process, worker
        finally:
            process.kill()


def ended(process: psutil.Process) -> bool:
    try:
        process.wait(60)
    except psutil.TimeoutExpired:
        return False
    return True


def test_work_is_done_in_another_process(tmp_path: Path) -> None:
    assert run_forked(lambda: (tmp_path / "done").write_text(str(os.getpid())) > 0) is True
    assert int((tmp_path / "done").read_text()) != os.getpid()


def test_one_that_does_nothing_says_so() -> None:
    assert run_forked(lambda: False) is False


def test_its_memory_ends_with_it() -> None:
    kept = []

    def work() -> bool:
        kept.extend(bytes([i % 256]) * 3000 for i in range(50_000))
        return True

    before = psutil.Process().memory_info().rss
    run_forked(work)
    assert psutil.Process().memory_info().rss - before < 20_000_000
    assert not kept


@pytest.mark.parametrize(("work", "said"), [(fail, "exit status 1"), (be_killed, "killed by signal 9")])
def test_one_that_ends_badly_is_told(work: Callable[[], bool], said: str) -> None:
    with pytest.raises(EndedBadly, match=said):
        run_forked(work)


def test_what_went_wrong_stands_in_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EndedBadly):
        run_forked(fail)
    said = "".join(capfd.readouterr())
    assert "work_failed" in said
    assert "it went wrong" in said
    assert "in fail" in said  # the traceback


@pytest.mark.parametrize(("waiting", "frozen"), [(60.0, False), (0.5, True)], indirect=["waiting"])
@pytest.mark.long
def test_who_waits_no_longer_ends_it(waiting: tuple[subprocess.Popen[str], psutil.Process], frozen: bool) -> None:
    process, worker = waiting
    if frozen:
        worker.suspend()
    process.terminate()
    assert process.stdout
    if not frozen:
        assert process.stdout.readline() == "given back\n"
    assert process.stdout.readline() == "stopped\n"
    assert ended(worker)
    assert process.poll() is None


def test_one_that_is_told_to_stop_ends_though_its_parent_would_go_on() -> None:
    before = signal.signal(signal.SIGTERM, lambda *_: pytest.fail("the handler of the parent was called"))
    try:
        with pytest.raises(EndedBadly, match="exit status 1"):
            run_forked(lambda: os.kill(os.getpid(), signal.SIGTERM) or True)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.skipif(platform.system() != "Linux", reason="Linux alone tells a process that its parent died")
@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.long
def test_it_dies_with_who_waits(waiting: tuple[subprocess.Popen[str], psutil.Process], stopped: bool) -> None:
    process, worker = waiting
    if stopped:
        worker.suspend()
    process.kill()
    assert ended(worker)
