"""Which Celery nodes of a deployment are alive: each writes a heartbeat to Redis every second, with what it does.

The heartbeat comes from the loop that receives messages (tasks/node/heartbeat.py), so a node that hangs, is stopped or
has lost its broker sends none, and counts as gone after `SILENCE` seconds. After a FLUSHALL all nodes are known again a
second later. Times are by Redis's clock.

A node also says which format of entries it reads. A new format is not written while a node cannot read it: during a
rolling upgrade, newer nodes write as the older ones do.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass

from storage.backends.scripts import Scripts
from storage.log.entry import FORMATS
from storage.view.view import View

EVERY = 1.0
"""Seconds between two times that a node says that it is at work."""
SILENCE = 5.0
"""Seconds after which a node that has not reported counts as gone."""
_FORGOTTEN_MS = 60_000
# What a node reads stands beside what it does; an older one says nothing of it.
_READS = "format-"
# Seconds between two looks whether the older nodes have gone.
_LOOK_EVERY = 5.0

WORK = {"commits": "worker", "merges": "merger", "upkeep": "worker or merger", "beat": "beat"}
"""What a deployment needs somebody for, and the process of `sluice up` and compose.yaml that does it."""
WEBHOOKS = {"webhooks": "sender"}
"""The same where there are webhooks."""
MIRRORS = {"mirrors": "sender"}
"""And where there are mirrors to which what lands is pushed."""


@dataclass(frozen=True, slots=True)
class Node:
    """A Celery node, or beat, and what it does: the queues that it consumes, or `beat`."""

    name: str  # commits@host
    work: tuple[str, ...]
    pid: int  # of two under one name, the end of one says nothing of the other
    reads: int = FORMATS[-1]  # the newest format of entries that it reads

    @property
    def member(self) -> str:
        """How Redis has it."""
        return f"{self.name} {','.join((*self.work, f'{_READS}{self.reads}'))} {self.pid}"

    @classmethod
    def parse(cls, member: str) -> Node:
        """Return the node of a member."""
        name, said, pid = member.rsplit(" ", 2)
        work = tuple(one for one in said.split(",") if not one.startswith(_READS))
        reads = [int(one.removeprefix(_READS)) for one in said.split(",") if one.startswith(_READS)]
        return cls(name, work, int(pid), max(reads, default=FORMATS[0]))


class Nodes:
    """The nodes of one repository."""

    def __init__(self, view: View) -> None:
        self._scripts: Scripts = view.scripts
        self._all_read = FORMATS[0]
        self._looked = -_LOOK_EVERY

    def say(self, node: Node, at_work: bool = True) -> None:
        """Record that a node is alive, or that it ends. Raises redis.RedisError."""
        self._scripts("alive", node.member, "1" if at_work else "", _FORGOTTEN_MS)

    def at_work(self) -> list[Node]:
        """Return the nodes that have reported lately, by name. Raises redis.RedisError."""
        members = self._scripts("nodes", int(SILENCE * 1000))
        return sorted((Node.parse(member.decode()) for member in members), key=lambda node: node.name)

    def all_read(self, written: int) -> bool:
        """Tell whether every node reads a format of entries; looks again from time to time. Raises redis.RedisError."""
        if self._all_read < written and time.monotonic() - self._looked >= _LOOK_EVERY:
            self._all_read = min((node.reads for node in self.at_work()), default=FORMATS[-1])
            self._looked = time.monotonic()
        return self._all_read >= written


def missing(nodes: Collection[Node], needed: Collection[str] = tuple(WORK)) -> list[str]:
    """Return the kinds of work that none of these nodes does, in the order of `needed`."""
    done = {work for node in nodes for work in node.work}
    return [work for work in needed if work not in done]
