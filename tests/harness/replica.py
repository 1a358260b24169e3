"""Two Redis servers behind one address, and the failover from one to the other."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import redis

from app.stack.processes import ProcessFailed, Supervisor
from app.stack.servers import free_ports, redis_server
from tests.harness.address import Address

_SYNC = 30.0  # most seconds until a replica has caught up
_LOOK_EVERY = 0.05
_STARTS = 3
_NAME = "redis-second"


class Pair:
    """A first server, which somebody else runs, and a second one; `address` leads to the one that is the primary."""

    def __init__(self, supervisor: Supervisor, folder: Path, address: Address, first: int) -> None:
        """Describe it: `first` is the first server's port. Nothing runs yet."""
        self.address = address
        self._supervisor = supervisor
        self._folder = folder
        self.first = first
        self.second = 0  # while it has not run

    def begin(self) -> None:
        """Start the second server as a replica of the first, and wait until it has everything."""
        for _ in range(_STARTS - 1):
            try:
                self._start_second()
                break
            except ProcessFailed:  # another program took the port between the choice and the use
                self.end()
        else:
            self._start_second()
        self._follow(self.second, self.first)

    def fail_over(self) -> None:
        """Promote the second, let the address lead to it, and demote the first; connections to it stay open."""
        self._switch(self.first, self.second)

    def fail_back(self) -> None:
        """The same the other way round, once the first has what the second has; then the second ends."""
        self._follow(self.first, self.second)
        self._switch(self.second, self.first)
        self.end()

    def end(self) -> None:
        """Stop the second server."""
        self._supervisor.processes[_NAME].stop()

    def _start_second(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        [self.second] = free_ports(1)
        command = redis_server(self._folder, self.second, _NAME).command
        if _NAME in self._supervisor.processes:
            process = self._supervisor.processes[_NAME]
            process.command = command
            process.start()
            process.await_ready()
        else:
            self._supervisor.start(command)

    def _switch(self, old: int, new: int) -> None:
        with _client(new) as client:
            client.replicaof("NO", "ONE")
        self.address.lead_to(new)
        with contextlib.suppress(redis.RedisError), _client(old) as client:  # it may be dead, and follows later then
            client.replicaof("127.0.0.1", str(new))

    def _follow(self, replica: int, primary: int) -> None:
        with _client(replica) as client:
            _await(lambda: bool(client.ping()))
            client.replicaof("127.0.0.1", str(primary))
            _await(lambda: client.info("replication").get("master_link_status") == "up")


def _client(port: int) -> redis.Redis:
    return redis.Redis(port=port, socket_timeout=5, socket_connect_timeout=2)


def _await(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + _SYNC
    while True:
        with contextlib.suppress(redis.RedisError):
            if condition():
                return
        if time.monotonic() > until:
            raise TimeoutError(f"a replica did not catch up within {_SYNC:g} s")
        time.sleep(_LOOK_EVERY)
