"""Git as the gateway runs it: upload-pack for one request, and bundles. How many run at once is bounded.

A process reads its request from a file and writes to a pipe, so no thread has to feed it. It leads a group of its own:
upload-pack starts pack-objects, which is to end with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeVar

import structlog

from app.access.caller import Caller
from app.gateway.shares import Shares, ShareTaken
from app.gateway.wire.protocol import MAIN
from storage.base.errors import Unavailable
from storage.git.run_git import Git, isolated_environment

log = structlog.get_logger()
T = TypeVar("T")

_SHOWN = 500  # bytes of what a process complained of
_CONFIGURED = {
    "uploadpack.allowFilter": "true",
    # A store has only objects that whoever may use it may read, and a partial clone asks for any of them by id.
    "uploadpack.allowAnySHA1InWant": "true",
    # By protocol version 0; by version 2 the gateway lists refs itself.
    "transfer.hideRefs": "refs",
    # The folder may be a volume that another user owns.
    "safe.directory": "*",
    "gc.auto": "0",
}
_SHOWN_REFS = (MAIN.decode(), "refs/tags")
_OPTIONS = [part for name, text in _CONFIGURED.items() for part in ("-c", f"{name}={text}")]
_OPTIONS += [part for ref in _SHOWN_REFS for part in ("-c", f"transfer.hideRefs=!{ref}")]


class Busy(Unavailable):
    """Too many of Git's processes run at the moment."""


class GitProcess:
    """A process of Git that runs, its output, and its end."""

    def __init__(self, popen: subprocess.Popen[bytes], errors: IO[bytes], ended: Callable[[], None]) -> None:
        assert popen.stdout is not None
        self._popen = popen
        self._errors = errors
        self._ended: Callable[[], None] | None = ended
        self._lock = threading.Lock()
        self.output = popen.stdout.fileno()

    def read(self, size: int) -> bytes:
        """Return what it writes next, nothing at its end."""
        return os.read(self.output, size)

    def kill(self) -> None:
        """End it and what it has started; whoever reads finds the end of its output."""
        with self._lock:
            # Until it is waited for, the number is its own.
            if self._ended:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._popen.pid, signal.SIGKILL)

    def finish(self) -> int:
        """Wait for its end and return its status; killed first where its output is not read to the end."""
        assert self._popen.stdout is not None
        self._popen.stdout.close()
        os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            status = self._popen.wait()
            ended, self._ended = self._ended, None
        if ended:
            ended()
        if status > 0:
            self._errors.seek(0, os.SEEK_END)
            self._errors.seek(max(0, self._errors.tell() - _SHOWN))
            log.info("git_failed", status=status, reason=self._errors.read().decode(errors="replace").strip())
        self._errors.close()
        return status


class GitProcesses:
    """Starts processes, `most` at a time, for one principal a `part` of them; others wait up to `patience` seconds."""

    def __init__(self, most: int, patience: float, part: float = 1.0) -> None:
        self._places = threading.BoundedSemaphore(most)
        self._shares = Shares("processes of Git at work", most, part)
        self._patience = patience

    def patiently(self, who: Caller, start: Callable[[], T]) -> T:
        """Call `start`, which starts a process for a caller where it needs one, as soon as that may have one more.

        Whatever `start` looks at before is looked at again after each wait, and nothing of it is kept meanwhile.
        Raises ShareTaken where `patience` is over, and what `start` raises.
        """
        until = time.monotonic() + self._patience
        while True:
            try:
                return start()
            except ShareTaken:
                if not self._shares.await_one(who, until):
                    raise

    def upload_pack(self, store: Path, request: IO[bytes], version: int, who: Caller | None = None) -> GitProcess:
        """Start upload-pack for one request, a file. Raises ShareTaken, Busy and GitFailed."""
        return self._start(store, ["upload-pack", "--stateless-rpc", str(store)], request, version, who)

    def advertise(self, store: Path, who: Caller | None = None) -> GitProcess:
        """Start upload-pack for the refs as protocol version 0 lists them. Raises ShareTaken, Busy and GitFailed."""
        return self._start(store, ["upload-pack", "--stateless-rpc", "--advertise-refs", str(store)], None, 0, who)

    def bundle(self, store: Path, who: Caller | None = None) -> GitProcess:
        """Start making a bundle of the branch. Raises ShareTaken, Busy and GitFailed."""
        return self._start(store, ["bundle", "create", "--quiet", "-", "HEAD", MAIN.decode()], None, 0, who)

    def _start(
        self, store: Path, command: list[str], request: IO[bytes] | None, version: int, who: Caller | None
    ) -> GitProcess:
        give_back = self._shares.take(who)
        if not self._places.acquire(timeout=self._patience):
            give_back()
            raise Busy

        def ended() -> None:
            self._places.release()
            give_back()

        try:
            environment = isolated_environment(store)
            if version:
                environment["GIT_PROTOCOL"] = f"version={version}"
            errors = tempfile.TemporaryFile()  # noqa: SIM115 - GitProcess closes it
            stdin = subprocess.DEVNULL
            if request:
                stdin = request.fileno()
                os.lseek(stdin, 0, os.SEEK_SET)  # another process may have read it
            popen = Git(environment=environment).start(*_OPTIONS, *command, stdin=stdin, stderr=errors, alone=True)
        except BaseException:
            ended()
            raise
        return GitProcess(popen, errors, ended)
