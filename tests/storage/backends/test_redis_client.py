"""Connections of the pool: each answer is for who asked, also behind one who did not wait for it."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from storage.backends.redis_client import connect
from storage.base.settings import Settings

AS_THE_API = """
import sys
from gevent import monkey; monkey.patch_all()
from tests.storage.backends.test_redis_client import leave_an_answer
leave_an_answer(sys.argv[1])
"""


def leave_an_answer(redis_url: str) -> None:
    """Give back connections with an answer that nobody has read, and ask something else."""
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


@pytest.mark.servers
def test_an_answer_that_nobody_has_read_is_not_for_who_asks_next(redis_url: str) -> None:
    leave_an_answer(redis_url)


@pytest.mark.servers
def test_nor_under_gevent(redis_url: str) -> None:
    """Its poll(2) switches to other greenlets."""
    subprocess.run([sys.executable, "-c", AS_THE_API, redis_url], check=True, timeout=120)
