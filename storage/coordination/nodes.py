"""Which Celery nodes of a deployment are alive: each writes a heartbeat to Redis every second, with what it does.

The heartbeat comes from the loop that receives messages (tasks/node/heartbeat.py), so a node that hangs, is stopped or
has lost its broker sends none, and counts as gone after `SILENCE` seconds. After a FLUSHALL all nodes are known again a
second later. Times are by Redis's clock.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from storage.backends.scripts import Scripts
from storage.view.view import View

EVERY = 1.0
"""Seconds between two times that a node says that it is at work."""
SILENCE = 5.0
"""Seconds after which a node that has not reported counts as gone."""
_FORGOTTEN_MS = 60_000

WORK = {"commits": "worker", "merges": "merger", "upkeep": "worker or merger", "beat": "beat"}
"""What a deployment needs somebody for, and the process of `sluice up` and compose.yaml that does it."""


@dataclass(frozen=True, slots=True)
class Node:
    """A Celery node, or beat, and what it does: the queues that it consumes, or `beat`."""

    name: str  # commits@host
    work: tuple[str, ...]
    pid: int  # of two under one name, the end of one says nothing of the other

    @property
    def member(self) -> str:
        """How Redis has it."""
        return f"{self.name} {','.join(self.work)} {self.pid}"

    @classmethod
    def parse(cls, member: str) -> Node:
        """Return the node of a member."""
        name, work, pid = member.rsplit(" ", 2)
        return cls(name, tuple(work.split(",")), int(pid))


class Nodes:
    """The nodes of one repository."""

    def __init__(self, view: View) -> None:
        self._scripts: Scripts = view.scripts

    def say(self, node: Node, at_work: bool = True) -> None:
        """Record that a node is alive, or that it ends. Raises redis.RedisError."""
        self._scripts("alive", node.member, "1" if at_work else "", _FORGOTTEN_MS)

    def at_work(self) -> list[Node]:
        """Return the nodes that have reported lately, by name. Raises redis.RedisError."""
        members = self._scripts("nodes", int(SILENCE * 1000))
        return sorted((Node.parse(member.decode()) for member in members), key=lambda node: node.name)


def missing(nodes: Collection[Node]) -> list[str]:
    """Return the kinds of work that none of these nodes does, in the order of WORK."""
    done = {work for node in nodes for work in node.work}
    return [work for work in WORK if work not in done]
