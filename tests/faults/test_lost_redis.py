"""Redis may vanish or come back older at any moment; that costs time and nothing else."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from app.admin.backup import backup
from app.admin.verify import verify
from app.api import create_app
from app.intake.packing import build
from storage.backends.bucket import BucketError, Missing
from storage.backends.scripts import Scripts
from storage.base.errors import Recovering, ViewAbsent, ViewLoading, ViewStale
from storage.base.ids import ChangesetId, PackId, changesets_of, new_ulid
from storage.base.settings import Settings
from storage.commit.append_loop import SnapshotStale, check_snapshot_current
from storage.commit.batch import commit_batch
from storage.commit.global_merge import merge_batch
from storage.git.objects import CorruptObject, Kind, object_id
from storage.log.entry import decode
from storage.log.manifest import Changeset
from storage.lookup.archive import Archive
from storage.maintenance.garbage import Collected, collect
from storage.maintenance.rebuild import rebuild
from storage.operations import lifecycle
from storage.operations.lifecycle import release, requeue_released
from storage.operations.slices import change_paths, define, delete
from storage.queue import recovery
from storage.queue.queue import Queue
from storage.queue.recovery import Inbox, InboxScan
from storage.queue.states import Admission, Stage
from storage.repository import RedisUnsafe, Repository
from storage.view.load import catch_up, load
from storage.view.segments import FOLDER as SEGMENTS
from tasks import commits, notify, upkeep
from tasks.upkeep import keep_up
from tasks.upkeep import run as run_upkeep
from tests.support.compaction import aged_world, compacted
from tests.support.dying import NO_STEP
from tests.support.redis_rows import copied, drop_shared, flush, keys, restore
from tests.support.waiting import await_true
from tests.support.world import World, item


@pytest.fixture
def world(settings: Settings) -> World:
    return World(Repository(settings))


@contextlib.contextmanager
def rolled_back(world: World) -> Iterator[None]:
    """Let Redis come back, at the end, as it was at the beginning; as another run of it, like after a restart."""
    copies = copied(world)
    yield
    flush(world)
    restore(world, copies)
    world.repo.redis.set(world.repo.view.prefix + "recovered", "the id of an earlier run")


def test_after_a_flush_all_that_was_accepted_is_found_and_decided(world: World) -> None:
    landed = world.put({"f": b"1"})
    world.work()
    queued = world.submit(item(world.all, {"g": b"1"}, world.tip), item(world.all, {"g": b"2"}, 0))
    unqueued = [changeset.id for changeset, _ in world.store([item(world.all, {"h": b"1"}, world.tip)])]
    flush(world)
    with pytest.raises(ViewAbsent):
        commit_batch(world.repo)
    run_upkeep(world.repo)
    assert world.status(landed) == "committed"
    world.work()
    assert [world.status(each) for each in [*queued, *unqueued]] == ["committed"] * 3
    assert not verify(world.repo).differences


FOREIGN = [
    *(
        "inbox/0.txt",
        "inbox/7ZZZZZZZZZZZZZZZZZZZZZZZZZ-2.pack",
        "inbox/01ARZ3NDEKTSV4RRFFQ69G5FAV-2.pack.bak",
        "inbox/notes/of/mine",
        "inbox/x-1.pack",
    ),
    *("packs/0", "packs/x.pack", "packs/notes/of/mine", f"{SEGMENTS}.keep", f"{SEGMENTS}3.segment"),
    *("log/README", "log/000000000001.json~", "log/000000000002.json.bak"),
    *("rolls/README", "notes/of/mine"),
]


def test_what_somebody_else_has_put_into_the_bucket_stops_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in FOREIGN:
        world.repo.bucket.put_verified(name, b"not ours")
    more = {"gc_grace": -1000.0, "gc_interval": 1, "gc_packs": 2, "max_page": 1000}
    world = aged_world(world, **more)
    ids = [world.put({f"f{i}": b"1"}) for i in range(3)]
    world.work()
    assert run_upkeep(world.repo).damaged == 0
    assert compacted(world)
    monkeypatch.setattr(recovery, "_SETTLE", -1000.0)  # all of them are seen, and not looked at again
    world.repo.inbox.routine(deep=False)
    [(late, _)] = world.store([item(world.all, {"h": b"1"}, world.tip)])
    assert world.repo.inbox.routine(deep=False).enqueued == 1
    [(lost, _)] = world.store([item(world.all, {"g": b"1"}, world.tip)])
    flush(world)
    run_upkeep(world.repo)
    world.work()
    assert [world.status(each) for each in [*ids, late.id, lost.id]] == ["committed"] * 5
    assert any(collect(world.repo).complete for _ in range(20))
    assert {*world.repo.bucket.list_keys("")} >= {*FOREIGN}, "nothing that is not ours is deleted"
    assert not verify(world.repo).differences
    report = backup(world.repo.settings, tmp_path / "backup")
    assert not report.problems and report.entries == world.repo.view.head().applied


def test_a_pack_that_was_unreadable_for_a_while_is_queued_by_a_later_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that the mark has passed, as a held one's is."""
    [waiting] = world.submit(item(world.all, {"held": b"1"}, world.tip, hold=True))
    world = aged_world(world)
    world.put({"f": b"1"})
    world.work()
    run_upkeep(world.repo)
    assert compacted(world) and waiting in world.repo.view.undecided()
    flush(world)
    with monkeypatch.context() as away:
        away.setattr(recovery, "read_pack", lambda *_: (_ for _ in ()).throw(CorruptObject("for a while")))
        assert run_upkeep(world.repo).damaged == 1
    assert world.repo.queue.stages([waiting]) == [Stage.UNKNOWN]
    world.repo.inbox.routine(deep=True)
    assert world.repo.queue.stages([waiting]) == [Stage.WAITING]


def test_an_unreadable_released_changeset_keeps_no_other_from_its_queue(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = [world.submit(item(world.all, {f"f{i}": b"1"}, world.tip, hold=True))[0] for i in range(2)]
    for each in released:
        release(world.repo, each)
    world.repo.redis.delete(f"{world.repo.view.prefix}queue:{world.all.id}")  # who released them died before
    read = lifecycle.read_changesets

    def damaged(archive: Archive, queue: Queue, wanted: Sequence[tuple[ChangesetId, PackId]]) -> list[Changeset]:
        if wanted[0][0] == released[0]:
            raise CorruptObject("damaged")
        return read(archive, queue, wanted)

    monkeypatch.setattr(lifecycle, "read_changesets", damaged)
    assert requeue_released(world.repo, 100) == 1
    assert world.repo.queue.stages(released) == [Stage.UNKNOWN, Stage.WAITING]


def test_a_step_of_upkeep_that_fails_keeps_no_other_from_being_taken(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected: list[Repository] = []
    monkeypatch.setattr(upkeep, "checkpoint", lambda *_: 1 / 0)
    monkeypatch.setattr(upkeep, "collect", lambda repo: collected.append(repo) or Collected())
    world.repo.redis.delete(world.repo.view.prefix + "gc")
    with pytest.raises(ZeroDivisionError):
        upkeep.tidy(world.repo)
    assert collected == [world.repo]


@pytest.mark.parametrize("left", [0, 40, -1])
def test_a_submission_pack_that_is_damaged_keeps_no_other_from_being_found(world: World, left: int) -> None:
    """As a store may leave it: empty, cut off, without its last byte."""
    pack, data, _ = build([[item(world.all, {"damaged": b"1"}, world.tip)]])
    world.repo.bucket.put_verified(pack + ".pack", data[:left])
    [(lost, _)] = world.store([item(world.all, {"f": b"1"}, world.tip)])
    assert run_upkeep(world.repo).damaged == 1
    world.work()
    assert world.status(lost.id) == "committed"

    [(lost, _)] = world.store([item(world.all, {"g": b"1"}, world.tip)])
    flush(world)
    before = run_upkeep(world.repo)
    assert before.damaged == 1 and world.repo.queue.recovered_state()
    world.work()
    assert world.status(lost.id) == "committed"
    [damaged] = changesets_of(pack)
    assert verify(Repository(replace(world.repo.settings, upkeep_interval=0.1))).differences == [
        f"inbox: changeset {damaged} has no outcome and is not queued",
        f"inbox: {pack} cannot be read: not a pack, or a damaged one",
    ]


def test_a_flush_between_any_two_steps_loses_nothing(world: World) -> None:
    ids = []
    steps = [
        lambda: None,
        lambda: commit_batch(world.repo),
        lambda: merge_batch(world.repo),
        lambda: run_upkeep(world.repo),
    ]
    for number, step in enumerate(steps):
        ids += world.submit(item(world.all, {f"f{number}": b"x"}, world.tip))
        step()
        flush(world)
        run_upkeep(world.repo)
    world.work()
    assert [world.status(each) for each in ids] == ["committed"] * len(steps)
    assert not verify(world.repo).differences


def test_an_older_copy_of_redis_catches_up_and_queues_what_it_never_knew(world: World) -> None:
    before = world.put({"f": b"1"})
    base = world.tip
    with rolled_back(world):
        world.work()
        later = world.put({"f": b"2"}, before)
        world.work()
        waiting = world.put({"f": b"3"}, later)
    assert world.status(before) == "queued", "so Redis remembers"
    with pytest.raises(Recovering):
        commit_batch(world.repo)
    run_upkeep(world.repo)
    world.work()
    assert [world.status(each) for each in (before, later, waiting)] == ["committed"] * 3
    assert world.files() == {"f": b"3"} and world.tip != base
    findings = verify(world.repo)
    assert not findings.differences and findings.committed == 3


def test_an_older_snapshot_restored_during_upkeep_is_not_recovered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it lacks may be in the log, and the upkeep that looked there did so before."""
    run, keep_view = b"one", upkeep._keep_view

    def keep_and_restart(repo: Repository) -> str | None:
        nonlocal run
        epoch = keep_view(repo)
        run = b"another"
        return epoch

    monkeypatch.setattr(Queue, "run", lambda self: run)
    monkeypatch.setattr(upkeep, "_keep_view", keep_and_restart)
    keep_up(world.repo)
    assert not world.repo.queue.recovered_state()
    keep_up(world.repo)
    assert world.repo.queue.recovered_state()


def test_an_inbox_is_recovered_by_one_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.repo.redis.delete(world.repo.view.prefix + "recovered")
    recovery, others = Inbox.recover, []

    def while_another_is_asked(inbox: Inbox, *given: object) -> InboxScan:
        monkeypatch.setattr(Inbox, "recover", lambda *_: pytest.fail("it is being recovered"))
        others.append(keep_up(world.repo))
        return recovery(inbox, *given)

    monkeypatch.setattr(Inbox, "recover", while_another_is_asked)
    keep_up(world.repo)
    assert world.repo.queue.recovered_state() and others == [InboxScan()]


def test_an_older_copy_of_redis_that_holds_what_is_archived_lets_go_of_it(world: World) -> None:
    world = aged_world(world)
    [first] = world.submit(item(world.all, {"h": b"1"}, world.tip, hold=True))
    queued = world.put({"q": b"1"})
    with rolled_back(world):
        release(world.repo, first)
        world.work()
        compacted(world)
        assert world.repo.queue.states([first])[1][0].outcome
    assert world.repo.queue.states([first])[1][0].held, "so Redis remembers"
    run_upkeep(world.repo)
    assert [world.status(each) for each in (first, queued)] == ["committed"] * 2
    assert world.repo.queue.held("", 10) == []
    assert not verify(world.repo).differences


def test_a_batch_on_an_older_copy_cannot_append_where_the_log_goes_on(world: World) -> None:
    first = world.put({"f": b"1"})
    with rolled_back(world):
        world.work()
        second = world.put({"f": b"2"}, first)
        world.work()
    # Nobody has noticed: the queue still holds the first, and the view does not know that it was decided.
    commit_batch(world.repo, recovered_only=False)
    run_upkeep(world.repo)
    world.work()
    assert world.files() == {"f": b"2"} and world.status(second) == "committed"
    findings = verify(world.repo)
    assert not findings.differences and findings.committed == 2


def test_an_older_copy_of_redis_does_not_proceed_without_what_is_away(world: World) -> None:
    repo = world.repo
    with rolled_back(world):
        world.put({"f": b"1", "d/g": b"2"})
        world.work()
        entry = decode(repo.log.read(repo.view.head().applied - 1) or b"")
    [[pack, _]] = entry.packs
    index = repo.bucket.get(pack + ".idx")
    repo.bucket.delete(pack + ".idx")
    before = repo.view.head().applied
    for _ in range(2):
        with pytest.raises(Missing):
            catch_up(repo.view, repo.log, repo.bucket)
    assert before <= repo.view.head().applied < entry.seq
    repo.bucket.create(pack + ".idx", index)
    run_upkeep(repo)
    assert not verify(repo).differences
    tree = repo.objects.commit(world.tip).tree
    assert repo.view.locate([tree]) != [None] and world.files() == {"f": b"1", "d/g": b"2"}


def test_a_base_whose_pack_is_away_for_a_moment_is_no_unknown_base(world: World) -> None:
    repo = world.repo
    world.put({"f": b"1"})
    world.work()
    base = world.tip
    [place] = repo.view.locate([base])
    assert place is not None
    pack = repo.bucket.get(place.pack + ".pack")
    repo.bucket.delete(place.pack + ".pack")
    drop_shared(world)
    based = world.put({"g": b"2"}, base)
    with pytest.raises(BucketError):
        commit_batch(Repository(repo.settings))
    assert world.status(based) == "queued" and "deaths" not in repo.queue.work(based), "nobody is blamed"
    repo.bucket.create(place.pack + ".pack", pack)
    world.work()
    assert world.status(based) == "committed" and world.files() == {"f": b"1", "g": b"2"}


def test_a_redis_that_went_back_and_has_caught_up_is_noticed(world: World) -> None:
    """What was not found while it knew less must not count as true of a snapshot from before it went back."""
    repo = world.repo
    snapshot = repo.view.snapshot()
    check_snapshot_current(repo, snapshot)
    assert snapshot.run == repo.queue.run().decode()
    with pytest.raises(SnapshotStale):
        check_snapshot_current(repo, replace(snapshot, run="the id of an earlier run"))


def test_a_view_of_another_log_is_noticed_and_loaded_anew(world: World) -> None:
    world.put({"f": b"1"})
    world.work()
    head = world.repo.view.key("head")
    world.repo.redis.hset(head, "hash", "f" * 64)
    run_upkeep(world.repo)
    assert world.repo.view.key("head") != head, "another epoch is published"
    world.put({"g": b"1"})
    world.work()
    assert not verify(world.repo).differences


def test_a_message_lost_or_doubled_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    monkeypatch.setattr(commits, "repository", lambda: world.repo)
    monkeypatch.setattr(notify, "send", lambda app, task, token=None: sent.append(task))
    one = world.put({"f": b"1"})
    notify.ask_for_commit(world.repo)
    assert sent == ["sluice.commit"]
    sent.clear()  # lost: nobody runs it
    commits.commit.run(token="of nobody")
    commits.commit.run(token="of nobody")
    head = world.repo.view.head()
    assert world.status(one) == "committed" and (head.committed, head.merged) == (1, 1)
    assert sent == [], "nothing is left to be done"
    findings = verify(world.repo)
    assert not findings.differences and findings.committed == 1


def looking(world: World, monkeypatch: pytest.MonkeyPatch, **settings: object) -> Inbox:
    """Return an inbox whose looks list three packs, and settle at once."""
    monkeypatch.setattr(recovery, "_SETTLE", 0.0)
    chosen = replace(world.repo.settings, upkeep_packs=3, **settings)  # type: ignore[arg-type]
    return Inbox(chosen, world.repo.archive, world.repo.view, world.repo.queue)


def forget(world: World, changeset: str) -> None:
    """Take a changeset out of the queues, as if its pack had come when the routine looks had gone by."""
    world.repo.redis.delete(f"{world.repo.view.prefix}work:{changeset}")
    world.repo.redis.zrem(f"{world.repo.view.prefix}queue:{world.all.id}", changeset)


def test_a_deep_look_keeps_none_of_the_newest_from_being_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = looking(world, monkeypatch)
    for i in range(12):
        world.put({f"f{i}": b"x"})  # undecided, so the mark stays before them
    for _ in range(6):
        inbox.routine(deep=False)
    [(lost, _)] = world.store([item(world.all, {"lost": b"x"}, world.tip)])
    assert inbox.routine(deep=True).enqueued == 0, "it has listed the first three packs"
    assert inbox.routine(deep=False).enqueued == 1
    world.work()
    assert world.status(lost.id) == "committed"


def test_deep_looks_go_on_to_the_end_and_then_begin_at_the_mark_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = looking(world, monkeypatch)
    ids = [world.put({f"f{i}": b"x"}) for i in range(8)]
    for _ in range(4):
        inbox.routine(deep=False)
    for late in (ids[1], ids[6]):
        forget(world, late)
    assert [inbox.routine(deep).enqueued for deep in (False, True, True, False, True)] == [0, 1, 0, 0, 1]
    world.work()
    assert [world.status(each) for each in ids] == ["committed"] * 8
    assert [inbox.routine(deep=True).packs for _ in range(4)] == [3, 3, 2, 3]
    compact_all(world)
    assert world.repo.view.head().mark == ids[-1]
    inbox.routine(deep=True)
    assert inbox.routine(deep=True).packs == 0, "the mark has passed what is decided"


def test_the_mark_follows_from_the_log_and_not_from_what_queues_remember(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = looking(world, monkeypatch)
    waits = world.put({"f": b"x"}, new_ulid())  # for a base that never comes
    for i in range(8):
        world.put({f"f{i}": b"x"})
    world.work()
    forget(world, waits)
    compact_all(world)
    assert world.repo.view.head().mark > waits and world.repo.view.undecided().keys() == {waits}
    assert inbox.recover(world.repo.queue.run(), world.repo.view.epoch()).enqueued == 1
    assert world.repo.queue.waiting(world.all.id, "", 10) == [waits]


def compact_all(world: World) -> None:
    """Have everything archived that can be, and the mark where it can be."""
    compacted(aged_world(world))


def test_redis_that_may_evict_is_refused(world: World) -> None:
    class Evicting(redis.Redis):
        def config_get(self, pattern: str) -> dict[str, str]:  # type: ignore[override]
            return {"maxmemory-policy": "allkeys-lru"}

    world.repo.redis = Evicting()
    with pytest.raises(RedisUnsafe, match="noeviction"):
        world.repo.check()


@pytest.mark.parametrize("s3_kind", ["seaweedfs"], indirect=True)
def test_redis_may_lose_what_any_one_call_told_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a failover does, to a replica that had not got it yet."""
    script = Scripts.__call__
    for at in range(1, 12):
        world.put({f"f{at}": b"1"})
        calls = 0

        def lost(self: Scripts, name: str, *args: object, at: int = at, **more: object) -> object:
            nonlocal calls
            if threading.current_thread().name in NO_STEP:
                return script(self, name, *args, **more)
            calls += 1
            with rolled_back(world) if calls == at else contextlib.nullcontext():
                return script(self, name, *args, **more)

        with monkeypatch.context() as losing:
            losing.setattr(Scripts, "__call__", lost)
            with contextlib.suppress(ViewStale, ViewAbsent, Recovering):
                commit_batch(world.repo)
        # A copy has no lives: what would expire soon is taken away.
        world.repo.redis.delete(*keys(world, "lock:", "lease:", "ticket", "trying"), b"none")
        run_upkeep(world.repo)
        world.work()
    # What processes share in Redis for some minutes may hide that a place is not known.
    drop_shared(world)
    fresh = world.reopened()
    assert fresh.files() == {f"f{at}": b"1" for at in range(1, 12)}
    assert not verify(world.repo).differences


def test_the_first_request_to_an_empty_redis_has_the_view_loaded_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(notify, "send", lambda app, task, token=None: sent.append(task))
    monkeypatch.setattr(notify, "_ASK_PAUSE", 60_000)
    world.put({"f": b"1"})
    world.work()
    api = create_app(world.repo.settings, check=False).test_client()
    flush(world)
    for _ in range(3):
        answer = api.get("/v1/head")
        assert answer.status_code == 503 and answer.headers["Retry-After"]
    assert sent == ["sluice.upkeep"], "one is enough"
    run_upkeep(world.repo)
    assert api.get("/v1/head").status_code == 200


@pytest.mark.parametrize("told", ["a commit", "a content"])
def test_what_an_older_copy_does_not_know_is_not_refused_for_good(
    world: World, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    api = create_app(world.repo.settings, check=False).test_client()
    base = world.tip.hex()
    with contextlib.ExitStack() as older, monkeypatch.context() as coming_back:
        older.enter_context(rolled_back(world))
        world.put({"f": b"1"})
        world.work()
        admit = Queue.admit_by_view

        def comes_back(queue: Queue, *asked: Sequence[str]) -> Admission:
            found = admit(queue, *asked)
            older.close()
            return found

        coming_back.setattr(Queue, "admit_by_view", comes_back)
        change = {"op": "put", "path": "g", "content": "2"}
        if told == "a commit":
            base = world.tip.hex()
        else:
            change = {"op": "put", "path": "g", "id": object_id(Kind.BLOB, b"1").hex()}
        body = {"base": base, "message": "m", "changes": [change]}
        answer = api.post("/v1/slices/all/changesets", json=body)
        assert answer.status_code == 503 and answer.headers["Retry-After"]
    run_upkeep(world.repo)
    assert api.post("/v1/slices/all/changesets", json=body).status_code == 202


def test_an_older_copy_neither_refuses_a_slice_nor_leaves_it_as_it_was(world: World) -> None:
    gone, changed = define(world.repo, "gone", ["gone/"]), define(world.repo, "changed", ["a/"])
    api = create_app(world.repo.settings, check=False).test_client()
    with rolled_back(world):
        delete(world.repo, gone.id)
        change_paths(world.repo, changed.id, ["a/", "b/"])
        world.put({"b/f": b"1"})
        world.work()
        landed = world.repo.view.head().main
    with pytest.raises(Recovering):
        define(world.repo, "gone", ["gone/"])
    with pytest.raises(Recovering):
        change_paths(world.repo, changed.id, ["a/"])  # so it is here, and is not in the log
    with pytest.raises(Recovering):
        change_paths(world.repo, changed.id, ["c/"], version=2)
    body = {"base": world.tip.hex(), "message": "m", "changes": [{"op": "put", "path": "b/g", "content": "1"}]}
    assert api.post("/v1/slices/changed/changesets", json=body).status_code == 503
    for at in ("changed/files/b/f", f"all/files/b/f?commit={landed}"):
        assert api.get(f"/v1/slices/{at}").status_code == 503, at
    run_upkeep(world.repo)
    define(world.repo, "gone", ["gone/"])
    assert api.post("/v1/slices/changed/changesets", json=body).status_code == 202
    for at in ("changed/files/b/f", f"all/files/b/f?commit={landed}"):
        assert api.get(f"/v1/slices/{at}").data == b"1", at
    assert change_paths(world.repo, changed.id, ["a/"]).version == 3
    assert not verify(world.repo).differences


def test_a_view_is_published_only_in_the_run_of_redis_that_took_all_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that took its place may never have got a part."""
    flush(world)
    view = world.repo.view
    begin = view.begin_loading
    with monkeypatch.context() as failing_over:
        failing_over.setattr(view, "begin_loading", lambda epoch, before: begin(epoch, before) and b"another run")
        assert not load(view, world.repo.log, world.repo.bucket, before=None)
    assert view.epoch() is None
    assert load(view, world.repo.log, world.repo.bucket, before=None) and view.epoch()


@pytest.mark.parametrize("by", ["rebuild", "upkeep"])
def test_what_lands_while_a_view_is_loaded_is_in_it_once_it_is_recovered(
    world: World, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    changeset = world.put({"f": b"1"})
    other, publish = Repository(world.repo.settings), world.repo.view.publish

    def late(before: str | None, epoch: str, run: bytes) -> bool:
        assert commit_batch(other, recovered_only=False).changesets == 1 and other.outcome(changeset)
        return publish(before, epoch, run)

    monkeypatch.setattr(world.repo.view, "publish", late)
    epoch = world.repo.view.epoch()
    if by == "rebuild":
        rebuild(world.repo, epoch, lambda _: None)
    else:
        world.repo.redis.delete(world.repo.view.prefix + "recovered")
        monkeypatch.setattr(upkeep, "_follows_log", lambda _: False)
        keep_up(world.repo)
    assert world.repo.view.epoch() != epoch and world.repo.queue.recovered_state()
    assert world.status(changeset) == "committed"
    assert world.repo.queue.length() == 0


def test_a_consistent_read_ends_in_recovering_if_redis_is_lost_in_it(world: World) -> None:
    queue = world.repo.queue

    def lost_and_found() -> None:
        flush(world)
        run_upkeep(world.repo)

    with queue.consistent_read():
        pass
    world.repo.redis.delete(world.repo.view.prefix + "recovered")
    with pytest.raises(Recovering), queue.consistent_read():
        pytest.fail("nothing is recovered")
    run_upkeep(world.repo)
    with pytest.raises(Recovering), queue.consistent_read():
        lost_and_found()
    assert queue.recovered_state()


def test_one_of_many_loads_the_view_and_the_others_wait_for_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.view.view._SILENT_LOADER", 600_000)
    world.put({"f": b"1"})
    world.work()
    flush(world)
    epochs: list[str] = []
    together = threading.Barrier(6)

    def start() -> None:
        repo = Repository(world.repo.settings)
        begin = repo.view.begin_loading
        repo.view.begin_loading = lambda epoch, before: (begin(epoch, before), epochs.append(epoch))[0]
        together.wait()
        repo.prepare(timeout=60)
        assert repo.view.head().applied == world.repo.view.head().applied

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert len(epochs) == 1


def test_who_begins_to_load_when_another_has_published_does_not(world: World) -> None:
    flush(world)
    repo = world.repo
    assert repo.view.epoch() is None
    Repository(repo.settings).prepare()
    published = repo.view.epoch()
    with pytest.raises(ViewLoading, match="has loaded"):
        load(repo.view, repo.log, repo.bucket, before=None)
    assert published and repo.view.epoch() == published


def test_a_loader_that_died_is_followed_by_another(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.put({"f": b"1"})
    world.work()
    flush(world)
    monkeypatch.setattr("storage.view.view._SILENT_LOADER", 600_000)
    world.repo.view.begin_loading("DEAD", world.repo.view.epoch())
    with pytest.raises(ViewLoading):
        world.repo.prepare()
    monkeypatch.setattr("storage.view.view._SILENT_LOADER", 1)
    world.repo.prepare(timeout=60)
    assert world.repo.view.epoch() not in {None, "DEAD"}


def test_a_loader_that_waits_for_a_slow_store_says_that_it_is_at_work(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, read_from = world.repo.view, world.repo.log.read_from

    def stamps() -> dict[bytes, float]:
        return dict(view.redis.zrange(view.prefix + "epochs", 0, -1, withscores=True))

    def slowly(seq: int) -> Iterator[tuple[int, bytes]]:
        before = stamps()
        await_true(lambda: any(at > before[epoch] for epoch, at in stamps().items()))
        yield from read_from(seq)

    flush(world)
    monkeypatch.setattr(world.repo.log, "read_from", slowly)
    assert load(view, world.repo.log, world.repo.bucket, before=None)


def test_upkeep_beside_a_loading_view_waits_and_marks_it_as_recovered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a start every process finds no view at once, and without a beat no upkeep comes after the first."""
    flush(world)
    monkeypatch.setattr("storage.view.view._SILENT_LOADER", 500)
    world.repo.view.begin_loading("ANOTHER", world.repo.view.epoch())
    keep_up(world.repo)
    assert world.repo.queue.recovered_state()


def test_one_upkeep_waits_for_who_loads_the_view_and_the_others_go(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush(world)
    monkeypatch.setattr("storage.view.view._SILENT_LOADER", 600_000)
    monkeypatch.setattr(upkeep, "_LOADING_PATIENCE", 60.0)
    world.repo.view.begin_loading("ANOTHER", world.repo.view.epoch())
    waiting = threading.Thread(target=keep_up, args=[Repository(world.repo.settings)])
    waiting.start()
    await_true(lambda: bool(world.repo.redis.exists(world.repo.view.prefix + "upkeep_waits")))
    for _ in range(3):
        with pytest.raises(ViewLoading):
            keep_up(world.repo)
    assert waiting.is_alive()
    monkeypatch.setattr("storage.view.view._SILENT_LOADER", 1)
    waiting.join(60)
    assert not waiting.is_alive() and world.repo.queue.recovered_state()
