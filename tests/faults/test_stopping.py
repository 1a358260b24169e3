"""Workers that are stopped or killed, as processes: what they held is given back, and nothing is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.admin.verify import verify
from app.stack import commands
from app.stack.processes import Command, Process, Supervisor
from storage.base.settings import Settings, environment
from storage.coordination import new_owner
from storage.operations.slices import define
from storage.repository import Repository
from tests.support.redis_rows import keys
from tests.support.world import World, item

ROOT = Path(__file__).parents[2]
# For a worker on a busy machine to come up, or to have done something.
PATIENCE = 90.0
# What a worker that stops in time does not need.
TOO_LONG = 60.0

Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a worker of two processes with a fault (tests/support/faulty_worker.py), or a beat."""
    with Supervisor(tmp_path / "nodes", restart=False, abrupt=True) as supervisor:

        def run(settings: Settings, fault: str, argv: list[str] | None = None) -> Process:
            name = f"node{len(supervisor.processes)}"
            argv = commands.runnable(argv or commands.worker(2))
            argv[argv.index("tasks.celery")] = "tests.support.faulty_worker"
            argv = [part.replace("%h", name) for part in argv]
            more = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "TEST_FAULT": fault}
            supervisor.start(Command(name, argv, environment(settings, more), tmp_path))
            return supervisor.processes[name]

        yield run


def wait_for(what: Callable[[], object], timeout: float = PATIENCE) -> None:
    """Ask until it is so; nothing tells."""
    until = time.monotonic() + timeout
    while not what():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.05)


def loaded(world: World) -> list[str]:
    """Changesets in several slices, for several batches at once."""
    ids = []
    for name in "abcd":
        where = define(world.repo, name, [f"{name}/"])
        ids += world.submit(*[item(where, {f"{name}/{i}": b"x"}, world.tip) for i in range(10)])
    return ids


def held(world: World) -> list[bytes]:
    """The keys of claims, locks and tickets."""
    names = [key.removeprefix(world.repo.view.prefix.encode()) for key in keys(world)]
    return [name for name in names if name.startswith((b"lock:", b"lease:", b"ticket", b"trying", b"tried"))]


@pytest.mark.parametrize(
    ("seconds", "grace"), [(0.5, 30.0), (600.0, 1.0)], ids=["who-can-finish-does", "who-cannot-gives-back"]
)
def test_a_worker_that_stops_under_load_leaves_no_lock_and_loses_nothing(
    settings: Settings, start: Start, seconds: float, grace: float
) -> None:
    # Locks of the dead would last longer than this test may.
    settings = replace(settings, lock_ttl=3600.0, stop_grace=grace, commit_changesets=10, commit_slices=1)
    world = World(Repository(settings))
    ids = loaded(world)
    worker = start(settings, f"slow:{seconds}")
    wait_for(world.repo.queue.claimants)
    pid = worker.send(signal.SIGTERM)
    assert worker.await_end(pid, TOO_LONG), worker.logs()
    assert held(world) == [], worker.logs()
    done = [world.status(each) for each in ids].count("committed")
    assert done >= 10 if seconds < grace else done == 0
    world.work()
    assert [world.status(each) for each in ids] == ["committed"] * 40
    assert b"suspects" not in [key.removeprefix(world.repo.view.prefix.encode()) for key in keys(world)]
    assert not verify(world.repo).differences


def test_a_worker_that_is_killed_under_load_loses_nothing(settings: Settings, start: Start) -> None:
    settings = replace(settings, lock_ttl=1.0, commit_changesets=10, commit_slices=1)
    world = World(Repository(settings))
    ids = loaded(world)
    worker = start(settings, "slow:1.0")
    wait_for(world.repo.queue.claimants)
    worker.send(signal.SIGKILL)

    def all_done() -> bool:
        world.work()
        return {world.status(each) for each in ids} == {"committed"}

    wait_for(all_done)
    assert [name for name in held(world) if not name.startswith(b"lease:")] == []
    wait_for(lambda: held(world) == [])  # upkeep that was killed has a lease as well, and no claim
    assert not verify(world.repo).differences


def holder(world: World) -> str:
    """Return who has the append lock, or nobody's name."""
    value = world.repo.redis.get(f"{world.repo.view.prefix}ticket") or b""
    return value.decode().partition(" ")[0]  # type: ignore[no-any-return]


def child_of(owner: str) -> int:
    """Return the process that an owner's name begins with."""
    return int(owner.partition("/")[0].rpartition("-")[2])


def test_the_lock_of_a_killed_host_is_free_and_the_other_host_goes_on(
    settings: Settings, start: Start, tmp_path: Path
) -> None:
    # A lease that outlives a stall of its process.
    settings = replace(settings, lock_ttl=10.0, commit_changesets=10, commit_slices=1)
    world = World(Repository(settings))
    ids = loaded(world)
    killed = start(settings, f"stall:{tmp_path / 'stalled'}", commands.worker(1))
    wait_for((tmp_path / "stalled").exists)
    owner = holder(world)
    redis, prefix = world.repo.redis, world.repo.view.prefix
    assert 0 < redis.pttl(f"{prefix}lease:{owner}") <= 10_000 < redis.pttl(f"{prefix}ticket")
    assert not world.repo.append_lock.take(new_owner(), 0.0)
    start(settings, "none:", commands.worker(1))
    start(settings, "none:", commands.beat())
    killed.send(signal.SIGKILL)
    os.kill(child_of(owner), signal.SIGKILL)
    mine = new_owner()
    assert world.repo.append_lock.take(mine, PATIENCE), "it is got, and not gone without"
    assert redis.exists(f"{prefix}lease:{owner}") == 0
    world.repo.append_lock.release(mine)
    wait_for(lambda: {world.status(each) for each in ids} == {"committed"})
    assert not verify(world.repo).differences


def test_a_killed_childs_leases_end_at_once_while_its_node_lives(
    settings: Settings, start: Start, tmp_path: Path
) -> None:
    # Nothing expires within this test.
    settings = replace(settings, lock_ttl=3600.0, message_ttl=3600.0, commit_workers=4)
    world = World(Repository(settings))
    ids = loaded(world)
    start(settings, f"stall:{tmp_path / 'stalled'}", commands.worker(1))
    wait_for((tmp_path / "stalled").exists)
    owner = holder(world)
    assert world.repo.redis.pttl(f"{world.repo.view.prefix}lease:{owner}") > 3_000_000
    os.kill(child_of(owner), signal.SIGKILL)
    wait_for(lambda: {world.status(each) for each in ids} == {"committed"})
    assert world.repo.redis.exists(f"{world.repo.view.prefix}lease:{owner}") == 0
    assert not verify(world.repo).differences


def test_a_changeset_that_ends_its_workers_process_is_rejected(settings: Settings, start: Start) -> None:
    # Nobody is taken for dead who only stalls: a node ends the leases of its dead children itself.
    settings = replace(settings, lock_ttl=60.0, upkeep_interval=0.5, merge_interval=600.0)
    world = World(Repository(settings))
    before, poison, after = world.submit(*[item(world.all, {path: b"1"}, world.tip) for path in ("a", "poison", "b")])
    start(settings, "die:poison")
    start(settings, "none:", commands.beat())
    others: list[str] = []

    def rejected() -> bool:
        others.append(world.put({f"other{len(others)}": b"x"}))
        time.sleep(0.5)
        return world.status(poison) == "rejected"

    wait_for(rejected)
    outcome = world.repo.outcome(poison)
    assert outcome and outcome.reason == "poison" and "its worker died" in outcome.detail
    wait_for(lambda: {world.status(each) for each in [before, after, *others]} == {"committed"})
    assert not verify(world.repo).differences
