"""A deployment by compose.yaml: its services, the commands of their health checks, and killing them."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import yaml

from deploy.engine import CommandFailed, Engine
from deploy.production import ask

PROJECT = "sluice-check"
HEALTHY_SECONDS = 180.0
# Services of ours, which run from our image, behind those that they need.
SERVERS = ("redis", "minio")
# Lines of a service's log that are shown where something failed.
LOG_LINES = "40"


class Deployment:
    """The services of one project's compose.yaml."""

    def __init__(self, engine: Engine, project: Path, token: str) -> None:
        self._engine = engine
        self._token = token
        self._project = project
        self._services: dict[str, Any] = yaml.safe_load((project / "compose.yaml").read_text())["services"]
        lines = (project / ".env").read_text().splitlines()
        self._variables = dict(line.split("=", 1) for line in lines)

    @property
    def services(self) -> list[str]:
        """All services, servers first."""
        return [*SERVERS, *self.own_services]

    @property
    def own_services(self) -> list[str]:
        """Those that run Sluice."""
        return [name for name in self._services if name not in SERVERS]

    @property
    def url(self) -> str:
        """Where the API answers, by its published port."""
        return f"http://127.0.0.1:{self._variables['API_PORT']}"

    @property
    def git_url(self) -> str:
        """Where the gateway answers, by its published port."""
        return f"http://127.0.0.1:{self._variables['GIT_PORT']}"

    def up(self) -> None:
        """Start every service from the image that was built."""
        self._compose("up", "--detach", "--no-build")

    def down(self) -> None:
        """Stop every service and remove its container, volumes and networks."""
        self._compose("down", "--volumes")

    def await_healthy(self) -> None:
        """Wait until the command of every service's health check succeeds in its container. Raises CommandFailed."""
        until = time.monotonic() + HEALTHY_SECONDS
        for name in self.services:
            while True:
                try:
                    self._check_health(name)
                    break
                except CommandFailed as failure:
                    if time.monotonic() > until:
                        raise CommandFailed(f"{name} did not become healthy: {failure}") from None
                time.sleep(0.5)

    def check_confinement(self, service: str) -> None:
        """Check that a container can write no file of its image and has no capability. Raises CommandFailed."""
        script = "grep -q '^CapEff:[[:space:]]*0*$' /proc/self/status && ! touch /srv/written 2>/dev/null"
        self.run_in(service, ["/bin/sh", "-c", script])

    def kill(self, service: str) -> None:
        """Kill a container's process as a crash would, and see it running again: by its restart policy, or started."""
        container = self._container(service)
        self._engine.run("kill", "--signal", "KILL", container)
        # Engines differ in whether a kill by hand counts as a stop by hand; `start` is a no-op where it runs.
        self._engine.run("start", container)

    def run_in(self, service: str, command: list[str]) -> str:
        """Run a command in a service's container and return its output. Raises CommandFailed."""
        return self._engine.run("exec", self._container(service), *command)

    def state(self, repository: str) -> dict[str, str]:
        """Return what must outlive every kill: the tip, the global head, and the epoch that Redis' volume keeps."""
        key = f"sluice:{{{repository}}}:epoch"
        epoch = self.run_in("redis", ["redis-cli", "get", key]).strip()
        head = ask(f"{self.url}/v1/head", token=self._token)
        return {"epoch": epoch, "heads": f"{head['tip']['commit']} {head['main']['commit']}"}

    def show_logs(self) -> None:
        """Print the last lines of every service's log."""
        for name in self.services:
            try:
                lines = self._engine.run("logs", "--tail", LOG_LINES, self._container(name))
            except CommandFailed as failure:
                lines = str(failure)
            print(f"--- {name}\n{lines}", file=sys.stderr)

    def _check_health(self, service: str) -> None:
        check = self._services[service]["healthcheck"]
        container = self._container(service)
        running = self._engine.run("inspect", "--format", "{{.State.Running}}", container).strip()
        if running != "true":
            raise CommandFailed(f"{service} does not run")
        if not check.get("disable"):
            kind, *command = [part.replace("$$", "$") for part in check["test"]]
            self.run_in(service, command if kind == "CMD" else ["/bin/sh", "-c", *command])

    def _container(self, service: str) -> str:
        labels = {"com.docker.compose.project": PROJECT, "com.docker.compose.service": service}
        filters = [part for name, value in labels.items() for part in ("--filter", f"label={name}={value}")]
        ids = self._engine.run("ps", "--all", "--quiet", *filters).split()
        if len(ids) != 1:
            raise CommandFailed(f"{service} has {len(ids)} containers")
        return ids[0]

    def _compose(self, *arguments: str) -> None:
        self._engine.run_compose(self._project, "-p", PROJECT, *arguments)
