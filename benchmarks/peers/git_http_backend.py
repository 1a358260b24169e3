"""The peer of the gateway: Git's own `git http-backend` behind the same kind of server, as a CGI program is run.

`gunicorn 'benchmarks.peers.git_http_backend:application(folder)'` serves the repositories below a folder. One process
for each request, streamed both ways, as lighttpd's or Apache's CGI does it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

_PIECE = 256 << 10


def application(folder: str) -> Callable[..., Iterator[bytes]]:
    """Return the WSGI application."""

    def serve(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        given = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": folder,
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "PATH_INFO": environ["PATH_INFO"],
            "QUERY_STRING": environ.get("QUERY_STRING", ""),
            "REQUEST_METHOD": environ["REQUEST_METHOD"],
            "CONTENT_TYPE": environ.get("CONTENT_TYPE", ""),
            "CONTENT_LENGTH": environ.get("CONTENT_LENGTH", ""),
            "GIT_PROTOCOL": environ.get("HTTP_GIT_PROTOCOL", ""),
            "HTTP_CONTENT_ENCODING": environ.get("HTTP_CONTENT_ENCODING", ""),
            "REMOTE_ADDR": environ.get("REMOTE_ADDR", ""),
        }
        process = subprocess.Popen(
            ["git", "http-backend"], env=given, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdin and process.stdout
        with process.stdin as stdin:
            while piece := environ["wsgi.input"].read(_PIECE):
                stdin.write(piece)
        status, headers = "200 OK", []
        while line := process.stdout.readline().strip():
            name, _, value = line.decode("latin-1").partition(": ")
            if name.lower() == "status":
                status = value
            else:
                headers.append((name, value))
        start_response(status, headers)
        return _rest(process)

    return serve


def _rest(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    assert process.stdout
    try:
        while piece := process.stdout.read1(_PIECE):  # type: ignore[attr-defined]
            yield piece
    finally:
        process.stdout.close()
        process.wait()
