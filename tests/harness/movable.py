"""A stack whose Redis is reached by an address that can move to a second server."""

from __future__ import annotations

import contextlib
from typing import Any

from app.stack.processes import Command, Supervisor
from app.stack.stack import Stack
from tests.harness.address import Address
from tests.harness.replica import Pair


class Movable(Stack):
    """A Sluice in which every process reaches Redis by `address`; `pair` is what can be failed over."""

    address: Address
    pair: Pair

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._behind = contextlib.ExitStack()

    def start(self) -> Movable:
        """Start everything. Raises ProcessFailed."""
        self.open_address()
        super().start()
        return self

    def __enter__(self) -> Movable:
        """Start it."""
        return self.start()

    def stop(self) -> None:
        """Stop everything, the second server too."""
        try:
            super().stop()
        finally:
            self._behind.close()

    def open_address(self) -> None:
        """Have the address listen, before anybody gets it; once."""
        if not hasattr(self, "address"):
            assert self._data
            servers = self._servers = Supervisor(self._data / "logs", restart=True, abrupt=True)
            self._behind.callback(servers.stop)
            self.address = Address(servers, self._data / "address")
            self._overrides["redis_url"] = self.address.url

    def _own_commands(self) -> list[Command]:
        # Redis runs by now, and nobody else does.
        argv = self.processes["redis"].command.argv
        first = int(argv[argv.index("--port") + 1])
        self.address.lead_to(first)
        self.pair = Pair(self._servers, self.data / "redis-second", self.address, first)
        return super()._own_commands()
