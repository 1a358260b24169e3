"""Plain Git that pushes to a gateway in the test's own process, and a worker that commits what it brings."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wsgi import get_input_stream

from app.gateway.application import create_app
from app.gateway.services import Gateway
from storage.base.errors import NeedsUpkeep
from storage.base.ids import ChangesetId
from storage.base.settings import Settings
from storage.commit.batch import commit_batch
from storage.commit.global_merge import merge_batch
from storage.log.manifest import Changeset
from storage.queue import read_changesets
from storage.repository import Repository
from tests.support.api import Api
from tests.support.waiting import await_true as until
from tests.support.world import World

WHOLE = "-/repository"
LINES = b"".join(b"line %d\n" % i for i in range(20))
"""A text of which different lines can be changed without a conflict."""
FOR_MAIN = "HEAD:refs/for/main"
PATIENCE = 120
GRANTS = ("agent:w writer docs/", "agent:r reader docs/", "agent:all reader /", "agent:all writer docs/")
"""What principals may do at a gateway that asks for tokens, as tests/support/principals.py takes it."""
_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Cleo",
    "GIT_COMMITTER_EMAIL": "cleo@example.org",
    "LC_ALL": "C",
}


def token(root: Api, principal: str) -> str:
    """Return a new token of a principal."""
    made = root.post("/tokens", {"principal": principal}, 201).get_json(force=True)
    return str(made["token"])


def run(
    folder: Path, *arguments: str, stdin: bytes = b"", environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run Git in a folder, by no configuration of this machine."""
    return subprocess.run(
        ["git", "-C", str(folder), *arguments], env=_ENVIRONMENT | {"HOME": str(folder)} | (environ or {}),
        input=stdin, capture_output=True, timeout=PATIENCE, check=False,
    )  # fmt: skip


def git(folder: Path, *arguments: str, stdin: bytes = b"", **environ: str) -> str:
    """Run Git, which has to succeed, and return what it prints."""
    done = run(folder, *arguments, stdin=stdin, environ=environ)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout.decode(errors="surrogateescape").strip()


@dataclass(frozen=True)
class Pushed:
    """What Git said of a push."""

    ok: bool
    said: str

    @property
    def remote(self) -> list[str]:
        """The lines of the server."""
        return [line.removeprefix("remote: ").rstrip() for line in self.said.splitlines() if line.startswith("remote:")]

    @property
    def changesets(self) -> list[str]:
        """The changesets that it names."""
        return re.findall(r"changeset ([0-9A-Z]{26})", self.said)


class Clone:
    """A clone by plain Git."""

    def __init__(self, path: Path, url: str, token: str | None = None, *options: str) -> None:
        self.path = path
        auth = f"http.extraHeader=Authorization: Basic {base64.b64encode(f'git:{token}'.encode()).decode()}"
        remembered = ["-c", auth] if token else []
        git(path.parent, "clone", "-q", *remembered, *options, url, str(path))

    def git(self, *arguments: str, stdin: bytes = b"", **environ: str) -> str:
        return git(self.path, *arguments, stdin=stdin, **environ)

    def run(self, *arguments: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
        return run(self.path, *arguments, environ=environ)

    def write(self, files: dict[str, bytes | None]) -> None:
        for name, content in files.items():
            file = self.path / name
            if content is None:
                file.unlink()
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)

    def commit(self, files: dict[str, bytes | None], message: str = "Change things", *options: str) -> str:
        """Commit files, None for those that go; return the commit's id."""
        self.write(files)
        self.git("add", "-A", ".")
        self.git("commit", "-q", "-m", message, *options)
        return self.head

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def start_push(self, *options: str) -> subprocess.Popen[bytes]:
        """Begin a push that goes on while the test does."""
        return subprocess.Popen(
            ["git", "-C", str(self.path), "push", *options, "origin", FOR_MAIN],
            env=_ENVIRONMENT | {"HOME": str(self.path)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def push(self, *options: str, refs: tuple[str, ...] = (FOR_MAIN,)) -> Pushed:
        done = self.run("push", *options, "origin", *refs)
        return Pushed(done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace"))


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002
        pass


@dataclass
class Pushing:
    """A gateway, the world behind it, and whether its changesets are decided as they come."""

    world: World
    gateway: Gateway
    folder: Path
    url: str
    working: threading.Event
    _count: int = 0

    def clone(self, name: str = "all", *options: str, token: str | None = None) -> Clone:
        self._count += 1
        return Clone(self.folder / f"clone{self._count}", f"{self.url}/{name}.git", token, *options)

    def submitted(self, changeset: str) -> Changeset:
        """Return a changeset as it was submitted."""
        repo = self.world.repo
        _, [state] = repo.queue.states([changeset])
        pack = state.outcome.pack if state.outcome else state.pack
        assert pack
        return read_changesets(repo.archive, repo.queue, [(ChangesetId(changeset), pack)])[0]

    @property
    def left(self) -> list[Path]:
        """What pushes have left on the disk."""
        return list((self.folder / "gateway" / "pushes").glob("*"))

    def until_queued(self, count: int) -> None:
        """Wait until so many changesets are queued."""
        until(lambda: self.world.repo.queue.length() == count)

    def until_landed(self, path: bytes) -> None:
        """Wait until there is a file."""
        until(lambda: path.decode() in self.world.files())

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let nothing be decided."""
        self.working.clear()
        try:
            yield
        finally:
            self.working.set()


@contextmanager
def pushing(world: World, folder: Path) -> Iterator[Pushing]:
    """Serve a world's gateway, and decide what comes."""
    with serving(world.repo.settings, folder) as (here, url), working(here.settings) as goes_on:
        yield Pushing(world, here, folder, url, goes_on)


@contextmanager
def serving(settings: Settings, folder: Path) -> Iterator[tuple[Gateway, str]]:
    """Serve a gateway in this process, and yield it with the URL below which its repositories are."""
    app = create_app(replace(settings, gateway_folder=str(folder / "gateway")))
    here: Gateway = app.extensions["sluice"]

    def bounded(environ: Any, start_response: Any) -> Any:
        # A server hands on no more than the body; this one leaves that to the application.
        environ["wsgi.input"] = get_input_stream(environ)
        return app(environ, start_response)

    server = make_server("127.0.0.1", 0, bounded, threaded=True, request_handler=_Handler)
    server.daemon_threads = True
    answering = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    answering.start()
    try:
        yield here, f"http://127.0.0.1:{server.server_port}/git"
    finally:
        server.shutdown()
        answering.join()
        server.server_close()
        here.stop()


@contextmanager
def working(settings: Settings) -> Iterator[threading.Event]:
    """Decide what comes, as long as the event is set."""
    goes_on, stopping = threading.Event(), threading.Event()
    goes_on.set()
    repo = Repository(settings)

    def work() -> None:
        while not stopping.is_set():
            goes_on.wait()
            try:
                done = commit_batch(repo).changesets or merge_batch(repo).changesets
            except NeedsUpkeep:  # Redis was lost a moment ago: a task is forgotten, and another one comes
                done = 0
            if not done:
                stopping.wait(0.01)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield goes_on
    finally:
        stopping.set()
        goes_on.set()
        thread.join()
