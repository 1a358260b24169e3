"""A Redis that loses everything, also while it is being filled again, or comes back older than it was."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import redis

from tests.harness.nemeses.base import Nemesis, await_
from tests.harness.rig import Rig


class Flush(Nemesis):
    """Redis loses everything."""

    name = "flush"

    def strike(self) -> str | None:
        """Flush it."""
        return flush(self.rig)


class FlushInRebuild(Nemesis):
    """Redis loses everything, and again while the view is being loaded anew."""

    name = "flush-in-rebuild"

    def strike(self) -> str | None:
        """Flush it, wait for a view that is loaded and not published, and flush it again."""
        prefix = f"sluice:{{{self.rig.settings.repository}}}:"
        loading = False
        with self.rig.direct_redis() as client:
            for _ in range(self.rng.randint(2, 3)):
                _tried(client.flushall)
                loading |= await_(lambda: bool(_tried(_is_loading, client, prefix)), 5.0, every=0.001)
            _tried(client.flushall)
        return "" if loading else None


class RollBack(Nemesis):
    """Redis comes back with an older copy of its disk, such as a backup of the round's beginning."""

    name = "roll-back-redis"

    def __init__(self, rig: Rig, rng: random.Random) -> None:
        super().__init__(rig, rng)
        self._copy, self._newer = rig.data / "redis-older", rig.data / "redis-newer"

    def prepare(self) -> None:
        """Make the copy."""
        self.rig.copy_redis(self._copy)

    def strike(self) -> str:
        """Put the copy back; sometimes the next one is younger."""
        self.rig.copy_redis(self._newer)
        self.rig.roll_back_redis(self._copy)
        if self.rng.random() < 0.5:
            self._copy, self._newer = self._newer, self._copy
        return ""


def flush(rig: Rig) -> str | None:
    """Flush Redis; None where another nemesis has taken it away."""
    with rig.direct_redis() as client:
        return "" if _tried(client.flushall) else None


def forget(rig: Rig, name: str) -> None:
    """Have Redis lose one key, if it is there at all."""
    with rig.direct_redis() as client:
        _tried(client.delete, f"sluice:{{{rig.settings.repository}}}:{name}")


def _is_loading(client: Any, prefix: str) -> bool:
    return bool(client.exists(prefix + "epochs") and not client.exists(prefix + "epoch"))


def _tried(call: Callable[..., Any], *args: Any) -> Any:
    """Call something of Redis, which another nemesis may have taken away at the moment."""
    try:
        return call(*args)
    except redis.RedisError:
        return None


KINDS = [Flush, FlushInRebuild, RollBack]
