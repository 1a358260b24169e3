"""The socket of a client: what of an answer is sent when."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from app.service.connection import Connection, Limits

LIMITS = Limits(idle=60.0, head=60.0, head_bytes=1 << 16, body=60.0, send=60.0, rate=1)


@pytest.fixture
def pair() -> Iterator[tuple[Connection, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(60)
    with theirs:
        yield Connection(ours, LIMITS), theirs
        ours.close()


def received(theirs: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := theirs.recv(size - len(data))):
        data += piece
    return data


@pytest.mark.parametrize("body", [b"", b"small", b"x" * (70 << 10)])
def test_a_kept_head_is_sent_once_and_before_its_body(pair: tuple[Connection, socket.socket], body: bytes) -> None:
    ours, theirs = pair
    for number in (b"1", b"2"):
        ours.keep_head()
        ours.sendall(b"head " + number)
        if body:
            ours.sendall(body)
        ours.flush()
        assert received(theirs, 6 + len(body)) == b"head " + number + body


def test_a_head_without_its_body_ends_with_the_connection(pair: tuple[Connection, socket.socket]) -> None:
    ours, theirs = pair
    ours.keep_head()
    ours.sendall(b"head")
    ours.close()
    ours.flush()  # as the server does when it has closed the connection of an answer that failed
    assert theirs.recv(1) == b""
