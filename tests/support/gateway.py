"""The gateway as a process of its own, and plain Git as its client."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from app.stack import commands
from app.stack.processes import Command, Process, Supervisor
from app.stack.servers import free_ports
from storage.base.settings import Settings, environment
from tests.support.api_server import PATIENCE, ROOT, Answer, Server, answers_at

WHOLE = "-/repository"
UPLOAD = "git-upload-pack"
_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "LC_ALL": "C",
}


def git(folder: Path, *arguments: str, status: int = 0, **environ: str) -> str:
    """Run Git in a folder, without this machine's configuration; return what it prints, also errors if it fails."""
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], env=_ENVIRONMENT | {"HOME": str(folder)} | environ, text=True,
        capture_output=True, timeout=PATIENCE, check=False, errors="surrogateescape",
    )  # fmt: skip
    assert done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
    return (done.stdout + (done.stderr if status else "")).strip()


def basic(token: str) -> str:
    return "Basic " + base64.b64encode(f"git:{token}".encode()).decode()


@dataclass
class Gateway(Server):
    """A gateway, and its clients."""

    folder: Path = Path()
    token: str | None = None

    def url(self, name: str = WHOLE) -> str:
        """Where a repository is."""
        return f"http://127.0.0.1:{self.port}/git/{name}.git"

    def as_(self, token: str | None) -> Gateway:
        """The same for another client."""
        return replace(self, token=token)

    @property
    def options(self) -> list[str]:
        """What Git has to be told to send the token."""
        return ["-c", f"http.extraHeader=Authorization: {basic(self.token)}"] if self.token else []

    def clone(self, into: Path, *options: str, name: str = WHOLE, status: int = 0) -> str:
        """Clone into a folder that is not there; the clone remembers the token."""
        before = [part for part in options if part.startswith("-c=")]
        more = [part for part in options if part not in before]
        config = [word for part in before for word in ("-c", part.removeprefix("-c="))]
        return git(into.parent, *config, "clone", "-q", *self.options, *more, self.url(name), str(into), status=status)

    def ask_git(self, name: str, body: bytes, version: int = 2, **headers: str) -> Answer:
        """Send the bytes of a request to upload-pack."""
        known = {"Content_Type": f"application/x-{UPLOAD}-request", "Git_Protocol": f"version={version}"}
        token = {"Authorization": basic(self.token)} if self.token else {}
        return self.post(f"/git/{name}.git/{UPLOAD}", body, **(known | token | headers))


@contextmanager
def serving(
    settings: Settings, folder: Path, name: str = "gateway", token: str | None = None, workers: int = 1
) -> Iterator[Gateway]:
    """Run a gateway with a folder of its own."""
    [port] = free_ports(1)
    folder.mkdir(parents=True, exist_ok=True)
    chosen = replace(settings, gateway_folder=str(folder / name))
    argv = commands.runnable(commands.gateway(workers, chosen.gateway_threads, f"127.0.0.1:{port}"))
    environ = environment(chosen, {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"})
    with Supervisor(folder / "logs", restart=True) as supervisor:
        command = Command(name, argv, environ, folder, lambda: answers_at(port), grace=commands.gateway_grace())
        supervisor.start(command)
        process: Process = supervisor.processes[name]
        server = Gateway(port, process, folder=folder / name, token=token)
        yield server
        for connection in server.opened:
            connection.close()
