"""The client of the benchmarks of Git reads whole answers, of any form, and takes no part for the whole."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.load.connection import Connection, NoAnswer

OK = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def server(*answers: bytes) -> Iterator[tuple[tuple[str, int], list[bytes]]]:
    """Answer one connection's requests by these bytes, and close it; yields its address, and what was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            taken, _ = listening.accept()
            with taken:
                for answer in answers:
                    asked.append(taken.recv(1 << 16))
                    taken.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname(), asked
        thread.join()


def test_answers_with_a_length_and_in_chunks_are_read_one_after_the_other() -> None:
    whole = OK + b"Content-Length: 6\r\n\r\nab0000"
    chunks = OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    with server(whole, chunks, missing) as (address, asked), Connection(address) as connection:
        first = connection.ask("/a")
        second = connection.ask("/b", b"body", b"X: y\r\n", keeps=True)
        third = connection.ask("/c")
    assert (first.status, first.size, first.end, first.body) == (200, 6, b"0000", b"")
    assert (second.status, second.size, second.end, second.body) == (200, 5, b"bcde", b"abcde")
    assert (third.status, third.size, third.body) == (404, 0, b"")
    assert asked[0] == b"GET /a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    assert asked[1] == b"POST /b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\nX: y\r\n\r\nbody"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        OK + b"Content-Length: 6\r\n\r\nab",
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\na",
        OK + b"A: b\r\n" * 101,
    ],
    ids=["nothing", "no answer", "cut", "no last chunk", "a cut chunk", "headers without end"],
)
def test_a_part_of_an_answer_is_none(answer: bytes) -> None:
    with server(answer) as (address, _), Connection(address) as connection, pytest.raises(NoAnswer):
        connection.ask("/a")
