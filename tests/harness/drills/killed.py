"""A worker is killed while it holds the append lock: alone, and with its whole host. The other host goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

from app.stack import commands
from app.stack.processes import Command
from app.stack.stack import Stack
from storage.coordination import LeaseName
from storage.repository import Repository
from tests.harness.drills.drill import Plan, Scene

# What is promised (seconds), from the death on.
LOCK_IS_FREE = 3.0
# For a worker to be found with the lock, and between two looks for it and at what it left.
_PATIENCE, _EVERY = 60.0, 0.002


class TwoHosts(Stack):
    """A Sluice with a second node of commit workers, as a second host has it."""

    def _own_commands(self) -> list[Command]:
        second = ["commits2@%h" if part == "commits@%h" else part for part in commands.worker(2)]
        return [*super()._own_commands(), self._command("second", second)]


def plan(rounds: int) -> Plan:
    """Return the drill of so many deaths of each kind."""

    def killed(scene: Scene) -> None:
        repo = Repository(scene.stack.settings)
        for number in range(rounds):
            for what, of_host in (("a worker process", False), ("a host of workers", True)):
                scene.stack.await_health("the death before")
                scene.carry_on()
                _die(scene, repo, f"{what} ({number + 1})", of_host)

    return killed


def _die(scene: Scene, repo: Repository, what: str, of_host: bool) -> None:
    scene.say(f"kills {what}")
    owner, child, node = _frozen_holder(scene, repo)
    began = time.monotonic()
    if of_host:
        os.killpg(node, signal.SIGKILL)
    else:
        os.kill(child, signal.SIGKILL)
    lease = f"{repo.view.prefix}lease:{owner}"
    while repo.redis.exists(lease):
        time.sleep(_EVERY)
    took = time.monotonic() - began
    scene.note(f"the append lock of {what} is free", took)
    scene.await_landing(f"the death of {what}")
    scene.note(f"the first landing after the death of {what}", time.monotonic() - began)
    scene.await_landed(scene.submit())
    scene.note(f"what was submitted then has landed: {what}", time.monotonic() - began)
    scene.await_recovery(f"the death of {what}")
    scene.note(f"all that was accepted has ended: {what}", time.monotonic() - began)
    if took > LOCK_IS_FREE:
        scene.report.late.append(f"{what}: its lock was free after {took:.1f} s, not within {LOCK_IS_FREE:g} s")


def _frozen_holder(scene: Scene, repo: Repository) -> tuple[str, int, int]:
    """Stop a worker process that has the append lock; return the lock's owner, the process, and its node."""
    nodes = {process.pid for name, process in scene.stack.processes.items() if name in ("worker", "second")}
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        owner = _holder(repo)
        child = int(owner.partition("/")[0].rpartition("-")[2] or 0)
        with contextlib.suppress(ProcessLookupError):
            if child and (node := os.getpgid(child)) in nodes:
                os.kill(child, signal.SIGSTOP)
                while _state(child) != "T":
                    time.sleep(_EVERY)
                if _holder(repo) == owner:
                    return owner, child, node
                os.kill(child, signal.SIGCONT)
        time.sleep(_EVERY)
    raise AssertionError(f"no worker had the append lock within {_PATIENCE:g} s")


def _holder(repo: Repository) -> str:
    value: Any = repo.redis.get(repo.view.prefix + LeaseName.APPEND)
    return (value or b"").decode().partition(" ")[0]  # type: ignore[no-any-return]


def _state(pid: int) -> str:
    """Return how a process is, as proc(5) has it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
