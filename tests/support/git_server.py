"""A Git server in a process of its own: `git http-backend` over HTTP with a password, and it does what a test wants.

What it does at the moment stands in a file of its folder (`State`), which it reads for each request. Refusing pushes
is Git's own business: a hook of the repository.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from app.stack.servers import free_ports

ROOT = Path(__file__).parents[2]
USER, PASSWORD = "sluice-bot", "s3cret/of+the:host"
STATE, REQUESTS, REPOSITORY = "state.json", "requests.jsonl", "code.git"


@dataclass
class State:
    """How the server behaves."""

    password: str = PASSWORD
    status: int = 0  # answer every request that has the password so
    silent: bool = False  # read the request, and answer nothing
    redirect: str = ""  # answer with a redirect there
    hold_push: bool = False  # stop in the middle of a push: its body is read and nothing is done until this is off
    says: str = ""  # the text of an answer with a status


@dataclass
class GitServer:
    """A server, and its repository."""

    folder: Path
    port: int
    state: State = field(default_factory=State)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{REPOSITORY}"

    @property
    def repository(self) -> Path:
        return self.folder / REPOSITORY

    def behave(self, **changed: Any) -> None:
        """Behave otherwise from now on; without arguments, well."""
        self.state = State(**changed)
        temporary = self.folder / "state.tmp"
        temporary.write_text(json.dumps(asdict(self.state)))
        temporary.rename(self.folder / STATE)

    def git(self, *arguments: str, stdin: bytes = b"", **environ: str) -> str:
        """Run Git in the repository, as who is at the server does."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER")
               for what, value in (("NAME", "Uma"), ("EMAIL", "uma@example.org"))}  # fmt: skip
        done = subprocess.run(
            ["git", "-C", str(self.repository), *arguments], input=stdin, capture_output=True, check=True,
            env={**kept, "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(self.folder), **who, **environ},
        )  # fmt: skip
        return done.stdout.decode().strip()

    def at(self, ref: str = "refs/heads/main") -> str:
        """Return what a ref is, empty where it is not there."""
        return self.git("for-each-ref", "--format=%(objectname)", ref)

    def push_over(self, files: dict[str, str], parent: str = "", message: str = "Elsewhere") -> str:
        """Have the branch be a commit of somebody else's: on `parent`, or without one."""
        index = {"GIT_INDEX_FILE": str(self.folder / "index")}
        (self.folder / "index").unlink(missing_ok=True)
        if parent:
            self.git("read-tree", parent, **index)
        for path, content in files.items():
            blob = self.git("hash-object", "-w", "--stdin", stdin=content.encode())
            self.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", **index)
        tree = self.git("write-tree", **index)
        commit = self.git("commit-tree", tree, "-m", message, *(("-p", parent) if parent else ()))
        self.git("update-ref", "refs/heads/main", commit)
        return commit

    def hook(self, script: str | None, name: str = "pre-receive") -> None:
        """Have a hook, or none: `pre-receive` for all refs of a push, or `update` for each of them."""
        path = self.repository / "hooks" / name
        path.unlink(missing_ok=True)
        if script is not None:
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)

    def requests(self) -> list[dict[str, Any]]:
        """Return what was asked so far: method, path, status, time."""
        path = self.folder / REQUESTS
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def start(self) -> None:
        """Listen, on the port that it had."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.git_server", str(self.folder), str(self.port)],
            cwd=ROOT, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdout
        assert self.process.stdout.readline() == b"ready\n"

    def stop(self) -> None:
        """Be down."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout
            self.process.stdout.close()
        self.process = None


@contextmanager
def git_server(folder: Path) -> Iterator[GitServer]:
    """Run a server with an empty repository in `folder`."""
    folder.mkdir(exist_ok=True)
    server = GitServer(folder, free_ports(1)[0])
    subprocess.run(
        ["git", "init", "--quiet", "--bare", "--initial-branch=main", str(server.repository)], check=True,
        env={**os.environ, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull},
    )  # fmt: skip
    server.git("config", "http.receivepack", "true")
    server.git("config", "gc.auto", "0")
    server.behave()
    server.start()
    try:
        yield server
    finally:
        server.stop()


def credentials(folder: Path, server: GitServer, password: str = PASSWORD) -> Path:
    """Write the file of credentials that an operator has for a server."""
    path = folder / "credentials"
    quoted = password.replace(":", "%3A").replace("/", "%2F").replace("+", "%2B")
    path.write_text(f"http://{USER}:{quoted}@127.0.0.1:{server.port}\n")
    path.chmod(0o600)
    return path


class _Handler(BaseHTTPRequestHandler):
    """Answers by the state of the moment."""

    folder: Path
    lock = threading.Lock()

    def do_GET(self) -> None:
        self.serve()

    def do_POST(self) -> None:
        self.serve()

    def state(self) -> State:
        return State(**json.loads((self.folder / STATE).read_text()))

    def serve(self) -> None:
        state = self.state()
        wanted = "Basic " + base64.b64encode(f"{USER}:{state.password}".encode()).decode()
        body = self.body()
        if state.silent:
            time.sleep(3600)
        if self.headers.get("Authorization") != wanted:
            self.answer(401, {"WWW-Authenticate": 'Basic realm="code"'}, b"who are you?\n")
        elif state.redirect:
            self.answer(302, {"Location": state.redirect + self.path}, b"")
        elif state.status:
            self.answer(state.status, {"Content-Type": "text/plain"}, state.says.encode())
        else:
            while self.path.endswith("git-receive-pack") and self.command == "POST" and self.state().hold_push:
                self.note(0)
                time.sleep(0.05)
            self.backend(body)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def backend(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        done = subprocess.run(
            ["git", "http-backend"], input=body, capture_output=True, check=True,
            env={
                "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(self.folder), "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": self.command, "REMOTE_USER": USER,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""), "GIT_CONFIG_NOSYSTEM": "1",
            },
        )  # fmt: skip
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.answer(int(headers.pop("Status", "200").split()[0]), headers, content)

    def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.note(status)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def note(self, status: int) -> None:
        row = {"method": self.command, "path": self.path, "status": status, "time": time.time()}
        with self.lock, (self.folder / REQUESTS).open("a") as file:
            file.write(json.dumps(row) + "\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who called is gone by now: that is what some tests do."""


def main(folder: Path, port: int) -> None:
    """Serve until somebody kills the process."""
    _Handler.folder = folder
    with _Server(("127.0.0.1", port), _Handler) as server:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
