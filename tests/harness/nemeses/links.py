"""Links that are slow, break, swallow what is sent, or end in the middle of an answer. Toxiproxy stands on each."""

from __future__ import annotations

from typing import ClassVar

from benchmarks.toxiproxy import Proxy
from tests.harness.nemeses.base import Nemesis
from tests.harness.rig import LINKS

_TOXICS = ("latency", "reset_peer", "timeout", "limit_data")


class Toxic(Nemesis):
    """The link of one process to a server does harm, or the links of all."""

    needs = "links"
    least = 2.0
    server: ClassVar[str] = ""
    toxic: ClassVar[str] = ""

    def strike(self) -> str:
        """Begin to do harm."""
        links = {process: proxy for (process, server), proxy in self.rig.links.items() if server == self.server}
        where = self.rng.choice(["all", *links]) if len(links) > 1 else "all"
        self._harmed = [proxy for process, proxy in links.items() if where in {"all", process}]
        self._streams = self.rng.choice([["downstream"], ["upstream"], ["downstream", "upstream"]])
        attributes, toxicity = self._harm()
        for proxy in self._harmed:
            for stream in self._streams:
                proxy.add(self.toxic, stream, toxicity, **attributes)
        return where

    def heal(self) -> None:
        """Stop it."""
        for proxy in self._harmed:
            for stream in self._streams:
                proxy.toxiproxy.call("DELETE", f"/proxies/{proxy.name}/toxics/{self.toxic}-{stream}")

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
    """One process reaches a server no more; all others do."""

    needs = "links"
    least = 3.0
    process: ClassVar[str] = ""
    server: ClassVar[str] = ""

    def strike(self) -> str:
        """Cut its link."""
        self._enable(False)
        return ""

    def heal(self) -> None:
        """Mend it."""
        self._enable(True)

    def _enable(self, enabled: bool) -> None:
        proxy: Proxy = self.rig.links[self.process, self.server]
        proxy.toxiproxy.call("POST", f"/proxies/{proxy.name}", {"enabled": enabled})


KINDS = [
    *(
        Toxic.kind(f"{server}-{toxic.replace('_', '-')}", server=server, toxic=toxic)
        for server in LINKS
        for toxic in _TOXICS
    ),
    *(
        Cut.kind(f"cut-{process}-{server}", process=process, server=server)
        for process in ("worker", "merger")
        for server in ("redis", "s3")
    ),
]
