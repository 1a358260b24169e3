"""Real servers for the tests: one Redis and one S3 server of each kind for a whole run, started when first asked for.

A test gets a fresh repository name, not a fresh server: everything that Sluice keeps stands under that name.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app.stack.processes import Supervisor
from app.stack.servers import Server, find_s3, redis_server, s3_server
from benchmarks import toxiproxy
from benchmarks.toxiproxy import Toxiproxy, toxiproxy_server

# In CI nothing may be left out.
REQUIRED = os.environ.get("CI") == "true"
# Of the reason of what is skipped for want of a program; conftest sums those up at the end.
MISSING = "is not on this machine"

# What is looked for: the environment variable that may name it (not `SLUICE_…`: Settings refuses unknown ones), the
# program on PATH, and how to get one.
PROGRAMS = {
    "minio": ("TEST_MINIO", "minio", "go install github.com/minio/minio@latest"),
    "toxiproxy": (toxiproxy.VARIABLE, toxiproxy.PROGRAM, toxiproxy.HOW),
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
        folder = self.folder / "toxiproxy"
        folder.mkdir(exist_ok=True)
        return Toxiproxy(self._start("toxiproxy", lambda: toxiproxy_server(program, folder)).settings["api"])

    def _start(self, name: str, build: Any) -> Server:
        if name not in self._started:
            server = build()
            self.supervisor.start(server.command)
            self._started[name] = server
        return self._started[name]


def seaweedfs() -> str:
    """The SeaweedFS wheel's program, a requirement of the tests."""
    return find_s3("seaweedfs")[1]
