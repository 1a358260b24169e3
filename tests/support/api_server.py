"""The API as a process of its own, and bytes sent to it as they are."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from app.stack import commands
from app.stack.processes import Command, Process, Supervisor
from app.stack.servers import free_ports
from storage.base.settings import Settings, environment

ROOT = Path(__file__).parents[2]
# For answers on a busy machine; none of them is waited for so long.
PATIENCE = 60.0


@dataclass
class Server:
    """An API process, and how to reach it."""

    port: int
    process: Process
    opened: list[socket.socket] = field(default_factory=list)

    def connect(self, receive_buffer: int = 0) -> socket.socket:
        """Return a new connection, which is closed with the server."""
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(PATIENCE)
        sock.connect(("127.0.0.1", self.port))
        self.opened.append(sock)
        return sock

    def send(self, data: bytes) -> socket.socket:
        """Return a new connection on which `data` has been sent."""
        sock = self.connect()
        sock.sendall(data)
        return sock

    def get(self, path: str, **headers: str) -> Answer:
        """Ask for something."""
        return self.ask("GET", path, None, headers)

    def post(self, path: str, body: bytes, **headers: str) -> Answer:
        """Send something."""
        return self.ask("POST", path, body, headers)

    def ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        """Send a request as a library does, and return its answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.headers), answer.read())
        finally:
            connection.close()

    def memory(self) -> int:
        """Return the resident bytes of the process that answers."""
        assert self.process.pid
        leader = psutil.Process(self.process.pid)
        return max(process.memory_info().rss for process in [leader, *leader.children(recursive=True)])


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, object]:
        """The problem document; it has to be one."""
        assert self.headers["Content-Type"] == "application/problem+json", (self.status, self.headers, self.body)
        document: dict[str, object] = json.loads(self.body)
        assert document["status"] == self.status
        return document


def answers_of(sock: socket.socket) -> list[Answer]:
    """Return all answers on a connection until it ends; what is none is an error."""
    with sock.makefile("rb") as stream:
        answers = []
        while line := stream.readline():
            version, status, _ = line.split(b" ", 2)
            assert version in {b"HTTP/1.0", b"HTTP/1.1"}, line
            headers = {}
            while (line := stream.readline()) not in (b"\r\n", b""):
                name, _, value = line.decode("latin-1").partition(":")
                headers[name.title()] = value.strip()
            if int(status) >= 200:
                answers.append(Answer(int(status), headers, stream.read(int(headers["Content-Length"]))))
        return answers


@contextmanager
def serving(settings: Settings, folder: Path) -> Iterator[Server]:
    """Run the API with `settings`."""
    [port] = free_ports(1)

    argv = commands.runnable(commands.api(f"127.0.0.1:{port}"))
    environ = environment(settings, {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"})
    with Supervisor(folder / "logs", restart=False) as supervisor:
        supervisor.start(Command("api", argv, environ, folder, lambda: answers_at(port), grace=commands.api_grace()))
        server = Server(port, supervisor.processes["api"])
        yield server
        for connection in server.opened:
            connection.close()


def answers_at(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
