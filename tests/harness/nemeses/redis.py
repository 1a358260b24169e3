"""A Redis that is full, and one that fails over to a replica while the demoted server stays."""

from __future__ import annotations

import contextlib

import redis

from app.stack.processes import ProcessFailed
from tests.harness.nemeses.base import Nemesis, await_

# Of what is used: hardly anything, or a little more than it.
_PARTS = (0.01, 0.9, 1.02)
_HEALING = 30.0


class FullRedis(Nemesis):
    """Redis may use no more than it uses, or much less."""

    name = "full-redis"
    least = 4.0

    def strike(self) -> str | None:
        """Lower its maxmemory; None where another nemesis has taken it away."""
        part = self.rng.choice(_PARTS)
        with contextlib.suppress(redis.RedisError), self.rig.direct_redis() as client:
            used = int(client.info("memory")["used_memory"])
            client.config_set("maxmemory", max(1, int(part * used)))
            return f"{part:.0%}"
        return None

    def heal(self) -> None:
        """Let it use what it likes, and the other one too: either may be the primary by now, or become it."""
        pair = self.rig.pair
        if pair.second:
            _unlimited(pair.second)
        await_(lambda: _unlimited(pair.first), _HEALING)


def _unlimited(port: int) -> bool:
    with contextlib.suppress(redis.RedisError), redis.Redis(port=port, socket_timeout=2) as client:
        return bool(client.config_set("maxmemory", 0))
    return False


class Failover(Nemesis):
    """Redis's address leads to what was its replica, which knows nothing of the last writes; and later back."""

    name = "failover"
    least = 3.0

    def strike(self) -> str | None:
        """Promote a replica and demote the primary; None where it could not be made a replica first."""
        try:
            self.rig.pair.begin()
        except (redis.RedisError, TimeoutError, ProcessFailed):  # another nemesis has taken the primary away
            self.rig.pair.end()
            return None
        self.rig.pair.fail_over()
        return ""

    def heal(self) -> None:
        """Fail back."""
        self.rig.pair.fail_back()


KINDS = [FullRedis, Failover]
