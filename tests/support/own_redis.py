"""A Redis of a test's own, which it may fill, demote or break: the one of all tests has to stay as it is."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import redis

from app.stack.processes import Supervisor
from app.stack.servers import redis_server
from tests.harness.address import Address
from tests.harness.replica import Pair


@contextlib.contextmanager
def own_redis(folder: Path) -> Iterator[redis.Redis]:
    """Run a server, and give a client of it; its URL is `url_of` that."""
    with Supervisor(folder / "logs", restart=False, abrupt=True) as supervisor:
        command = redis_server(folder / "redis").command
        # So that a test may have it fail to write to its disk.
        argv = [*command.argv, "--enable-protected-configs", "yes", "--busy-reply-threshold", "20"]
        supervisor.start(dataclasses.replace(command, argv=argv))
        port = int(argv[argv.index("--port") + 1])
        with redis.Redis(port=port) as client:
            yield client


def url_of(client: redis.Redis) -> str:
    """Return a server's URL."""
    return f"redis://127.0.0.1:{client.connection_pool.connection_kwargs['port']}/0"


@contextlib.contextmanager
def own_pair(folder: Path) -> Iterator[Pair]:
    """Run a server behind an address that can be failed over to a second one, which is its replica already."""
    with Supervisor(folder / "logs", restart=False, abrupt=True) as supervisor:
        command = redis_server(folder / "redis").command
        supervisor.start(command)
        first = int(command.argv[command.argv.index("--port") + 1])
        address = Address(supervisor, folder / "address")
        address.lead_to(first)
        pair = Pair(supervisor, folder / "second", address, first)
        pair.begin()
        yield pair
