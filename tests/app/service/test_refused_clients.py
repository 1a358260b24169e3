"""A client whose request is refused while it sends: its socket, without a server around it."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import gevent
import gevent.socket
import pytest

from app.service.connection import Connection, Limits

LIMITS = Limits(idle=900.0, head=900.0, head_bytes=1 << 16, body=900.0, send=900.0, rate=1)
PIECE = 1 << 20


class Sender:
    """A client that sends for as long as it can, and says when it has to wait for the server to read."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sock.settimeout(45.0)  # the kernel ends a connection of nobody after a minute
        self.waits = threading.Event()

    def send(self) -> None:
        while True:
            if not select.select([], [self._sock], [], 0.2)[1]:
                self.waits.set()
            self._sock.sendall(b"x" * PIECE)


@pytest.fixture
def ends() -> Iterator[tuple[Connection, socket.socket]]:
    with gevent.socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client = socket.create_connection(listener.getsockname())
        served, _ = listener.accept()
    with served, client:
        yield Connection(served, LIMITS), client


def await_(event: threading.Event | Future[None]) -> None:
    while not (event.is_set() if isinstance(event, threading.Event) else event.done()):
        gevent.sleep(0.01)


@pytest.mark.long
def test_a_client_that_is_refused_while_it_sends_is_let_go(ends: tuple[Connection, socket.socket]) -> None:
    connection, client = ends
    sender = Sender(client)
    connection.begin_body()
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(sender.send)
        await_(sender.waits)
        connection.stop_reading()
        while connection.recv(PIECE):
            pass
        connection.leave_unread()
        connection.sendall(b"HTTP/1.1 429 Too Many Requests\r\n\r\n")
        connection.close()
        await_(sending)
        with pytest.raises(ConnectionError):  # and not a time-out
            sending.result()


def test_a_reader_that_waits_for_a_body_is_woken(ends: tuple[Connection, socket.socket]) -> None:
    connection, _ = ends
    connection.begin_body()
    reader = gevent.spawn(connection.recv, PIECE)
    gevent.sleep(0)
    connection.stop_reading()
    assert reader.get() == b"" and connection.recv(PIECE) == b""
