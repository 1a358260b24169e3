"""Nemeses: each breaks one thing when it strikes, and puts it right when it heals. Seeded, and named for its fault.

`NEMESES` has all of them by name; `make` builds those that this machine can run, and says why not of the others.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import redis

from tests.harness.rig import DISK_BYTES, SETTINGS, WORKERS, Rig

_FULL_CHUNK = 1 << 20


class Nemesis:
    """One way to break a rig."""

    name: ClassVar[str] = ""
    # What the machine must have for it (see Rig.missing).
    needs: ClassVar[str] = ""
    # Seconds that it must last to be what it is called; 0: it is over at once, and the stack repairs it by itself.
    least: ClassVar[float] = 0.0

    def __init__(self, rig: Rig, rng: random.Random) -> None:
        self.rig = rig
        self.rng = rng

    def prepare(self) -> None:
        """Do what has to be done before anything is broken, once a round."""

    def strike(self) -> None:
        """Break it."""
        raise NotImplementedError

    def heal(self) -> None:
        """Put it right again; for what the stack repairs by itself there is nothing to do."""


class Kill(Nemesis):
    """A process is killed; the stack starts it again."""

    victim: ClassVar[str] = ""

    def strike(self) -> None:
        """Kill it, sometimes twice."""
        self.rig.end(self.victim)
        if self.rng.random() < 0.3:
            self.rig.processes[self.victim].await_start(self.rig.processes[self.victim].starts, 2.0)
            self.rig.end(self.victim)

    def heal(self) -> None:
        """Wait until it runs."""
        _await(lambda: self.rig.processes[self.victim].running, 10.0)


class Freeze(Nemesis):
    """A process stops for longer than its locks live, and then goes on as if nothing had happened."""

    victim: ClassVar[str] = ""
    least = 2.0 * SETTINGS["lock_ttl"]

    def strike(self) -> None:
        """Stop it."""
        self.rig.signal(self.victim, signal.SIGSTOP)

    def heal(self) -> None:
        """Let it go on."""
        self.rig.signal(self.victim, signal.SIGCONT)


class Flush(Nemesis):
    """Redis loses everything."""

    name = "flush"

    def strike(self) -> None:
        """Flush it."""
        with self.rig.direct_redis() as client:
            _tried(client.flushall)


class FlushInRebuild(Nemesis):
    """Redis loses everything, and again while the view is being loaded anew."""

    name = "flush-in-rebuild"

    def strike(self) -> None:
        """Flush it, wait for a view that is loaded and not published, and flush it again."""
        prefix = f"sluice:{{{self.rig.settings.repository}}}:"
        with self.rig.direct_redis() as client:
            for _ in range(self.rng.randint(2, 3)):
                _tried(client.flushall)
                _await(lambda: bool(_tried(self._is_loading, client, prefix)), 5.0, every=0.001)
            _tried(client.flushall)

    @staticmethod
    def _is_loading(client: Any, prefix: str) -> bool:
        return bool(client.exists(prefix + "epochs") and not client.exists(prefix + "epoch"))


class RollBack(Nemesis):
    """Redis comes back with an older copy of its disk, such as a backup of the round's beginning."""

    name = "roll-back-redis"

    def __init__(self, rig: Rig, rng: random.Random) -> None:
        super().__init__(rig, rng)
        self._copy, self._newer = rig.data / "redis-older", rig.data / "redis-newer"

    def prepare(self) -> None:
        """Make the copy."""
        self.rig.copy_redis(self._copy)

    def strike(self) -> None:
        """Put the copy back; sometimes the next one is younger."""
        self.rig.copy_redis(self._newer)
        self.rig.roll_back_redis(self._copy)
        if self.rng.random() < 0.5:
            self._copy, self._newer = self._newer, self._copy


class Toxic(Nemesis):
    """The links between all processes and a server do harm."""

    needs = "links"
    least = 2.0
    server: ClassVar[str] = ""
    toxic: ClassVar[str] = ""

    def strike(self) -> None:
        """Begin to do harm."""
        attributes, toxicity = self._harm()
        self._streams = self.rng.choice([["downstream"], ["upstream"], ["downstream", "upstream"]])
        for proxy in self._proxies():
            for stream in self._streams:
                proxy.add(self.toxic, stream, toxicity, **attributes)

    def heal(self) -> None:
        """Stop it."""
        for proxy in self._proxies():
            for stream in self._streams:
                proxy.toxiproxy.call("DELETE", f"/proxies/{proxy.name}/toxics/{self.toxic}-{stream}")

    def _proxies(self) -> list[Any]:
        return [proxy for (_, server), proxy in self.rig.links.items() if server == self.server]

    def _harm(self) -> tuple[dict[str, int], float]:
        """Return the toxic's attributes, and the part of the connections that have it."""
        match self.toxic:
            case "latency":
                return {"latency": self.rng.randint(50, 400), "jitter": self.rng.randint(0, 200)}, 1.0
            case "reset_peer":
                return {"timeout": self.rng.choice([0, 20, 100, 300])}, self.rng.choice([0.3, 0.7, 1.0])
            case "timeout":
                # 0: whatever is sent disappears, until it heals.
                return {"timeout": self.rng.choice([0, 0, 500])}, self.rng.choice([0.3, 1.0])
            case "limit_data":
                return {"bytes": self.rng.choice([1, 100, 1000, 5000, 20000])}, self.rng.choice([0.5, 1.0])
        raise AssertionError(self.toxic)


class Cut(Nemesis):
    """One worker reaches a server no more; all others do."""

    needs = "links"
    least = 3.0
    server: ClassVar[str] = ""

    def strike(self) -> None:
        """Cut its link."""
        self._enable(False)

    def heal(self) -> None:
        """Mend it."""
        self._enable(True)

    def _enable(self, enabled: bool) -> None:
        proxy = self.rig.links["worker", self.server]
        proxy.toxiproxy.call("POST", f"/proxies/{proxy.name}", {"enabled": enabled})


class S3Stopped(Nemesis):
    """The S3 server is away for some seconds."""

    name = "s3-stopped"
    least = 3.0

    def strike(self) -> None:
        """Stop it."""
        self.rig.halt("s3")

    def heal(self) -> None:
        """Start it again."""
        self.rig.resume("s3")


class DiskFull(Nemesis):
    """The S3 server's disk is full."""

    name = "disk-full"
    needs = "disk"
    least = 3.0

    def strike(self) -> None:
        """Fill it to the last page."""
        disk = self.rig.disk()
        assert disk
        self._filler: Path = disk / "filler"
        with self._filler.open("wb", buffering=0) as file:
            chunk = b"\0" * _FULL_CHUNK
            try:
                # A write takes what there is room for, and fails once there is none.
                for _ in range(2 * DISK_BYTES // _FULL_CHUNK):
                    file.write(chunk)
            except OSError:
                return

    def heal(self) -> None:
        """Make room, as an operator does; SeaweedFS takes writes again only once it was started anew."""
        self._filler.unlink()
        if self.rig.s3_kind == "seaweedfs":
            self.rig.end("s3")
            _await(lambda: self.rig.processes["s3"].running, 10.0)


class ClockBack(Nemesis):
    """One worker's clock is set back, by less or by more than S3 servers bear with (15 minutes)."""

    name = "clock-back"
    needs = "clock"
    least = 3.0

    def strike(self) -> None:
        """Set it back."""
        self.rig.clock.write_text(f"-{self.rng.choice([20, 300, 800, 3600])}\n")

    def heal(self) -> None:
        """Set it right."""
        self.rig.clock.write_text("+0\n")


class NoLocks(Nemesis):
    """All who append have their locks and tickets switched off."""

    name = "no-locks"
    least = 6.0  # they are started anew

    def strike(self) -> None:
        """Start them with `use_locks` off."""
        self.rig.change(WORKERS, SLUICE_USE_LOCKS="no")

    def heal(self) -> None:
        """Start them with locks again."""
        self.rig.change(WORKERS, SLUICE_USE_LOCKS="yes")


def _kinds() -> dict[str, type[Nemesis]]:
    """All nemeses by name; those that differ by their victim alone are made here."""
    kinds: list[type[Nemesis]] = [Flush, FlushInRebuild, RollBack, S3Stopped, DiskFull, ClockBack, NoLocks]
    for victim in ("api", "worker", "merger", "beat", "redis", "s3"):
        kinds.append(type(f"Kill{victim}", (Kill,), {"name": f"kill-{victim}", "victim": victim}))
    for victim in ("worker", "merger"):
        kinds.append(type(f"Freeze{victim}", (Freeze,), {"name": f"freeze-{victim}", "victim": victim}))
    for server in ("redis", "s3"):
        for toxic in ("latency", "reset_peer", "timeout", "limit_data"):
            name = f"{server}-{toxic.replace('_', '-')}"
            kinds.append(type(name, (Toxic,), {"name": name, "server": server, "toxic": toxic}))
        kinds.append(type(f"Cut{server}", (Cut,), {"name": f"cut-worker-{server}", "server": server}))
    return {kind.name: kind for kind in kinds}


NEMESES = _kinds()


def make(rig: Rig, names: list[str], seed: str) -> tuple[dict[str, Nemesis], dict[str, str]]:
    """Return the nemeses of these names that can run here, and why the others cannot."""
    missing = {name: rig.missing[NEMESES[name].needs] for name in names if NEMESES[name].needs in rig.missing}
    made = {name: NEMESES[name](rig, random.Random(f"{seed}/{name}")) for name in names if name not in missing}
    return made, missing


def _tried(call: Callable[..., Any], *args: Any) -> Any:
    """Call something of Redis, which another nemesis may have taken away at the moment."""
    try:
        return call(*args)
    except redis.RedisError:
        return None


def _await(condition: Callable[[], bool], timeout: float, every: float = 0.02) -> None:
    """Wait until a condition holds that nothing announces, at most so long."""
    until = time.monotonic() + timeout
    while not condition() and time.monotonic() < until:
        time.sleep(every)
