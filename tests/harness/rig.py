"""A stack that can be broken: proxies on every link, clocks that can be set, failpoints, small disks.

The processes are those of `sluice up`, with a second node of workers, so that one can be cut off or stopped while the
other goes on, and a second beat, which only its nemesis starts. Every process reaches Redis, and S3 if it has to,
through a proxy of its own, and so do writers the API and pushers the gateway.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis
from ulid import ULID

from app.stack import commands, state
from app.stack.processes import Command, Process, ProcessFailed, Supervisor
from app.stack.servers import S3_PORTS, free_ports
from app.stack.stack import PORTS
from benchmarks.toxiproxy import Proxy, Toxiproxy, toxiproxy_server
from storage.access.new_secret import new_secret
from storage.access.tokens import hash_of
from storage.backends.bucket import Bucket, BucketError
from tests.harness.failpoints import ENVIRON, Failpoints
from tests.harness.movable import Movable

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
    # Every job of upkeep has something to do every few seconds.
    "gc_interval": 2.0,
    "gc_grace": 2.0,
    "checkpoint_entries": 16,
    "compact_entries": 16,
    "history_age": 5.0,
    "key_age": 90.0,  # a writer repeats itself for as long as a fault lasts
    "inbox_margin": 20.0,
    "late_put": 10.0,
    "poison_wait": 5.0,
    # What clone stores do after many commits.
    "clone_packs": 8,
    "clone_checkpoint_commits": 40,
}
LONGEST_LOCK = 2.0 * SETTINGS["lock_ttl"]
WORKERS = ("worker", "second", "merger")
# The processes that reach a server through a proxy of their own. Beats do not use S3, though they have its address.
LINKS = {
    "redis": ("api", "gateway", *WORKERS, "beat", "second-beat"),
    "s3": ("api", "gateway", *WORKERS),
    "api": ("writers",),
    "git": ("pushers",),
}
CLOCKS = ("api", "worker", "merger")
_GARBAGE = 3  # packs that are left at once
DISK_BYTES = 1 << 30
GATEWAY_DISK_BYTES = 192 << 20
# What nodes run instead of the product's own: the same, with failpoints.
_STOPPABLE = {
    "tasks.celery": "tests.harness.stoppable",
    "app.api:create_app()": "tests.harness.stoppable:create_app()",
    "app.gateway.application:create_app()": "tests.harness.stoppable_gateway:create_app()",
}
_FAKETIME = "vendor/libfaketime/src/libfaketime.so.1"


class Rig(Movable):
    """A whole Sluice with everything in between that nemeses need. Used with `with`."""

    def __init__(self, data: Path, s3: str, toxiproxy: str | None, s3_program: str | None = None) -> None:
        """Describe it; `toxiproxy` is the program, None where there is none; `s3_program` overrides the search."""
        data = data.resolve()  # which nodes get, whose working directory is another
        super().__init__(
            data, SETTINGS, s3=s3, with_flower=False, workers=1, abrupt=True, s3_program=s3_program, with_gateway=True
        )  # fmt: skip
        # Of Redis and S3 nothing is asked that a token protects; its password would only stand in the way of nemeses.
        self.token = new_secret()
        self._overrides["root_token_sha256"] = hash_of(self.token)
        self.links: dict[tuple[str, str], Proxy] = {}  # by process and server, see LINKS
        self.failpoints = Failpoints(data / "failpoints")
        # Why something cannot be broken on this machine, by what it is.
        self.missing: dict[str, str] = {}
        self._program = toxiproxy
        self._around = contextlib.ExitStack()
        self._ports = free_ports(PORTS)
        self._disk = data / f"s3-{s3}"
        self.gateway_disk = data / "gateway-disk"
        self._overrides["gateway_folder"] = str(self.gateway_disk / "gateway")

    def start(self) -> Rig:
        """Start everything. Raises ProcessFailed."""
        data, kind = self._data, self._s3
        assert data
        data.mkdir(parents=True, exist_ok=True)
        state.save(data, dataclasses.replace(state.load(data, kind), ports=self._ports))
        for folder, size, what in (
            (self._disk, DISK_BYTES, "disk"),
            (self.gateway_disk, GATEWAY_DISK_BYTES, "gateway-disk"),
        ):
            self._around.enter_context(self._small_disk(folder, size, what))
        self.open_address()
        if self._program:
            self._link(self._program)
        else:
            self.missing["links"] = "there is no toxiproxy-server on PATH"
        self.failpoints.make()
        for name in CLOCKS:
            self.clock(name).write_text("+0\n")
        if not faketime():
            self.missing["clock"] = "libfaketime's wheel is not installed"
        super().start()
        if state.load(data, kind).ports != self._ports:
            self.stop()
            raise ProcessFailed("another program took a port that proxies lead to")
        second = self._command("second-beat", commands.beat())
        self.processes[second.name] = Process(second, self.data / "logs" / f"{second.name}.log", restart=True)
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

    @property
    def entrance(self) -> str:
        """Where writers reach the API."""
        link = self.links.get(("writers", "api"))
        return f"http://{link.address}" if link else self.url

    @property
    def git_entrance(self) -> str:
        """Where pushers reach the gateway: the URL below which repositories are."""
        link = self.links.get(("pushers", "git"))
        return f"http://{link.address}/git" if link else f"{self.git_url}/git"

    @property
    def clone_stores(self) -> Path:
        """The folder of the gateway's clone stores."""
        return self.gateway_disk / "gateway" / "clones"

    def clock(self, name: str) -> Path:
        """The file that says how wrong a process's clock is."""
        assert self._data
        return self._data / f"clock-{name}"

    def direct_redis(self) -> redis.Redis:
        """A client of Redis with no proxy in between."""
        return redis.Redis.from_url(self.settings.redis_url, socket_timeout=5, socket_connect_timeout=2)

    def disk(self) -> Path:
        """The S3 server's disk, if it is one of its own (see `missing`)."""
        return self._disk

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

    def is_own(self, pid: int) -> bool:
        """Whether a process is one of this rig's, or a child of one."""
        try:
            group = os.getpgid(pid)
        except ProcessLookupError:
            return False
        return any(process.pid == group for process in self.processes.values())

    def leave_garbage(self) -> None:
        """Leave packs in the bucket that no entry names, as workers do who die between the two; some minutes old."""
        bucket = Bucket(self.settings)
        for _ in range(_GARBAGE):
            old = ULID.from_timestamp(time.time() - 300)
            with contextlib.suppress(BucketError):  # another nemesis has taken it away
                for suffix in (".pack", ".idx"):
                    bucket.create(f"packs/{old}{suffix}", b"left by the harness")

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
        argv = commands.worker(1) if name == "worker" else argv
        if name in ("api", "gateway", *WORKERS):
            argv = [_STOPPABLE.get(part, part) for part in argv]
        made = super()._command(name, argv, *others, **options)
        more = {ENVIRON: str(self.failpoints.folder)}
        if (name, "redis") in self.links:
            more["SLUICE_REDIS_URL"] = f"redis://{self.links[name, 'redis'].address}/0"
        if (name, "s3") in self.links:
            more["SLUICE_S3_ENDPOINTS"] = f"http://{self.links[name, 's3'].address}"
        library = faketime()
        if name in CLOCKS and library:
            more |= {
                "LD_PRELOAD": str(library),
                "FAKETIME_TIMESTAMP_FILE": str(self.clock(name)),
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
        proxies = toxiproxy_server(program, self._data)
        supervisor.start(proxies.command)
        toxiproxy = Toxiproxy(proxies.settings["api"])
        ports = {
            "redis": self.address.port,
            "s3": self._ports[3],
            "api": self._ports[0],
            "git": self._ports[3 + S3_PORTS],
        }
        for server, processes in LINKS.items():
            for name in processes:
                self.links[name, server] = toxiproxy.proxy(f"{name}-{server}", f"127.0.0.1:{ports[server]}")

    @contextlib.contextmanager
    def _small_disk(self, folder: Path, size: int, what: str) -> Iterator[None]:
        """Make a folder a disk of its own that can be filled; where that cannot be, say why of `what`."""
        folder.mkdir(parents=True, exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "sluice-harness", str(folder)]
        try:
            done = subprocess.run(mount, capture_output=True, text=True, check=False)
            reason = done.stderr.strip() if done.returncode else ""
        except FileNotFoundError:
            reason = "there is no mount(8)"
        if reason:
            self.missing[what] = f"a tmpfs of its own cannot be mounted: {reason}"
            yield
            return
        try:
            yield
        finally:
            # Detached at once and gone when the last file of it is closed.
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def faketime() -> Path | None:
    """The library that sets a process's clock, out of the wheel; None where that is not installed."""
    spec = importlib.util.find_spec("libfaketime")
    if spec is None or spec.origin is None:
        return None
    library = Path(spec.origin).parent / _FAKETIME
    return library if library.exists() else None
