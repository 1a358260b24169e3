"""Real servers for the tests: one Redis and one S3 server of each kind for a whole run, started when first asked for.

A test gets a fresh repository name, not a fresh server: everything that Sluice keeps stands under that name.
"""

from __future__ import annotations

import json
import os
import shutil
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app.stack.processes import Command, Supervisor
from app.stack.servers import Server, find_s3, free_ports, redis_server, s3_server
from storage.base.settings import Settings, environment

# In CI nothing may be left out.
REQUIRED = os.environ.get("CI") == "true"
# Of the reason of what is skipped for want of a program; conftest sums those up at the end.
MISSING = "is not on this machine"

# What is looked for: the environment variable that may name it (not `SLUICE_…`: Settings refuses unknown ones), the
# program on PATH, and how to get one.
PROGRAMS = {
    "minio": ("TEST_MINIO", "minio", "go install github.com/minio/minio@latest"),
    "toxiproxy": (
        "TEST_TOXIPROXY",
        "toxiproxy-server",
        "go install github.com/Shopify/toxiproxy/v2/cmd/server@latest, named toxiproxy-server",
    ),
}


def find(name: str) -> str | None:
    """Where the program is, if this machine has it."""
    variable, program, _ = PROGRAMS[name]
    return shutil.which(os.environ.get(variable) or program)


def require(name: str, request: pytest.FixtureRequest) -> str:
    """Find the program, or skip the test and say so in the summary; in CI, fail."""
    path = find(name)
    if path:
        return path
    variable, program, how = PROGRAMS[name]
    advice = f"{name} {MISSING}: put {program} on PATH or name it in {variable} ({how})"
    if REQUIRED:
        pytest.fail(f"CI=true requires it: {advice}", pytrace=False)
    pytest.skip(advice)


@dataclass
class Servers:
    """The servers of a test run by name, each started when it is first asked for."""

    folder: Path
    supervisor: Supervisor
    _started: dict[str, Server] = field(default_factory=dict)

    def redis(self) -> dict[str, str]:
        """The settings of the run's Redis."""
        return self._start("redis", lambda: redis_server(self.folder / "redis")).settings

    def s3(self, kind: str, program: str) -> dict[str, str]:
        """The settings of the run's S3 server of the kind."""
        return self._start(kind, lambda: s3_server(self.folder / kind, kind, name=kind, program=program)).settings

    def toxiproxy(self, program: str) -> Toxiproxy:
        """The run's toxiproxy."""
        [port] = free_ports(1) if "toxiproxy" not in self._started else [0]

        def build() -> Server:
            folder = self.folder / "toxiproxy"
            folder.mkdir()
            argv = [program, "-host", "127.0.0.1", "-port", str(port)]
            api = f"http://127.0.0.1:{port}"
            command = Command("toxiproxy", argv, environment(Settings()), folder, lambda: _answers(f"{api}/version"))
            return Server(command, {"api": api})

        return Toxiproxy(self._start("toxiproxy", build).settings["api"])

    def _start(self, name: str, build: Any) -> Server:
        if name not in self._started:
            server = build()
            self.supervisor.start(server.command)
            self._started[name] = server
        return self._started[name]


def seaweedfs() -> str:
    """The SeaweedFS wheel's program, a requirement of the tests."""
    return find_s3("seaweedfs")[1]


class Toxiproxy:
    """Proxies that do harm: latency, resets, timeouts, truncation. See toxiproxy's README for the toxics."""

    def __init__(self, api: str) -> None:
        self.api = api

    def proxy(self, name: str, upstream: str) -> Proxy:
        """A proxy in front of `upstream` (host:port), harmless so far."""
        [port] = free_ports(1)
        body = {"name": name, "listen": f"127.0.0.1:{port}", "upstream": upstream, "enabled": True}
        self.call("POST", "/proxies", body)
        return Proxy(self, name, f"127.0.0.1:{port}")

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.api + path, data=data, method=method)
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.loads(response.read() or b"null")


@dataclass(frozen=True)
class Proxy:
    """One proxy; `address` (host:port) is where its clients connect."""

    toxiproxy: Toxiproxy
    name: str
    address: str

    def add(self, toxic: str, stream: str = "downstream", toxicity: float = 1.0, **attributes: Any) -> None:
        """Add a toxic of the type: latency, reset_peer, timeout, limit_data, slicer, bandwidth, slow_close."""
        body = {
            "name": f"{toxic}-{stream}",
            "type": toxic,
            "stream": stream,
            "toxicity": toxicity,
            "attributes": attributes,
        }
        self.toxiproxy.call("POST", f"/proxies/{self.name}/toxics", body)

    def heal(self) -> None:
        """Remove every toxic."""
        for toxic in self.toxiproxy.call("GET", f"/proxies/{self.name}/toxics"):
            self.toxiproxy.call("DELETE", f"/proxies/{self.name}/toxics/{toxic['name']}")

    def remove(self) -> None:
        """Remove the proxy; its connections are closed."""
        self.toxiproxy.call("DELETE", f"/proxies/{self.name}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False
