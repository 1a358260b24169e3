"""Redis at its maxmemory: reads go on, and so does what makes room; what would add to it is refused as a whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from redis.exceptions import OutOfMemoryError

from storage.backends.redis_memory import Memory, Pressure, pressure
from storage.base.settings import Settings, SettingsError
from storage.commit.batch import commit_batch
from storage.coordination import Reporter, read_sums
from storage.git.objects import Kind, object_id
from storage.maintenance.compaction import compact
from storage.maintenance.garbage import Collected
from storage.metrics.counts import COUNTS
from storage.metrics.definitions import SUBMITTED
from storage.operations.lifecycle import abandon
from storage.queue.states import Stage
from storage.repository import Repository
from tasks import upkeep
from tasks.relief import relieve, run
from tasks.upkeep import keep_up, tidy
from tests.support.own_redis import own_redis, url_of
from tests.support.world import World

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, servers: object) -> Iterator[redis.Redis]:
    with own_redis(tmp_path_factory.mktemp("own")) as client:
        yield client


@pytest.fixture
def world(server: redis.Redis, s3: dict[str, str], repository: str) -> Iterator[World]:
    server.config_set("maxmemory", 0)
    # Ages are of the time of the store, and what was just accepted is behind the mark at once.
    settings = Settings(
        repository=repository, redis_url=url_of(server), inbox_margin=0.2, late_put=0.1, checkpoint_entries=4, **s3
    )
    yield World(Repository(settings))
    server.config_set("maxmemory", 0)


def fill(server: redis.Redis, world: World, limit: int = 1) -> None:
    server.config_set("maxmemory", limit)
    world.repo.memory = Memory(world.repo.settings, world.repo.redis)


SCRIPTS = {
    "no-writes": {
        "admit", "advisory_claims_at", "advisory_claims_by_id", "counted", "known", "locate", "moved", "nodes",
        "oldest", "progress", "slice", "snapshot", "status", "successor", "tables",
    },
    "allow-oom": {
        "accept", "alive", "apply", "aside", "beat", "count", "end_advisory_claims", "forget_stale", "give", "note",
        "publish", "release", "retire", "take", "tries",
    },
    "": {
        "claim", "count_requests", "enqueue", "loading", "make_advisory_claim", "message", "renew_advisory_claim",
        "segment",
    },
}  # fmt: skip


def test_every_script_says_whether_it_may_run_while_redis_is_full() -> None:
    found: dict[str, set[str]] = {flags: set() for flags in SCRIPTS}
    for path in ROOT.glob("storage/*/lua/**/*.lua"):
        first = path.read_text().partition("\n")[0]
        if not first.startswith("#!lua"):
            continue  # it is included by others
        said = re.fullmatch(r"#!lua(?: flags=(\S+))?", first)
        assert said, path
        found[said[1] or ""].add(path.name.removesuffix(".lua"))
    assert found == SCRIPTS


def test_what_reads_is_answered_while_redis_is_full(world: World, server: redis.Redis) -> None:
    landed = world.put({"f": b"1"})
    world.work()
    queued = world.put({"g": b"1"})
    fill(server, world)
    assert world.status(landed) == "committed"
    assert [each.outcome is not None for each in world.repo.queue.states([landed, queued])[1]] == [True, False]
    assert world.repo.queue.stages([landed, queued]) == [Stage.DECIDED, Stage.WAITING]
    assert world.repo.queue.admit(["all"], [], []).queued == 1
    assert world.repo.queue.recovered_state()
    # Nor does it matter that what was read cannot be copied into Redis.
    assert world.files() == {"f": b"1"}


@pytest.mark.usefixtures("only_this_test_counts")
def test_what_processes_count_is_added_up_while_redis_is_full(world: World, server: redis.Redis) -> None:
    COUNTS.take()
    fill(server, world)
    COUNTS.add(SUBMITTED, count=3)
    Reporter(world.repo.settings, "api").report()
    sums = read_sums(world.repo.view)
    assert sums.counted["sluice_submitted", (), ""] == 3 and [each.process for each in sums.processes] == ["api"]


def test_a_copy_that_redis_has_no_room_for_fails_nobody(
    world: World, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.config_set("maxmemory", 1)
    monkeypatch.setattr(Memory, "now", lambda self: Pressure(0, 0))  # as it was a moment ago
    data = b"blob"
    world.repo.objects.share({object_id(Kind.BLOB, data): (Kind.BLOB, data)})
    with pytest.raises(OutOfMemoryError):
        world.repo.redis.set("a", 1)


def test_a_run_lets_others_begin_while_redis_is_full(world: World, server: redis.Redis) -> None:
    fill(server, world)
    world.repo.queue.let_others_begin("token")
    assert server.smembers(f"{world.repo.view.prefix}messages:aside") == {b"token"}


def test_what_would_add_to_a_full_redis_is_refused_as_a_whole(world: World, server: redis.Redis) -> None:
    queued = world.put({"g": b"1"})
    fill(server, world)
    for call in (
        lambda: world.repo.queue.claim("me"),
        lambda: world.repo.queue.ask("commit", 1),
        lambda: world.repo.queue.enqueue([], listed=True),
        lambda: world.repo.view.begin_loading("3-X", None),
    ):
        with pytest.raises(OutOfMemoryError):
            call()
    assert world.status(queued) == "queued"


def test_a_changeset_accepted_before_redis_was_full_can_be_abandoned(world: World, server: redis.Redis) -> None:
    fill(server, world)
    accepted = world.put({"g": b"1"})
    assert world.repo.queue.stages([accepted]) == [Stage.WAITING]
    abandon(world.repo, accepted)
    assert world.repo.outcome(accepted).status == "abandoned"


def age(world: World) -> None:
    """Let what was accepted be behind the mark."""
    while world.repo.inbox.advance_watermark().packs < len(list(world.repo.bucket.list_keys("inbox/"))):
        pass


def test_room_is_made_without_a_message_before_history_age_but_keys_stay(world: World, server: redis.Redis) -> None:
    keys = [f"key {i}" for i in range(12)]
    ids = []
    for i, key in enumerate(keys):
        ids.append(world.put({f"f{i}": b"1"}, key=key))
        while commit_batch(world.repo).changesets:
            pass
    age(world)
    assert compact(world.repo) is None, "nothing is an hour old"
    fill(server, world)
    assert world.repo.view.head().pending, "what is not merged cannot leave"
    while relieve(world.repo):
        pass
    head = world.repo.view.head()
    assert head.pending == 0 and head.archived >= 12 and head.keys_through == 0
    assert not list(world.repo.redis.scan_iter(f"sluice:[{{]{world.repo.settings.repository}[}}]:object:*"))
    assert [world.status(each) for each in ids] == ["committed"] * 12
    assert world.repo.view.snapshot(keys=keys).keys == dict(zip(keys, ids, strict=True))


def test_making_room_ends_when_there_is_room(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = iter([True, True, False])
    monkeypatch.setattr(Memory, "is_tight", lambda self: next(rounds))
    monkeypatch.setattr("tasks.relief.relieve", lambda repo, copies: True)
    monkeypatch.setattr("tasks.relief._PAUSE", 0.0)
    run(world.repo)
    assert next(rounds, None) is None


def leave_epoch(world: World) -> str:
    """Leave a key of an epoch of the view whose loader died long ago, and return it."""
    prefix = world.repo.view.prefix
    world.repo.redis.zadd(prefix + "epochs", {"3-LEFT": 1})
    world.repo.redis.hset(prefix + "v:3-LEFT:head", "applied", 1)
    return prefix + "v:3-LEFT:head"


@pytest.mark.parametrize("make_room", [tidy, relieve])
def test_a_forgotten_epoch_of_the_view_is_dropped_while_redis_is_full(
    world: World, server: redis.Redis, make_room: Callable[[Repository], object]
) -> None:
    left = leave_epoch(world)
    fill(server, world)
    make_room(world.repo)
    assert not world.repo.redis.exists(left)


def test_garbage_is_collected_while_redis_is_full_once_in_an_interval(
    world: World, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected: list[Repository] = []
    monkeypatch.setattr(upkeep, "collect", lambda repo: collected.append(repo) or Collected())
    world.repo.redis.delete(world.repo.view.prefix + "gc")  # as if gc_interval had passed
    fill(server, world)
    for _ in range(2):
        tidy(world.repo)
    assert collected == [world.repo]


def test_a_step_that_a_full_redis_refuses_keeps_no_other_from_being_taken(
    world: World, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected: list[Repository] = []
    monkeypatch.setattr(upkeep, "collect", lambda repo: collected.append(repo) or Collected())
    world.repo.redis.delete(world.repo.view.prefix + "gc")  # as if gc_interval had passed
    monkeypatch.setattr(upkeep, "checkpoint", lambda repo, *_: repo.redis.set("a", 1))
    fill(server, world)
    with pytest.raises(OutOfMemoryError):
        tidy(world.repo)
    assert collected == [world.repo]


@pytest.mark.parametrize("recover", [keep_up, relieve])
def test_a_redis_that_was_restarted_full_recovers_though_it_is_still_full(
    world: World, server: redis.Redis, recover: Callable[[Repository], object]
) -> None:
    queued = world.put({"g": b"1"})
    world.repo.queue.mark_recovered(world.repo.view.epoch(), b"an earlier run")
    fill(server, world)
    assert not world.repo.queue.recovered_state()
    recover(world.repo)
    assert world.repo.queue.recovered_state() and world.status(queued) == "queued"


def test_a_deep_look_and_a_wait_for_a_loader_begin_while_redis_is_full(world: World, server: redis.Redis) -> None:
    fill(server, world)
    for ask in (upkeep._due, upkeep._may_wait):
        assert [ask(world.repo) for _ in range(2)] == [True, False]


RAW_WRITES = (
    r"\b_?redis\.(set|setex|psetex|setnx|getset|append|hset|hincrby|[lr]push|sadd|zadd|zincrby|incr|incrby|lock|xadd)\("
)


def test_only_what_may_fail_on_a_full_redis_is_written_without_a_script() -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), name)
        for package in ("storage", "tasks", "app")
        for path in (ROOT / package).rglob("*.py")
        for name in re.findall(RAW_WRITES, path.read_text())
    }
    # Turns of requests that add something, and a counter whose error is logged first.
    assert found == {("storage/queue/queue.py", "lock"), ("storage/view/view.py", "incr")}


def test_the_part_that_is_used_is_of_maxmemory_and_0_without_one(server: redis.Redis, redis_settings: Settings) -> None:
    server.config_set("maxmemory", 0)
    assert pressure(server).part == 0.0
    used = pressure(server).used
    server.config_set("maxmemory", used * 2)
    assert 0.4 < pressure(server).part < 0.6
    memory = Memory(replace(redis_settings, redis_memory_compact=0.3, redis_memory_high=0.9), server)
    assert memory.is_tight() and not memory.is_high()
    server.config_set("maxmemory", 0)


@pytest.mark.parametrize(("compacts", "high"), [(0.0, 0.5), (0.9, 0.8), (0.5, 1.1)])
def test_the_two_parts_are_in_order_or_refused(compacts: float, high: float) -> None:
    with pytest.raises(SettingsError, match="REDIS_MEMORY"):
        Settings(redis_memory_compact=compacts, redis_memory_high=high)
