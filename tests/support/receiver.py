"""A receiver of webhooks: it answers what a test wants, and keeps what it was told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Told:
    """One request that a receiver got."""

    id: str
    headers: Mapping[str, str]  # with names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """It takes everything, or answers what `answer` returns: a status with headers, or None to hang up."""

    answer: Callable[[Told], tuple[int, dict[str, str]] | None] = lambda told: (204, {})
    told: list[Told] = field(default_factory=list)  # in the order of their arrival
    keeps: bool = False  # connections, for further requests
    clients: list[tuple[str, int]] = field(default_factory=list)  # the address of each request's connection
    url: str = ""
    port: int = 0
    news: threading.Condition = field(default_factory=threading.Condition)

    @property
    def taken(self) -> list[str]:
        return [told.id for told in self.told]


@contextmanager
def receiving(receiver: Receiver) -> Iterator[Receiver]:
    """Listen on the loopback, on the receiver's port if it had one before."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1" if receiver.keeps else "HTTP/1.0"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            told = Told(headers.get("webhook-id", ""), headers, body)
            answer = receiver.answer(told)
            with receiver.news:
                receiver.told.append(told)
                receiver.clients.append(self.client_address)
                receiver.news.notify_all()
            if answer is None:
                self.close_connection = True
                return
            self.send_response(answer[0])
            for name, value in answer[1].items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Who called is gone by now: that is what some tests do."""

    with Server(("127.0.0.1", receiver.port), Handler) as server:
        receiver.port = server.server_port
        receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
