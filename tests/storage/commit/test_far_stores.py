"""Where the store is far: batches are prepared while entries are on their way, and each appends its global commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from threading import Event
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.admin.verify import verify
from storage.backends.bucket import Bucket, BucketError
from storage.base.ids import new_ulid
from storage.base.settings import Settings
from storage.commit import batch, commit_batch, merge_batch
from storage.commit.append_loop import LogBusy
from storage.commit.batch import BatchResult
from storage.commit.global_merge import MergeResult
from storage.commit.link import Linker
from storage.log.entry import Commits, Entry, Merge, decode
from storage.operations.slices import define
from storage.queue import pace
from storage.repository import Repository
from tasks.upkeep import run as run_upkeep
from tests.support.dying import Died, Dying
from tests.support.interruptions import before_next
from tests.support.world import World, item

MOST_CALLS = 60


@pytest.fixture(autouse=True)
def _every_store_is_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FAR", -1.0)


@pytest.fixture
def world(settings: Settings) -> World:
    """One in which no lock runs out because the machine is busy."""
    return World(Repository(replace(settings, lock_ttl=60.0)))


def land(repo: Repository) -> tuple[BatchResult, MergeResult]:
    """Commit a batch and append its global commit, as the task does."""
    with ExitStack() as appending:
        result = commit_batch(repo, appending=appending)
        return result, merge_batch(repo, result.merge, locked=True) if result.merge else MergeResult()


def entry(world: World, seq: int) -> Entry:
    return decode(world.repo.log.read(seq) or b"")


@pytest.fixture
def linkings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many changesets each linking was given."""
    counts: list[int] = []
    run = Linker.run

    def counted(linker: Linker, changesets: list) -> object:
        counts.append(len(changesets))
        return run(linker, changesets)

    monkeypatch.setattr(Linker, "run", counted)
    return counts


# --- the order of the log ---------------------------------------------------------------------------------------------


def test_an_entry_moves_behind_a_global_commit_and_is_not_built_again(world: World, linkings: list[int]) -> None:
    other = Repository(world.repo.settings)
    world.put({"f": b"1"})
    commit_batch(world.repo)
    second = world.put({"g": b"1"})
    # While the pack of the second batch is stored, the first one's global commit is appended.
    before_next(world.repo.append_lock, "take", lambda: merge_batch(other))
    result, merged = land(world.repo)
    assert linkings == [1, 1] and result.changesets == 1 and merged.changesets == 1
    head = world.repo.view.head()
    assert [type(entry(world, seq)) for seq in range(head.applied - 3, head.applied + 1)] == [
        Commits, Merge, Commits, Merge,
    ]  # fmt: skip
    assert head.pending == 0 and head.main_tree == head.root and world.status(second) == "committed"
    assert not verify(world.repo).differences


@pytest.mark.parametrize("locked", [True, False])
def test_one_that_loses_its_position_to_a_global_commit_moves_too(
    settings: Settings, linkings: list[int], locked: bool
) -> None:
    world = World(Repository(replace(settings, use_locks=locked)))
    other = Repository(replace(settings, use_locks=False))
    world.put({"f": b"1"})
    commit_batch(world.repo)
    world.put({"g": b"1"})
    with capture_logs() as logs:
        before_next(world.repo.log, "append", lambda: merge_batch(other))
        assert land(world.repo)[1].changesets == 1
    assert linkings == [1, 1] and [line["event"] for line in logs].count("append_conflict") == 1
    assert not verify(world.repo).differences


def test_behind_any_other_entry_a_batch_is_linked_again(world: World, linkings: list[int]) -> None:
    other = World(Repository(replace(world.repo.settings, use_locks=False)), world.all)
    contended = world.put({"f": b"1\n"})
    own = world.put({"g": b"1"})
    before_next(world.repo.append_lock, "take", lambda: define(other.repo, "web", ["web/"]))
    assert land(world.repo)[0].changesets == 2
    third, base = world.put({"h": b"1"}), world.tip

    def in_between() -> None:
        merge_batch(other.repo)
        other.put({"i": b"1"}, base)
        assert commit_batch(other.repo).changesets == 2, "both, since it takes no locks"

    before_next(world.repo.append_lock, "take", in_between)
    assert land(world.repo)[0].changesets == 1, "and finds it decided"
    assert linkings == [2, 2, 1, 2, 1]
    assert [world.status(each) for each in (contended, own, third)] == ["committed"] * 3
    assert not verify(world.repo).differences


def test_a_batch_behind_an_entry_that_changed_its_file_conflicts(world: World) -> None:
    other = World(Repository(replace(world.repo.settings, use_locks=False)), world.all)
    base = world.tip
    [first] = world.submit(item(world.all, {"f": b"first"}, base))

    def in_between() -> None:
        world.repo.queue.begin_anew()  # whoever restarts lets others claim the same
        other.submit(item(world.all, {"f": b"other"}, base))
        with suppress(LogBusy):
            commit_batch(other.repo)

    before_next(world.repo.append_lock, "take", in_between)
    land(world.repo)
    world.work()
    statuses = [world.repo.outcome(each.id).status for each in _decided(world)]  # type: ignore[union-attr]
    assert sorted(statuses) == ["committed", "conflicted"] and world.status(first) in statuses
    assert not verify(world.repo).differences


def _decided(world: World) -> Iterator:
    for seq in range(1, world.repo.view.head().applied + 1):
        yield from entry(world, seq).decided


def test_a_batch_is_linked_again_on_a_view_that_was_loaded_anew(world: World, linkings: list[int]) -> None:
    changeset = world.put({"f": b"1"})

    def lost() -> None:
        world.repo.view.erase()
        world.repo.prepare()

    before_next(world.repo.append_lock, "take", lost)
    land(world.repo)
    assert linkings == [1, 1] and world.status(changeset) == "committed"
    assert not verify(world.repo).differences


# --- the global commit ------------------------------------------------------------------------------------------------


def test_the_global_commit_of_all_pending_is_stored_beside_an_entry(world: World, puts: list[str]) -> None:
    world.put({"f": b"1"})
    commit_batch(world.repo)
    world.put({"g": b"1"})
    puts.clear()
    result, merged = land(world.repo)
    assert puts[:2] == ["packs"] * 2 and sorted(puts[2:5]) == ["log", "packs", "packs"] and puts[5:] == ["log"]
    assert result.merge and merged.changesets == 2 and merged.commit == result.merge.id.hex()
    head = world.repo.view.head()
    made = entry(world, head.applied)
    assert isinstance(made, Merge) and made.packs == result.merge.packs and head.main_tree == head.root
    assert world.reopened().repo.objects.commit(result.merge.id)
    assert not verify(world.repo).differences


def test_a_global_commit_that_was_not_stored_beside_an_entry_is_made_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put({"f": b"1"})
    commit_batch(world.repo)
    second = world.put({"g": b"1"})
    put, failed = Bucket.put_verified, list[str]()

    def fails_beside(bucket: Bucket, name: str, data: bytes) -> float:
        if len(stored) > 1 and len(failed) < 1:
            failed.append(name)
            raise BucketError("it does not answer")
        stored.append(name)
        return put(bucket, name, data)

    stored: list[str] = []
    monkeypatch.setattr(Bucket, "put_verified", fails_beside)
    result, merged = land(world.repo)
    assert failed and result.merge and result.merge.lost == failed and merged.changesets == 2
    made = entry(world, world.repo.view.head().applied)
    assert isinstance(made, Merge) and made.packs and made.packs != result.merge.packs
    assert world.status(second) == "committed" and not verify(world.repo).differences


def test_more_than_one_global_commit_merges_are_left_to_the_merger(settings: Settings) -> None:
    world = World(Repository(replace(settings, merge_changesets=1)))
    for name in "ab":
        world.put({name: b"1"})
        assert commit_batch(world.repo).changesets == 1
    world.put({"c": b"1"})
    assert commit_batch(world.repo).merge is None
    world.work()
    assert world.repo.view.head().pending == 0 and not verify(world.repo).differences


# --- when a batch begins ----------------------------------------------------------------------------------------------


def test_what_comes_while_others_link_is_in_the_next_batch(world: World) -> None:
    assert world.repo.link_lock.take("another", 1.0)
    waits = Event()
    taken = world.repo.link_lock.take

    def take(owner: str, timeout: float) -> bool:
        waits.set()
        return taken(owner, timeout)

    world.repo.link_lock.take = take  # type: ignore[method-assign]
    world.put({"f": b"1"})
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(commit_batch, world.repo)
        assert waits.wait(60)
        world.put({"g": b"1"})
        world.repo.link_lock.release("another")
        assert done.result().changesets == 2


def test_contents_are_merged_without_the_link_lock(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    base = b"".join(b"%d\n" % i for i in range(9))
    world.put({"f": base})
    world.work()
    seen = world.tip
    world.put({"f": b"first\n" + base})
    world.work()
    merged = world.put({"f": base + b"last\n"}, seen)
    merge, held = world.repo.merges.premerge, list[bool]()

    def noted(*args: Any) -> None:
        held.append(bool(world.repo.redis.exists(world.repo.view.prefix + "linking")))
        merge(*args)

    monkeypatch.setattr(world.repo.merges, "premerge", noted)
    land(world.repo)
    assert held == [False] and world.status(merged) == "committed"
    assert world.files()["f"] == b"first\n" + base + b"last\n"


def test_others_may_link_and_claim_before_the_global_commit_is_appended(world: World) -> None:
    world.put({"e": b"1"})
    commit_batch(world.repo)
    world.put({"f": b"1"})
    with ExitStack() as appending:
        first = commit_batch(world.repo, appending=appending)
        prefix = world.repo.view.prefix
        keys = {key.removeprefix(prefix.encode()) for key in world.repo.redis.scan_iter(prefix + "*")}
        assert first.merge and b"ticket" in keys
        assert not keys & {b"linking", b"trying"} and not [key for key in keys if key.startswith(b"lock:")]
        assert merge_batch(world.repo, first.merge, locked=True).changesets == 2
    assert not world.repo.redis.exists(prefix + "ticket")


def test_a_suspect_is_linked_without_the_locks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    suspect = world.put({"f": b"1"})
    with monkeypatch.context() as broken:
        broken.setattr(batch, "prepare", _fails)
        with pytest.raises(ZeroDivisionError):
            commit_batch(world.repo)
    held: list[bool] = []
    prepare = Linker.run

    def noted(linker: Linker, changesets: list) -> object:
        held.append(bool(world.repo.redis.exists(*(world.repo.view.prefix + name for name in ("ticket", "linking")))))
        return prepare(linker, changesets)

    monkeypatch.setattr(Linker, "run", noted)
    land(world.repo)
    assert held == [False] and world.status(suspect) == "committed"


def _fails(*_: object) -> None:
    raise ZeroDivisionError


# --- deaths and races -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pending", [False, True], ids=["nothing-pending", "behind-a-pending-batch"])
@pytest.mark.parametrize("after", [False, True], ids=["before-the-call", "with-its-answer-lost"])
def test_death_at_any_call_loses_and_repeats_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, after: bool, pending: bool
) -> None:
    world = World(Repository(replace(settings, lock_ttl=0.001)))
    dying = Dying(monkeypatch)
    outlived = False
    for at in range(1, MOST_CALLS):
        base, before = world.tip, []
        if pending:
            before = [world.put({f"p{at}": b"1"})]
            commit_batch(world.repo)
        ids = world.submit(
            item(world.all, {f"d{at}/a": b"1", "same": b"%d" % at}, base),
            item(world.all, {f"d{at}/a": b"2"}, 0),
            item(world.all, {"same": b"conflicts"}, base),
        )
        fresh = world.reopened()
        dying.arm(at, after)
        try:
            land(fresh.repo)
            outlived = True
        except Died:
            pass
        dying.arm(0)
        world = world.reopened()
        run_upkeep(world.repo)
        world.work()
        assert [world.status(each) for each in before] == ["committed"] * len(before)
        assert [world.status(each) for each in ids] == ["committed", "committed", "conflicted"], dying.trail
        if outlived:
            break
    assert outlived and at > 14, "the batch and its merge were cut at each of their calls"
    findings = verify(world.repo)
    assert not findings.differences and findings.committed == (3 if pending else 2) * at


@pytest.mark.parametrize("use_locks", [True, False], ids=["with-locks", "without-locks"])
def test_workers_at_once_decide_every_changeset_once(settings: Settings, use_locks: bool) -> None:
    settings = replace(settings, use_locks=use_locks, commit_changesets=4, max_commit_changesets=4)
    world = World(Repository(settings))
    base, ids = world.tip, []
    for i in range(12):
        stack = [item(world.all, {f"own{i}": b"1", "contended": b"%d" % i}, base)]
        stack += [item(world.all, {f"own{i}": b"%d" % n}, n - 1) for n in range(1, 3)]
        ids += world.submit(*stack)

    def work(act: Callable[[Repository], object]) -> None:
        repo = Repository(settings)
        while any(world.status(each) == "queued" for each in ids):
            with suppress(LogBusy):
                act(repo)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, [land, land, land, lambda repo: define(repo, f"s-{new_ulid().lower()}", ["s/"])]))
    world.work()
    statuses = [world.status(each) for each in ids]
    assert statuses.count("committed") == 3 and statuses.count("conflicted") == 11
    head = world.repo.view.head()
    assert head.pending == 0 and head.main_tree == head.root
    findings = verify(world.repo)
    assert not findings.differences and findings.changesets == 36
