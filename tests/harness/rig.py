"""A stack that can be broken: every process has proxies of its own to Redis and S3, a clock, and a small disk for S3.

The processes are those of `sluice up`, with a second node of workers, so that one can be cut off or stopped while the
other goes on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis

from app.stack import Stack, Supervisor, commands, state
from app.stack.processes import Command, ProcessFailed
from app.stack.servers import S3_PORTS, free_ports
from storage.settings import Settings, environment
from tests.servers import Proxy, Toxiproxy

# Short times, so that what waits for one of them is seen within a round.
SETTINGS: dict[str, Any] = {
    "lock_ttl": 1.5,
    "message_ttl": 3.0,
    "upkeep_interval": 1.0,
    "merge_interval": 0.5,
    "s3_timeout": 3.0,
    "redis_timeout": 2.0,
    "commit_workers": 2,
    "commit_changesets": 16,
    "gc_interval": 2.0,
    "gc_grace": 2.0,
}
WORKERS = ("worker", "second", "merger")
_NODES = ("api", *WORKERS, "beat")
DISK_BYTES = 1 << 30
_FAKETIME = "vendor/libfaketime/src/libfaketime.so.1"


class Rig(Stack):
    """A whole Sluice with everything in between that nemeses need. Used with `with`."""

    def __init__(self, data: Path, s3: str, toxiproxy: str | None, s3_program: str | None = None) -> None:
        """Describe it; `toxiproxy` is the program, None where there is none; `s3_program` overrides the search."""
        super().__init__(data, SETTINGS, s3=s3, with_flower=False, workers=1, abrupt=True, s3_program=s3_program)
        self.links: dict[tuple[str, str], Proxy] = {}  # by process and server (redis or s3)
        self.clock = data / "clock"
        # Why something cannot be broken on this machine, by what it is.
        self.missing: dict[str, str] = {}
        self._program = toxiproxy
        self._around = contextlib.ExitStack()
        self._ports = free_ports(3 + S3_PORTS)
        self._disk = data / f"s3-{s3}"

    def start(self) -> Rig:
        """Start everything."""
        data, kind = self._data, self._s3
        assert data
        data.mkdir(parents=True, exist_ok=True)
        state.save(data, dataclasses.replace(state.load(data, kind), ports=self._ports))
        self._around.enter_context(self._small_disk())
        if self._program:
            self._link(self._program)
        else:
            self.missing["links"] = "there is no toxiproxy-server on PATH"
        self.clock.write_text("+0\n")
        if not faketime():
            self.missing["clock"] = "libfaketime's wheel is not installed"
        super().start()
        return self

    def __enter__(self) -> Rig:
        """Start it."""
        return self.start()

    def stop(self) -> None:
        """Stop everything."""
        try:
            super().stop()
        finally:
            self._around.close()

    def direct_redis(self) -> redis.Redis:
        """A client of Redis with no proxy in between."""
        return redis.Redis.from_url(self.settings.redis_url, socket_timeout=5, socket_connect_timeout=2)

    def disk(self) -> Path | None:
        """The S3 server's disk, None where it is none of its own."""
        return None if "disk" in self.missing else self._disk

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a process and its children, if it runs at all."""
        pid = self.processes[name].pid
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)

    def end(self, name: str) -> None:
        """Kill a process, if it runs at all; the stack starts it again."""
        with contextlib.suppress(ProcessFailed):
            self.kill(name, signal.SIGKILL)

    def change(self, names: tuple[str, ...], **environ: str) -> None:
        """Have processes killed and started again with another environment."""
        for name in names:
            process = self.processes[name]
            process.command = dataclasses.replace(process.command, environ={**process.command.environ, **environ})
            self.end(name)

    def copy_redis(self, to: Path) -> None:
        """Keep a copy of what Redis has on its disk at this moment."""
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.data / "redis", to)

    def roll_back_redis(self, copy: Path) -> None:
        """Let Redis come back with what it had when the copy was made."""
        self.halt("redis")
        shutil.rmtree(self.data / "redis")
        shutil.copytree(copy, self.data / "redis")
        self.resume("redis")

    def _command(self, name: str, argv: list[str], *others: Any, **options: Any) -> Command:
        # Two nodes of one process each, instead of one node of `commit_workers`.
        made = super()._command(name, commands.worker(1) if name == "worker" else argv, *others, **options)
        more = {}
        if (name, "redis") in self.links:
            more["SLUICE_REDIS_URL"] = f"redis://{self.links[name, 'redis'].address}/0"
            more["SLUICE_S3_ENDPOINTS"] = f"http://{self.links[name, 's3'].address}"
        library = faketime()
        if name == "worker" and library:
            more |= {
                "LD_PRELOAD": str(library),
                "FAKETIME_TIMESTAMP_FILE": str(self.clock),
                "FAKETIME_CACHE_DURATION": "1",
                # Nobody sets that one back.
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        return dataclasses.replace(made, environ={**made.environ, **more})

    def _own_commands(self) -> list[Command]:
        second = ["commits2@%h" if part == "commits@%h" else part for part in commands.worker(1)]
        return [*super()._own_commands(), self._command("second", second)]

    def _link(self, program: str) -> None:
        assert self._data
        supervisor = self._around.enter_context(Supervisor(self._data / "logs", restart=False, abrupt=True))
        [port] = free_ports(1)
        toxiproxy = Toxiproxy(f"http://127.0.0.1:{port}")

        def ready() -> bool:
            try:
                toxiproxy.call("GET", "/version")
            except OSError:
                return False
            except ValueError:  # its version is no JSON
                return True
            return True

        argv = [program, "-host", "127.0.0.1", "-port", str(port)]
        supervisor.start(Command("toxiproxy", argv, environment(Settings()), self._data, ready))
        for name in _NODES:
            for server, at in (("redis", self._ports[2]), ("s3", self._ports[3])):
                self.links[name, server] = toxiproxy.proxy(f"{name}-{server}", f"127.0.0.1:{at}")

    @contextlib.contextmanager
    def _small_disk(self) -> Iterator[None]:
        """Give the S3 server a disk of its own that can be filled."""
        self._disk.mkdir(parents=True, exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "sluice-harness", str(self._disk)]
        try:
            done = subprocess.run(mount, capture_output=True, text=True, check=False)
            reason = done.stderr.strip() if done.returncode else ""
        except FileNotFoundError:
            reason = "there is no mount(8)"
        if reason:
            self.missing["disk"] = f"a tmpfs of its own cannot be mounted: {reason}"
            yield
            return
        try:
            yield
        finally:
            # Detached at once and gone when the last file of it is closed.
            subprocess.run(["umount", "--lazy", str(self._disk)], check=True)


def faketime() -> Path | None:
    """The library that sets a process's clock, out of the wheel; None where that is not installed."""
    found = importlib.util.find_spec("libfaketime")
    if found is None or found.origin is None:
        return None
    library = Path(found.origin).parent / _FAKETIME
    return library if library.exists() else None
