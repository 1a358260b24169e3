"""`sluice` in the test's own process, and an API that answers what a test wants."""

from __future__ import annotations

import io
import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import click
from click.testing import CliRunner, Result

from app import cli
from app.console import failures

ID = "01JG8Y6Z3M4N5P6Q7R8S9T0V1W"
LINES = "application/x-ndjson"
COMMIT = "8d3f1c0a5b7e92461f0d8c3b5a7e9f1d2c4b6a80"


class Whole:
    """The command line with what it says of errors and their exit codes, where one is expected."""

    name = "sluice"

    def __init__(self, expect_error: bool = True) -> None:
        self._expect_error = expect_error

    def main(self, args: list[str], prog_name: str) -> None:
        try:
            cli.cli.main(args, prog_name)
        except Exception as error:
            if not self._expect_error:
                raise
            sys.exit(cli.say(failures.failure(error), "--json" in args))


class _Runner(CliRunner):
    """A runner whose standard output takes any path, as that of a process does (app/console/standard_output.py)."""

    @contextmanager
    def isolation(self, *given: Any, **named: Any) -> Iterator[Any]:
        with super().isolation(*given, **named) as streams:
            cast("io.TextIOWrapper", sys.stdout).reconfigure(errors="surrogateescape")
            yield streams


def sluice(*line: object, expect_error: bool = True) -> Result:
    """Run it."""
    return _Runner().invoke(cast("click.Command", Whole(expect_error)), [str(word) for word in line])


def objects(text: str) -> list[dict[str, Any]]:
    """Return the objects that are printed; every line has to be one."""
    documents = [json.loads(line) for line in text.splitlines()]
    assert all(isinstance(document, dict) for document in documents), text
    return documents


@dataclass
class Fake:
    """Something that answers: the first of `answers` whose pattern matches `METHOD path`, else `otherwise`.

    An answer is a status with an object, or with bytes that are no JSON. A page is sent in lines to who asks for them.
    """

    answers: list[tuple[str, int, Any]] = field(default_factory=list)
    otherwise: tuple[int, Any] = (404, {"title": "Not found", "status": 404})
    asked: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event | None = None  # nothing is answered before it is set
    url: str = ""

    def begin(self) -> None:
        """Be as one that was just made; its server stays."""
        new = Fake()
        self.answers, self.otherwise, self.asked, self.go_on = new.answers, new.otherwise, new.asked, new.go_on

    def end(self) -> None:
        """Let go of those who still wait for an answer."""
        if self.go_on:
            self.go_on.set()

    def answer(self, line: str) -> tuple[int, Any]:
        self.asked.set()
        if go_on := self.go_on:
            go_on.wait(60)
        for pattern, status, document in self.answers:
            if re.fullmatch(pattern, line):
                return status, document
        return self.otherwise


@contextmanager
def serve(fake: Fake) -> Iterator[Fake]:
    """Let it answer at `url`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, document = fake.answer(f"{self.command} {self.path}")
            html = isinstance(document, bytes)
            body = document if html else json.dumps(document).encode()
            kind = "text/html" if html else "application/json"
            if self.headers.get("Accept") == LINES and status == 200 and not html:
                rows = [*document["items"], {"next": None, "files": len(document["items"])}]
                kind, body = LINES, b"".join(json.dumps(row).encode() + b"\n" for row in rows)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        fake.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield fake
        fake.end()
        server.shutdown()
        thread.join()
