"""Connections to Redis: every wait is limited by the settings and by what is left of the budget.

They leave a server that is no longer the primary (storage/backends/primary.py).
"""

from typing import Any

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import NoScriptError
from redis.retry import Retry

from storage.backends import deadline
from storage.backends.primary import Departure, FollowsPrimary
from storage.base.errors import Unavailable
from storage.base.settings import Settings

UNAVAILABLE: tuple[type[Exception], ...] = (Unavailable, redis.RedisError, OSError)
"""What says that something is away or busy, and that trying again helps: our own errors and those of libraries."""

# A restart of Redis breaks every connection in the pool, so a broken one is no error yet: all our scripts and commands
# may be repeated. The pauses are random, up to these seconds.
_RETRIES = 2
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5


class RedisLate(deadline.Spent, redis.RedisError):
    """Nothing is left of the budget for a call of Redis."""


def connect(settings: Settings, counted: bool = True) -> redis.Redis:
    """Return a client of the settings' Redis: bytes in and out, connections and every wait bounded.

    Its calls are `counted`, but for those that report what was counted.
    """
    pool = _Pool.from_url(
        settings.redis_url,
        # Whoever finds all of them busy waits for one: many long polls wake at once.
        max_connections=settings.redis_connections,
        timeout=settings.redis_timeout,
        socket_timeout=settings.redis_timeout,
        socket_connect_timeout=min(5.0, settings.redis_timeout),
        health_check_interval=30,
        retry=Retry(ExponentialWithJitterBackoff(cap=_LONGEST_PAUSE, base=_FIRST_PAUSE), _RETRIES),
    )
    # The URL says which kind: TCP, TLS or a socket in the file system.
    mixed = (FollowsPrimary, _WithinBudget, pool.connection_class)
    pool.connection_class = type("Connection", mixed, {"departure": Departure(), "server": "redis" if counted else ""})
    return redis.Redis.from_pool(pool)


class _Pool(redis.BlockingConnectionPool):
    def get_connection(self, *_: Any, **__: Any) -> Any:
        """Return a connection whose server was the primary when it was asked for its role, at most seconds ago."""
        connection: Any = super().get_connection()
        try:
            connection.ask_role()
        except BaseException:
            connection.disconnect()
            self.release(connection)
            raise
        return connection

    def maint_notifications_enabled(self) -> bool:
        """Tell newer versions of redis-py that nothing may be waiting to be read on a free connection.

        By default it expects notices there that Redis is maintained, and so hands out a connection with an answer that
        nobody has read as well: whoever gets that is answered what another asked.
        """
        return False

    @property
    def timeout(self) -> float:
        """How long redis-py waits for a free connection, in seconds."""
        return _left(self._patience)

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._patience = seconds


class _WithinBudget:
    """A mixin for redis-py's connections: the time-outs of its socket never exceed what is left of the budget."""

    _patience: float | None = None
    server = "redis"

    def send_packed_command(self: Any, command: Any, check_health: bool = True) -> None:
        """Set the time-outs of the command and of its answer, and send it. Raises RedisLate."""
        seconds = _left(self.socket_timeout)
        if self._sock:
            self._sock.settimeout(seconds)
        super().send_packed_command(command, check_health)  # type: ignore[misc]

    def read_response(self: Any, *args: Any, **options: Any) -> Any:
        """Read an answer, and report the time that it took to the budget."""
        with deadline.Call(server=self.server, answered=_is_answer):
            return super().read_response(*args, **options)  # type: ignore[misc]

    def _connect(self: Any) -> Any:
        # Called for each try.
        if self._patience is None:
            self._patience = self.socket_connect_timeout
        self.socket_connect_timeout = _left(self._patience)
        with deadline.Call(server=self.server):
            return super()._connect()  # type: ignore[misc]


def _is_answer(error: BaseException) -> bool:
    # What scripts of ours refuse, and a script that is not loaded; others, such as OOM, are of a Redis in trouble.
    return type(error) in {redis.ResponseError, NoScriptError}


def _left(seconds: float) -> float:
    try:
        return deadline.left(seconds)
    except deadline.Spent as error:
        raise RedisLate(str(error)) from None
