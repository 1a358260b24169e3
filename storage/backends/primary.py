"""Connections that leave a Redis server when it is no longer the primary.

Clients reach Redis by one address. After a failover that address leads to the new primary, but connections to the
demoted server stay open, and every write on them is refused with READONLY. So such an answer closes the connection and
counts as a connection error, after which redis-py and kombu repeat the call on a new connection. For processes that
only read, each connection asks for its server's role every few seconds.
"""

import time
from dataclasses import dataclass
from typing import Any, ClassVar

import redis
from redis.exceptions import MasterDownError, OutOfMemoryError, ReadOnlyError

from storage.base.errors import Unavailable

# Seconds between two questions for the role of the server at the other end of a connection.
_ROLE_EVERY = 2.0
_REPLICA = (b"slave", "slave")
RENEWED_EVERY = 10.0
"""Seconds after which who listens subscribes anew: a subscription asks nothing, so it would stay with any server."""


class NotPrimary(redis.ConnectionError, Unavailable):
    """The server that answered is a replica and takes no writes; nothing was done, and the connection was closed."""


@dataclass(slots=True)
class Departure:
    """When a process last met a replica: connections that are older are replaced by new ones."""

    at: float = 0.0


class LeavesReplicas:
    """A mixin for redis-py's connections: a replica's refusal closes the connection, and the call is repeated."""

    departure: ClassVar[Departure] = Departure()

    def read_response(self: Any, *args: Any, **options: Any) -> Any:
        """Read an answer. Raises NotPrimary for an answer that only a replica gives."""
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]
        except redis.ResponseError as error:
            if not _is_of_replica(error):
                raise
            self.departure.at = time.monotonic()
            self.disconnect()
            raise NotPrimary(str(error)) from error


class FollowsPrimary(LeavesReplicas):
    """The same for a connection that no event loop polls: it is replaced once any connection has met a replica."""

    _connected_at = 0.0
    _next_role = 0.0
    _connecting = False

    def send_packed_command(self: Any, command: Any, check_health: bool = True) -> None:
        """Send a command, on a new connection if the present one is older than the last replica that was met."""
        self._leave_if_stale()
        super().send_packed_command(command, check_health)  # type: ignore[misc]

    def can_read(self: Any, timeout: float = 0) -> bool:
        """Tell whether there is something to read. Raises ConnectionError where a subscription has to be made anew."""
        if self._leave_if_stale():
            raise redis.ConnectionError("the server that was listened to is a replica now")
        return bool(super().can_read(timeout))  # type: ignore[misc]

    def ask_role(self: Any) -> None:
        """Ask for the server's role every few seconds, and reconnect once if it is a replica.

        The server that the address then leads to is used, even if it is a replica: it answers reads. Raises
        redis.RedisError if nothing is left of the budget.
        """
        now = time.monotonic()
        if self._connecting or now < self._next_role:
            return
        self._next_role = now + _ROLE_EVERY
        try:
            self.send_command("ROLE")
            role = self.read_response()
        except (redis.ConnectionError, redis.TimeoutError):
            self.disconnect()  # the next command connects anew, and fails if that does
            return
        except redis.ResponseError:
            return  # BUSY, or not permitted: what is asked next will tell
        if role and role[0] in _REPLICA:
            self.departure.at = time.monotonic()
            self.disconnect()

    def connect_check_health(self: Any, *args: Any, **options: Any) -> None:
        """Connect. What others of the process meet meanwhile does not end this one in the middle of its handshake."""
        self._connecting = True
        try:
            super().connect_check_health(*args, **options)  # type: ignore[misc]
        finally:
            self._connecting = False

    def _connect(self: Any) -> Any:
        self._connected_at = time.monotonic()
        self._next_role = self._connected_at + _ROLE_EVERY
        return super()._connect()  # type: ignore[misc]

    def _leave_if_stale(self: Any) -> bool:
        if self._connecting or self._sock is None or self._connected_at > self.departure.at:
            return False
        self.disconnect()
        return True


def why(error: Exception) -> str:
    """Return a sentence for people about an error of Redis; the error's own text goes to the log."""
    for kind, words in _BY_KIND.items():
        if isinstance(error, kind):
            return words
    return _BY_WORD.get(str(error).partition(" ")[0], "Redis does not answer")


_BY_KIND: dict[type[Exception], str] = {
    NotPrimary: "Redis is a replica at the moment and takes no writes",
    OutOfMemoryError: "Redis has no memory left (its maxmemory)",
    redis.BusyLoadingError: "Redis is loading its data",
}
_BY_WORD = {
    "MISCONF": "Redis takes no writes, since it cannot write to its disk",
    "BUSY": "Redis is busy with a script",
    "NOREPLICAS": "Redis takes no writes, since it has too few replicas",
}


def refuses_writes(error: Exception) -> bool:
    """Tell whether Redis answered and refused the write: if it was for a cache, that is no reason to fail."""
    return isinstance(error, (redis.ResponseError, NotPrimary, redis.BusyLoadingError))


def _is_of_replica(error: redis.ResponseError) -> bool:
    # UNBLOCKED ends a command that waits on a server while that is demoted.
    return isinstance(error, (ReadOnlyError, MasterDownError)) or str(error).startswith("UNBLOCKED")
