"""Connections to Redis that are given back with an answer that nobody has read; also run under gevent, by its name."""

from __future__ import annotations

import time

from storage.backends.redis_client import connect
from storage.base.settings import Settings


def leave_an_answer(redis_url: str) -> None:
    """Give back connections with such an answer, and check that whoever asks next gets its own."""
    client = connect(Settings(redis_url=redis_url))
    for number in range(5):
        connection = client.connection_pool.get_connection()
        connection.send_command("ECHO", f"unread {number}")
        until = time.monotonic() + 60
        while not connection.can_read(timeout=1):
            assert time.monotonic() < until
        client.connection_pool.release(connection)
        assert client.echo("mine") == b"mine"
        assert client.pipeline(transaction=False).echo("one").echo("two").execute() == [b"one", b"two"]
    assert len(client.connection_pool._connections) == 1, "it was that connection"
    client.close()
