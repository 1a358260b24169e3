"""A small supervisor: starts processes, restarts those that die, and stops exactly what it started.

Each process has a thread that forks it, waits for it and forks it again. On Linux a process also dies with that
thread, and so with this program however it ends (even by `kill -9`): the kernel sends the signal (prctl(2),
PR_SET_PDEATHSIG, which follows the forking thread). Celery sets the same for its own children. Each process leads a
session of its own. When the leader has ended, the rest of its session is killed before the leader is reaped, since
until then its process id cannot be used again.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from app.stack.log_files import ROTATION, Rotating, Rotation
from storage.base.errors import Refused, Unavailable

log = structlog.get_logger()

# Seconds before a process that died is started again: doubled each time up to the most, and back to the first once
# it has lived for `_STEADY`.
_FIRST_DELAY, _MAX_DELAY, _STEADY = 0.2, 5.0, 10.0
# Seconds between two questions whether a server answers; only its answer tells, so it has to be asked.
_ASK_EVERY = 0.05
_PR_SET_PDEATHSIG = 1
# Loaded before any fork: a child between fork and exec must not load libraries.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class ProcessFailed(Refused):
    """A process did not start, or ended before it was ready."""


class NotReady(Unavailable):
    """A process is not ready; the message is what it still needs."""


@dataclass(frozen=True)
class Command:
    """A process to run and keep running."""

    name: str
    argv: list[str]
    # The whole environment, secrets in it: not shown.
    environ: Mapping[str, str] = field(repr=False)
    # The working directory.
    folder: Path
    # Says whether the process answers its protocol; may raise NotReady. None: being alive is enough.
    ready: Callable[[], bool] | None = None
    # Seconds that this may take.
    start_timeout: float = 90.0
    # Seconds between SIGTERM and SIGKILL.
    grace: float = 20.0
    # Files outside of its folder that it leaves behind when it is killed; removed when it is stopped.
    leaves: tuple[Path, ...] = ()
    # Descriptors of this process that it gets under the same numbers: sockets that go on listening whoever accepts.
    descriptors: tuple[int, ...] = ()


class Process:
    """One command, the thread that keeps it running, and its log file."""

    def __init__(self, command: Command, log_file: Path, restart: bool, rotation: Rotation = ROTATION) -> None:
        """Nothing runs before `start`."""
        self.command = command
        self.log_file = log_file
        self.restart = restart
        self._rotation = rotation
        # How often it was started since it was made.
        self.starts = 0
        # The exit status of the last one that ended (minus the signal that killed it).
        self.status: int | None = None
        self._popen: subprocess.Popen[bytes] | None = None
        self._failure: OSError | None = None
        self._log_start = 0
        self._stopping = threading.Event()
        self._settled = threading.Event()
        self._thread: threading.Thread | None = None
        self._state = threading.Condition()

    @property
    def pid(self) -> int | None:
        """The process id; None while it does not run."""
        with self._state:
            return self._popen.pid if self._popen else None

    @property
    def running(self) -> bool:
        """Whether it runs at this moment."""
        return self.pid is not None

    def start(self) -> None:
        """Start it, unless its thread already keeps it running; returns once it was forked, or failed to."""
        if self._thread and self._thread.is_alive():
            return
        self._stopping.clear()
        self._settled.clear()
        self._failure = self.status = None
        self._thread = threading.Thread(target=self._keep, name=f"keep {self.command.name}", daemon=True)
        self._thread.start()
        self._settled.wait()

    def await_ready(self) -> None:
        """Wait until it answers. Raises ProcessFailed with the end of its log if it ends before, or takes too long."""
        deadline = time.monotonic() + self.command.start_timeout
        # It may be started again while it is asked: the output of the first one says what is wrong.
        first, start_of_log = self.starts, self._log_start
        while True:
            if self._failure:
                raise ProcessFailed(f"{self.command.name} could not be started: {self._failure}") from self._failure
            if self.status is not None and (not self.running or self.starts > first):
                raise ProcessFailed(
                    f"{self.command.name} ended ({self.status}) before it was ready{self._log_end(start_of_log)}"
                )
            needs = ""
            try:
                if self.command.ready is None or self.command.ready():
                    return
            except NotReady as answer:
                needs = f" ({answer})"
            if time.monotonic() > deadline:
                waited = f"{self.command.start_timeout:g} seconds{needs}"
                raise ProcessFailed(f"{self.command.name} was not ready after {waited}{self._log_end(start_of_log)}")
            with self._state:
                self._state.wait(_ASK_EVERY)

    def send(self, number: int) -> int:
        """Send a signal; returns the process id that got it. Raises ProcessFailed if nothing runs."""
        with self._state:
            if self._popen is None:
                raise ProcessFailed(f"{self.command.name} is not running")
            # While `_popen` is set the process has not been reaped, so the number is still its own.
            os.kill(self._popen.pid, number)
            return self._popen.pid

    def await_end(self, pid: int, timeout: float) -> bool:
        """Wait until process `pid` (from `send`) and the rest of its session have ended."""
        with self._state:
            return self._state.wait_for(lambda: self._popen is None or self._popen.pid != pid, timeout)

    def await_start(self, after: int, timeout: float) -> bool:
        """Wait until it has been started more than `after` times."""
        with self._state:
            return self._state.wait_for(lambda: self.starts > after, timeout)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ask it to stop, wait for `grace`, kill it; it is not started again. Returns when it is gone."""
        self.ask_to_stop(number)
        thread = self._thread
        if thread is None:
            return
        thread.join(self.command.grace)
        if thread.is_alive():
            log.warning("process_killed", child=self.command.name, grace=self.command.grace)
            with contextlib.suppress(ProcessFailed):  # it ended at this very moment
                self.send(signal.SIGKILL)
            thread.join()
        for path in self.command.leaves:
            path.unlink(missing_ok=True)

    def ask_to_stop(self, number: int = signal.SIGTERM) -> None:
        """Send SIGTERM (or `number`) once, without waiting; it is not started again."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        with contextlib.suppress(ProcessFailed):  # nothing runs: that is what was wanted
            self.send(number)

    def logs(self, start: int | None = None) -> str:
        """Its log since it was last started, or from the byte `start` on."""
        if not self.log_file.exists():
            return ""
        start = self._log_start if start is None else start
        with self.log_file.open("rb") as output:
            output.seek(start if start <= self.log_file.stat().st_size else 0)  # it was rotated since
            return output.read().decode(errors="replace")

    def _keep(self) -> None:
        delay = _FIRST_DELAY
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                pid = self._fork()
            except OSError as failure:
                self._failure = failure
                self._settled.set()
                return
            self._settled.set()
            if self._stopping.is_set():  # asked between the loop's question and the fork
                os.kill(pid, signal.SIGTERM)
            status = self._wait(pid)
            if self._stopping.is_set():
                return
            log.warning("process_died", child=self.command.name, pid=pid, status=status)
            if not self.restart:
                return
            delay = _FIRST_DELAY if time.monotonic() - began > _STEADY else min(2 * delay, _MAX_DELAY)
            self._stopping.wait(delay)

    def _fork(self) -> int:
        self._rotation.apply(self.log_file)
        with self.log_file.open("ab") as output:
            self._log_start = output.tell()
            popen = subprocess.Popen(
                self.command.argv,
                cwd=self.command.folder,
                env=dict(self.command.environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=self.command.descriptors,
                preexec_fn=_die_with_parent(os.getpid()),
            )
        with self._state:
            self._popen = popen
            self.starts += 1
            self._state.notify_all()
        return popen.pid

    def _wait(self, pid: int) -> int:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(ProcessLookupError):  # nobody was left
            os.killpg(pid, signal.SIGKILL)
        with self._state:
            assert self._popen is not None
            self.status = self._popen.wait()
            self._popen = None
            self._state.notify_all()
            return self.status

    def _log_end(self, start: int) -> str:
        lines = self.logs(start).splitlines()[-30:]
        return "".join(f"\n  | {line}" for line in [f"the end of {self.log_file}:", *lines])


class Supervisor:
    """Processes by name. Leaving it as a context manager stops all of them."""

    def __init__(self, logs: Path, restart: bool = True, abrupt: bool = False, rotation: Rotation = ROTATION) -> None:
        """Log files go to the folder `logs`, and are rotated; `restart` says whether the dead are started again.

        `abrupt` stops with SIGKILL, for processes whose data nobody will read again.
        """
        self.abrupt = abrupt
        logs.mkdir(parents=True, exist_ok=True)
        self.logs = logs
        self.restart = restart
        self.processes: dict[str, Process] = {}
        self._rotation = rotation
        self._rotating = Rotating(rotation, lambda: [process.log_file for process in list(self.processes.values())])

    def start(self, *commands: Command) -> None:
        """Start these together and wait until each is ready."""
        self._rotating.begin()
        for command in commands:
            if command.name in self.processes:
                raise ValueError(f"there is a {command.name} already")
            log_file = self.logs / f"{command.name}.log"
            self.processes[command.name] = Process(command, log_file, self.restart, self._rotation)
            self.processes[command.name].start()
        for command in commands:
            self.processes[command.name].await_ready()

    def replace(self, command: Command) -> None:
        """Start a process beside the one of its name, and stop that one as soon as the new one is ready.

        Raises ProcessFailed if it does not become ready: then the old one keeps running.
        """
        old = self.processes[command.name]
        new = Process(command, old.log_file, self.restart, self._rotation)
        new.start()
        try:
            new.await_ready()
        except BaseException:
            new.stop(signal.SIGKILL)
            raise
        self.processes[command.name] = new
        old.stop()

    def stop(self, *names: str) -> None:
        """Stop these together (all of them by default, the last one started first) and wait until they are gone."""
        chosen = [self.processes[name] for name in names or list(self.processes)[::-1]]
        for process in chosen:
            process.ask_to_stop(signal.SIGKILL if self.abrupt else signal.SIGTERM)
        for process in chosen:
            process.stop()

    def end(self) -> None:
        """Look after log files no more."""
        self._rotating.end()

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *exc: object) -> None:
        """Stop everything."""
        self.stop()
        self.end()


def _die_with_parent(parent: int) -> Callable[[], None] | None:
    """What the child runs between fork and exec; None if the system has no such signal."""
    if _LIBC is None:
        return None
    prctl = _LIBC.prctl

    def arm() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent:  # it died before the kernel was asked
            os._exit(1)

    return arm
