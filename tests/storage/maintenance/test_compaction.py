"""Compaction: Redis forgets what is old and nothing is lost by it, small packs become few, whenever anybody dies."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import msgpack
import pytest
from msgspec import structs

from app.admin import export as export_module
from app.admin import verify as verify_module
from app.admin.deep import submitted as submitted_module
from app.admin.deep import verification
from app.admin.deep.verification import deep
from app.admin.verify import verify
from app.intake.packing import Item
from storage.backends.bucket import Bucket, BucketError
from storage.base.errors import ViewStale
from storage.base.ids import ChangesetId, inbox_pack, new_ulid
from storage.base.settings import Settings
from storage.commit.batch import commit_batch
from storage.git.objects import Ident
from storage.log.entry import SLOTS, decode
from storage.log.log import Log
from storage.log.summary import LogSummary
from storage.lookup.archive import SUFFIX, Archive
from storage.lookup.tables import MERGED, encode, rows_of
from storage.maintenance import compaction as compact_module
from storage.maintenance.checkpoints import checkpoint
from storage.maintenance.compaction import compact
from storage.maintenance.garbage import collect
from storage.operations.lifecycle import abandon, release
from storage.operations.slices import define
from storage.queue import recovery
from storage.queue.recovery import Inbox
from storage.queue.states import NoPosition, Stage
from storage.queue.submission_packs import read_changesets
from storage.repository import Repository
from storage.view import load as load_module
from storage.view.load import load
from storage.view.rows import HISTORY, KEYS
from tasks import compaction as compaction_module
from tasks.node.forked import EndedBadly
from tasks.upkeep import run as run_upkeep
from tests.support.compaction import aged, compacted, emptied
from tests.support.dying import Died, Dying
from tests.support.redis_rows import copied, drop_shared, flush, restore, rows
from tests.support.world import World, item


@pytest.fixture
def world(settings: Settings) -> World:
    return World(Repository(aged(settings)))


def some_work(world: World, number: int) -> list[ChangesetId]:
    """Have some changesets of every outcome; return their ids."""
    base = world.tip
    ids = world.submit(
        item(world.all, {f"d{number}/a": b"a%d" % number, "same": b"1.%d" % number}, base, key=f"k{number}"),
        item(world.all, {f"d{number}/a": b"b%d" % number, f"d{number}/b": b"x"}, 0),
    )
    ids += world.submit(item(world.all, {"same": b"2.%d" % number}, base, key=f"l{number}"))
    ids += [world.put({"same": b"3.%d" % number}, base)]
    ids += world.submit(item(define(world.repo, f"gone{number}", [f"x{number}/"]), {"elsewhere": b"1"}, base))
    world.work()
    return ids


def history(repo: Repository) -> dict[bytes, object]:
    """Return the rows that grow with history."""
    names = tuple(name.encode() for name in HISTORY + KEYS)
    return {name: value for name, value in rows(repo).items() if name.startswith(names)}


STATUSES = ["committed", "committed", "conflicted", "conflicted", "rejected"]


def reported(world: World, ids: list[ChangesetId]) -> list[object]:
    """Return everything that the queues tell of changesets."""
    return world.repo.queue.states(ids)[1]


def test_what_is_forgotten_is_still_known(world: World) -> None:
    ids = some_work(world, 0)
    abandon(world.repo, ids[2])
    ids += [each for number in (1, 2) for each in some_work(world, number)]
    before, files = reported(world, ids), world.files()
    made = compacted(world)
    assert sum(done.entries for done in made) == world.repo.view.head().archived == world.repo.view.head().through
    assert sum(done.changesets for done in made) == len(ids)
    left = history(world.repo)
    assert not [name for name in left if name.startswith((b"outcome:", b"decided:", b"chain", b"batches"))], left
    fresh = world.reopened()
    assert [world.status(each) for each in ids] == STATUSES * 3
    after = reported(fresh, ids)
    assert [now.outcome for now in after] == [now.outcome for now in before]
    assert [now.closed_by for now in after] == [None, None, "abandoned", *[None] * 12]
    drop_shared(fresh)
    assert fresh.files() == files
    said = read_changesets(
        fresh.repo.archive,
        fresh.repo.queue,
        [(each, now.outcome.pack) for each, now in zip(ids, after, strict=True)],
    )
    assert [each.id for each in said] == ids
    assert not verify(world.repo).differences
    looked = deep(world.repo.settings)
    assert not looked.difference and looked.committed == 6 and looked.conflicted == 6 and not looked.unchecked


def test_small_packs_become_one_and_are_deleted_after_the_grace(world: World) -> None:
    ids = [each for number in range(3) for each in some_work(world, number)]
    files, stored = world.files(), {*world.repo.bucket.list_keys("packs/"), *world.repo.bucket.list_keys("inbox/")}
    assert len(stored) > 20
    compacted(world)
    assert stored < {*world.repo.bucket.list_keys("packs/"), *world.repo.bucket.list_keys("inbox/")}, "in their grace"
    world = world.reopened(gc_grace=-1000.0)
    compacted(world)
    left = {*world.repo.bucket.list_keys("packs/"), *world.repo.bucket.list_keys("inbox/")}
    # The pack of the last merge is behind what it merged, and waits for the next.
    assert len(left) < 12 and len(left & stored) == 2
    assert not [name for name in left if name.startswith("inbox/")]
    drop_shared(world)
    fresh = world.reopened()
    assert fresh.files() == files and [fresh.status(each) for each in ids] == STATUSES * 3
    assert not verify(fresh.repo).differences
    looked = deep(world.repo.settings)
    assert not looked.difference and looked.committed == 6 and looked.conflicted == 6 and not looked.unchecked
    fresh.put({"more": b"1"})
    fresh.work()
    assert fresh.files()["more"] == b"1"


def test_what_cannot_be_deleted_is_left_to_a_later_one_and_history_leaves(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    some_work(world, 0)
    compacted(world)
    world = world.reopened(gc_grace=-1000.0)
    some_work(world, 1)

    def fail(self: Bucket, *names: str) -> list[str]:
        raise BucketError("AccessDenied")

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "delete", fail)
        assert sum(done.entries for done in compacted(world)) and compact(world.repo) is None
    kept = set(world.repo.bucket.list_keys("inbox/"))
    delete, held = Bucket.delete, min(kept)

    def refuse(self: Bucket, *names: str) -> list[str]:
        assert not delete(self, *(name for name in names if name != held))
        return [held] if held in names else []

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "delete", refuse)
        assert sum(done.deleted for done in compacted(world)) >= len(kept) - 1 > 0
        assert compact(world.repo) is None, "one that is never deleted is no reason for an entry"
    assert set(world.repo.bucket.list_keys("inbox/")) == {held}
    assert sum(done.deleted for done in compacted(world)) == 1
    assert not set(world.repo.bucket.list_keys("inbox/")) and not verify(world.repo).differences


def test_a_location_in_a_pack_that_was_deleted_since_costs_a_second_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    some_work(world, 1)
    blob = next(oid for oid in [world.repo.objects.commit(world.tip).tree])
    [before] = world.repo.view.locate([blob])
    compacted(world)
    world = world.reopened(gc_grace=-1000.0)
    compacted(world)
    drop_shared(world)
    assert before is not None and world.repo.view.locate([blob]) == [None]
    fresh = Repository(world.repo.settings)
    assert fresh.objects._fetch(blob, before) == world.repo.objects.read(blob)
    monkeypatch.setattr(fresh.objects, "locate", lambda oids: [before] * len(oids))
    assert fresh.objects.read(blob) == world.repo.objects.read(blob), "also as one of many"


@pytest.mark.parametrize("grace", [1e6, -1000.0], ids=["packs-in-their-grace", "packs-deleted"])
@pytest.mark.parametrize("how", ["from-segments", "from-entries", "from-the-later-segments"])
def test_a_view_that_is_loaded_has_forgotten_the_same(
    world: World, how: str, grace: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = []
    # Rows of the index are taken more than once, some behind every chunk.
    monkeypatch.setattr(load_module, "_GATHERED", 20)
    world = world.reopened(checkpoint_entries=4, compact_entries=4, gc_grace=grace)
    for number in range(4):
        ids += some_work(world, number)
        compacted(world)
    ids += some_work(world, 5)
    repo = world.repo
    before = rows(repo)
    assert repo.view.head().archived > 0 and history(repo), "some is forgotten and some is not"
    names = list(repo.bucket.list_keys("checkpoints/"))
    gone = {"from-segments": [], "from-entries": names, "from-the-later-segments": names[:1]}[how]
    for name in gone:
        repo.bucket.delete(name)
    flush(world)
    again = world.reopened()
    again.repo.prepare()
    assert rows(again.repo) == before
    run_upkeep(again.repo)
    assert [again.status(each) for each in ids] == STATUSES * 5
    assert not verify(again.repo).differences


def test_history_that_is_forgotten_is_not_even_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        some_work(world, number)
        compacted(world)
    repo, read = world.repo, []
    scripts = repo.view.scripts
    monkeypatch.setattr(
        repo.view, "scripts", lambda name, *args, **more: read.append((name, args)) or scripts(name, *args, **more)
    )
    assert load(repo.view, repo.log, repo.bucket, repo.view.epoch())
    taken = [row for name, args in read if name == "segment" for row in msgpack.unpackb(args[1], raw=True)]
    assert taken and not [row for row in taken if row[0] == b"SET" and row[1].startswith(b"outcome:")]
    assert repo.view.head().archived > 20
    # What is left is of the last merge, which is behind what it merged.
    left = [name for name in history(repo) if not name.startswith(b"key:")]
    assert {name.split(b":")[0] for name in left} - {b"at"} == {b"merges", b"merge_seqs", b"packs"}
    assert len(left) <= 4, "the merge's commit alone, unless the archive has it"


def test_one_that_is_killed_at_any_call_loses_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    dying = Dying(monkeypatch)
    ids: list[ChangesetId] = []
    at, step, outlived = 1, 1, False
    while not outlived:
        ids += some_work(world, at)
        checkpoint(world.repo, 1000)
        fresh = Repository(world.repo.settings)
        dying.arm(at, after=bool(at % 2))
        try:
            compact(fresh)
            outlived = True
        except Died:
            pass
        dying.arm(0)
        at += step
        step = 1 + at // 8  # at each of the first calls, then at fewer: most of them read entries
        run_upkeep(world.repo)
        assert [world.status(each) for each in ids[-5:]] == STATUSES, dying.trail
    assert at > 12
    compacted(world)
    assert [world.status(each) for each in ids] == STATUSES * (len(ids) // 5)
    assert not verify(world.repo).differences


def test_the_task_makes_it_in_a_process_of_its_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = some_work(world, 0)
    checkpoint(world.repo, 1000)
    monkeypatch.setattr(compaction_module, "repository", lambda: world.repo)
    calls = Dying(monkeypatch)
    compaction_module.compaction()
    assert calls.trail == ["take", "give"]  # its lock; all else is done in the other process
    assert world.repo.view.head().archived == world.repo.view.head().through
    assert [world.status(each) for each in ids] == STATUSES
    monkeypatch.setattr(compaction_module, "compact", lambda _: os.kill(os.getpid(), signal.SIGKILL))
    for _ in range(2):  # who is killed keeps nobody from another
        with pytest.raises(EndedBadly):
            compaction_module.compaction()


def test_who_is_late_leaves_the_lease_of_who_came_after(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    key = world.repo.view.prefix + "compacting"
    monkeypatch.setattr(compaction_module, "repository", lambda: world.repo)
    monkeypatch.setattr(compaction_module, "compact", lambda _: world.repo.redis.set(key, "another's") and None)
    compaction_module.compaction()
    assert world.repo.redis.get(key) == b"another's"


def test_two_at_once_are_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    some_work(world, 1)
    checkpoint(world.repo, 1000)
    other, faster = Repository(world.repo.settings), []
    advance_watermark = Inbox.advance_watermark

    def overtaken(inbox: Inbox) -> object:
        found = advance_watermark(inbox)
        if not faster:
            faster.append(None)
            faster[0] = compact(other)
        return found

    monkeypatch.setattr(Inbox, "advance_watermark", overtaken)
    assert compact(world.repo) is None and faster[0] is not None
    assert not verify(world.repo).differences


def test_one_whose_packs_were_taken_for_garbage_is_thrown_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stood still for longer than the grace of garbage, between storing its packs and its entry."""
    ids = some_work(world, 1)
    checkpoint(world.repo, 1000)
    write = compact_module._write_tables

    def slow(repo: Repository, made: object) -> None:
        write(repo, made)  # type: ignore[arg-type]
        assert collect(world.reopened(gc_grace=-1000.0).repo).deleted

    with monkeypatch.context() as patched:
        patched.setattr(compact_module, "_write_tables", slow)
        assert compact(world.repo) is None
    assert not verify(world.repo).differences
    compacted(world)
    assert world.repo.view.head().archived and [world.status(each) for each in ids] == STATUSES
    assert not verify(world.repo).differences


def test_what_is_decided_and_forgotten_is_never_decided_again(world: World) -> None:
    """Queues that come back older, a message that comes late, an API process that wakes up."""
    [changeset] = group = world.store([item(world.all, {"f": b"1"}, world.tip)])
    world.repo.queue.enqueue(group)
    old = copied(world, queues_only=True)
    world.work()
    compacted(world)
    assert changeset[0].id <= world.repo.view.head().mark
    assert world.repo.queue.enqueue(group) == [NoPosition.DECIDED]
    restore(world, old)
    assert world.repo.redis.zcard(f"{world.repo.view.prefix}queue:{world.all.id}") == 1
    while commit_batch(world.repo, recovered_only=False).changesets:
        pass
    world.work()
    assert not verify(world.repo).differences


def test_the_mark_passes_what_is_held_and_recovery_finds_it(world: World) -> None:
    base = world.tip
    held = item(world.all, {"h": b"1"}, base, hold=True)
    [first] = world.submit(held)
    ids = some_work(world, 1)
    compacted(world)
    head = world.repo.view.head()
    assert first < head.mark and world.repo.view.undecided().keys() == {first}
    assert world.repo.queue.states([first])[1][0].held
    flush(world)
    run_upkeep(world.repo)
    [state] = world.repo.queue.states([first])[1]
    assert state.held and state.outcome is None
    release(world.repo, first)
    world.work()
    assert world.status(first) == "committed" and world.repo.view.undecided() == {}
    compacted(world)
    assert [world.status(each) for each in [first, *ids]] == ["committed", *STATUSES]
    assert not verify(world.repo).differences


def test_the_mark_passes_so_many_undecided_ones_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "MAX_UNDECIDED_BELOW", 3)
    base = world.tip
    held = item(world.all, {"h": b"1"}, base, hold=True)
    waiting = world.submit(held, item(world.all, {"h": b"2"}, 0))  # one that is held, and one that is stacked on it
    decided = some_work(world, 1)
    more = [world.submit(item(world.all, {f"m{i}": b"1"}, waiting[1]))[0] for i in range(2)]
    later = some_work(world, 2)
    checkpoint(world.repo, 1000)
    compact(world.repo)
    assert decided[-1] < world.repo.view.head().mark < more[1] < later[0]
    assert world.repo.view.undecided().keys() == {*waiting, more[0]}
    compacted(world)
    assert world.repo.view.undecided().keys() == {*waiting, *more} and world.repo.view.head().mark >= later[-1]
    flush(world)
    run_upkeep(world.repo)
    release(world.repo, waiting[0])
    world.work()
    ends = [world.status(each) for each in [*waiting, *more, *decided, *later]]
    assert ends == ["committed"] * 4 + STATUSES * 2
    compacted(world)
    assert world.repo.view.undecided() == {} and world.repo.view.head().mark >= later[-1]
    assert [world.status(each) for each in [*waiting, *more, *decided, *later]] == ends
    assert not verify(world.repo).differences


def test_a_pack_with_too_many_undecided_ones_is_passed_by_the_mark_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "MAX_UNDECIDED_BELOW", 2)
    base = world.tip
    waiting = world.submit(*[held_item(world, f"h{i}", base) for i in range(4)])
    ids = some_work(world, 1)
    more = world.submit(held_item(world, "more", base))
    checkpoint(world.repo, 1000)
    compact(world.repo)
    assert waiting[-1] <= world.repo.view.head().mark < more[0]
    assert world.repo.view.undecided().keys() == set(waiting)
    compacted(world)
    assert world.repo.view.head().mark >= more[0] and world.repo.view.head().archived > 0
    assert [world.status(each) for each in ids] == STATUSES and not verify(world.repo).differences


def test_what_is_young_stays(world: World) -> None:
    world = world.reopened(history_age=1000.0, inbox_margin=1000.0)
    some_work(world, 1)
    checkpoint(world.repo, 1000)
    before = rows(world.repo)
    assert compact(world.repo) is None and rows(world.repo) == before


def test_keys_are_known_longer_than_history_and_then_forgotten(world: World) -> None:
    ids = some_work(world, 1)
    compacted(world)
    snapshot = world.repo.view.snapshot(keys=["k1", "l1"])
    assert snapshot.keys == {"k1": ids[0], "l1": ids[2]}
    [again] = world.submit(item(world.all, {"other": b"1"}, world.tip, key="k1"))
    world.work()
    assert world.repo.outcome(again).reason == "duplicate" and world.repo.outcome(again).first == ids[0]
    world = world.reopened(key_age=-1000.0)
    compacted(world)
    assert world.repo.view.snapshot(keys=["k1", "l1"]).keys == {}
    [new] = world.submit(item(world.all, {"other": b"2"}, world.tip, key="k1"))
    world.work()
    assert world.status(new) == "committed"
    assert not verify(world.repo).differences


def test_an_archived_base_is_a_base(world: World) -> None:
    first = world.put({"a": b"1", "b": b"1"})
    world.work()
    old = world.tip
    world.put({"a": b"2"})
    world.work()
    compacted(world)
    admitted = world.repo.queue.admit([world.all.id], [first, "0" * 26], [])
    assert admitted.bases == {first}
    ids = world.submit(item(world.all, {"b": b"2"}, first), item(world.all, {"c": b"1"}, old))
    clash = world.put({"a": b"3"}, first)
    world.work()
    assert [world.status(each) for each in [*ids, clash]] == ["committed", "committed", "conflicted"]
    assert world.files() == {"a": b"2", "b": b"2", "c": b"1"}
    assert not verify(world.repo).differences


def test_redis_does_not_grow_with_history(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # A batch prepares its global commit, which the merger makes again: in the next second, it would be another object.
    now = world.repo.committer()
    monkeypatch.setattr(world.repo, "committer", lambda: now)
    counts, tables = [], []
    for number in range(24):
        some_work(world, number)
        compacted(world)
        _, named = world.repo.view.tables()
        tables.append(len(named))
        view = rows(world.repo)
        counts.append(
            sum(
                len(value) if isinstance(value, dict | list) else 1
                for name, value in view.items()
                if not name.startswith((b"key:", b"slice", b"covers:", b"open", b"archives", b"retired", b"tables"))
            )
        )
    assert max(counts[12:]) <= max(counts[:12]), counts
    assert max(tables) <= 4 * (MERGED + 2), tables
    assert not verify(world.repo).differences


def test_a_compaction_is_bounded(world: World) -> None:
    for number in range(4):
        some_work(world, number)
    world = world.reopened(compact_changesets=5)
    made = compacted(world)
    assert len(made) > 3 and max(done.changesets for done in made) <= 5
    assert [done.more for done in made[:3]] == [True] * 3
    assert not verify(world.repo).differences


def test_forgetting_keys_is_bounded(world: World) -> None:
    for number in range(4):
        some_work(world, number)
    compacted(world)
    world = world.reopened(compact_changesets=5, key_age=-1000.0)
    through, steps = 0, []
    while done := compact(world.repo):
        head = world.repo.view.head()
        entries = [decode(world.repo.log.read(seq) or b"") for seq in range(through + 1, head.keys_through + 1)]
        steps.append((sum(len(entry.decided) for entry in entries), done.more))
        through = head.keys_through
    assert len(steps) > 3 and max(changesets for changesets, _ in steps) <= 5, steps
    assert [more for _, more in steps[:3]] == [True] * 3
    keys = [f"k{number}" for number in range(4)]
    assert through == world.repo.view.head().archived and world.repo.view.snapshot(keys=keys).keys == {}
    assert not verify(world.repo).differences


def test_more_entries_to_wait_for_than_one_compaction_takes_are_as_many(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compact_module, "MAX_ENTRIES", 8)
    world = world.reopened(compact_entries=1000)
    for number in range(4):
        some_work(world, number)
    checkpoint(world.repo, 1000)
    done = compact(world.repo)
    assert done is not None and done.entries == 8


def test_a_changeset_nobody_was_promised_is_not_found_behind_the_mark(world: World) -> None:
    """One whose pack came so late that its writer was told 503: nobody looks for it, and nothing is based on it."""
    late = new_ulid()
    some_work(world, 1)
    compacted(world)
    mark = world.repo.view.head().mark
    assert late < mark
    assert world.repo.queue.stages([late]) == [Stage.DECIDED]
    assert world.repo.queue.states([late])[1][0].outcome is None
    [based] = world.submit(item(world.all, {"x": b"1"}, late))
    world.work()
    assert world.repo.outcome(based).reason == "unknown-base"


def test_a_table_row_tells_the_entry_that_decided(world: World) -> None:
    ids = some_work(world, 1)
    outcomes = {each: world.repo.outcome(each) for each in ids}
    compacted(world)
    positions = world.repo.archive.positions(ids, 0)
    assert {each: divmod(position, SLOTS) for each, position in positions.items()} == {
        each: (outcome.seq, outcome.index) for each, outcome in outcomes.items() if outcome
    }
    assert world.repo.archive.outcomes(ids, 0) == outcomes


def test_entries_that_are_kept_are_bounded_by_bytes(world: World) -> None:
    """Each may have megabytes, and every process keeps some."""
    ids = [each for number in range(4) for each in some_work(world, number)]
    compacted(world)
    outcomes = world.repo.archive.outcomes(ids, 0)
    kept = world.repo.archive._entries
    assert len(kept) > 1 and kept.currsize > sum(len(world.repo.log.read(seq) or b"") for seq in kept)
    small = world.reopened(archive_cache_bytes=4 * (kept.currsize // 2)).repo
    assert small.archive.outcomes(ids, 0) == outcomes and 0 < len(small.archive._entries) < len(kept)
    assert world.reopened(archive_cache_bytes=4).repo.archive.outcomes(ids, 0) == outcomes


def put_instead(world: World, name: str, data: bytes) -> None:
    settings = world.repo.settings
    world.repo.bucket.s3.minio.put_object(settings.s3_bucket, f"{settings.repository}/{name}", BytesIO(data), len(data))


ARCHIVE_DAMAGE = {
    "a table is gone": lambda world: world.repo.bucket.delete(world.repo.view.tables()[1][0].name + SUFFIX),
    "a table is cut short": lambda world: put_instead(world, world.repo.view.tables()[1][0].name + SUFFIX, b"SLTABLE1"),
    "redis still has what is archived": lambda world: world.repo.redis.set(
        world.repo.view.key(f"outcome:{ARCHIVED[0]}"), "{}"
    ),
    "a table is missing in the view": lambda world: world.repo.redis.delete(world.repo.view.key("tables")),
}
ARCHIVED: list[str] = []


@pytest.mark.parametrize("damage", ARCHIVE_DAMAGE.values(), ids=ARCHIVE_DAMAGE.keys())
def test_verify_finds_what_is_wrong_with_the_archive(world: World, damage: Callable[[World], object]) -> None:
    ARCHIVED[:] = some_work(world, 1)
    compacted(world)
    assert not verify(world.repo, with_git=False).differences
    damage(world)
    assert verify(world.repo, with_git=False).differences


def test_verify_misses_any_row_of_the_archive(world: World) -> None:
    ids = some_work(world, 1)
    abandon(world.repo, ids[2])
    resolution = item(world.all, {"same": b"5"}, world.tip)
    world.submit(structs.replace(resolution, submission=structs.replace(resolution.submission, resolves=ids[3])))
    world.work()
    compacted(world)
    assert not verify(world.repo, with_git=False).differences
    lost = 0
    for table in world.repo.view.tables()[1]:
        name = table.name + SUFFIX
        whole = world.repo.bucket.get(name)
        for key in dict(rows_of(whole)):
            put_instead(world, name, encode({each: value for each, value in rows_of(whole) if each != key}))
            [difference] = verify(world.repo, with_git=False).differences
            assert difference.startswith("archive: ")
            lost += 1
        put_instead(world, name, whole)
    assert lost > 20


def test_verify_says_what_it_can_though_a_part_of_the_archive_is_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = some_work(world, 1)
    compacted(world)
    [*_, pack] = export_module.read_log(world.repo.log).named.archives
    world.repo.bucket.delete(pack + ".idx")
    monkeypatch.setattr(verify_module, "read_all", lambda *_: {})
    differences = "\n".join(verify(world.repo, with_git=False).differences)
    assert pack in differences and all(f"archive: changeset {each} " in differences for each in ids)


def held_item(world: World, path: str, base: bytes) -> Item:
    return item(world.all, {path: b"1"}, base, hold=True)


def test_what_was_committed_beside_a_held_one_is_found_once_archived(world: World) -> None:
    """Its pack stays, since something in it is undecided, and the rows of its blobs go."""
    base = world.tip
    ids = world.submit(item(world.all, {"kept": b"precious"}, base), held_item(world, "h", base))
    world.work()
    some_work(world, 1)
    compacted(world)
    before = rows(world.repo)
    assert world.repo.view.head().archived > 3 and world.repo.view.undecided().keys() == {ids[1]}
    fresh = emptied(world)
    assert rows(fresh.repo) == before
    assert fresh.files()["kept"] == b"precious"
    fresh = fresh.reopened(gc_grace=-1000.0)
    release(fresh.repo, ids[1])
    fresh.work()
    compacted(fresh)
    compacted(fresh)
    fresh = emptied(fresh)
    assert not list(fresh.repo.bucket.list_keys("inbox/")) and fresh.files()["kept"] == b"precious"
    assert not verify(fresh.repo).differences


def test_a_pack_decided_in_parts_is_copied_once_and_alone_looked_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the manifest of a pack stands is asked for only where another compaction may have copied it."""
    asked: list[str] = []
    look_up = Archive.manifests
    monkeypatch.setattr(Archive, "manifests", lambda self, packs: asked.extend(packs) or look_up(self, packs))
    ids = world.submit(item(world.all, {"now": b"1"}), held_item(world, "later", world.tip))
    world.work()
    release(world.repo, ids[1])
    world.work()
    world.put({"alone": b"1"})
    world.work()
    world = world.reopened(compact_changesets=1)
    assert [done.changesets for done in compacted(world) if done.changesets] == [1, 1, 1]
    pack = inbox_pack(ids[0], 2)
    assert asked == [pack, pack]
    retired = world.repo.view.superseded(2**40, 100)
    assert retired.count(pack) == 1
    assert world.files()["later"] == b"1" and not verify(world.repo).differences


def test_checkpoints_that_are_lost_are_made_again_and_compaction_goes_on(world: World) -> None:
    """As in a bucket that was restored, or when their format changes: packs of the first entries are gone."""
    ids = some_work(world, 1)
    world = world.reopened(gc_grace=-1000.0)
    compacted(world)
    compacted(world)
    repo = world.repo
    before = repo.view.head().archived
    for name in list(repo.bucket.list_keys("checkpoints/")):
        repo.bucket.delete(name)
    fresh = emptied(world)
    ids += some_work(fresh, 2)
    compacted(fresh)
    assert fresh.repo.view.head().archived == fresh.repo.view.head().through > before
    view, files = rows(fresh.repo), fresh.files()
    fresh = emptied(fresh)
    assert rows(fresh.repo) == view and fresh.files() == files
    assert [fresh.status(each) for each in ids] == STATUSES * 2
    assert not verify(fresh.repo).differences


def test_a_held_one_of_an_older_redis_is_what_the_archive_says(world: World) -> None:
    repo = world.repo
    [first] = world.submit(held_item(world, "h", world.tip))
    old = copied(world, queues_only=True)
    release(repo, first)
    world.work()
    some_work(world, 1)
    compacted(world)
    restore(world, old)
    [now] = repo.queue.states([first])[1]
    assert now.outcome and now.outcome.status == "committed" and not now.held
    run_upkeep(repo)
    assert repo.queue.held("", 10) == [] and not repo.redis.exists(f"{repo.view.prefix}work:{first}")


def test_a_redis_older_than_the_grace_of_tables_blames_nobody(world: World) -> None:
    """Its view names tables that have been merged and deleted since: until it has caught up, everybody waits."""
    ids = some_work(world, 0)
    compacted(world)
    old = copied(world)
    world = world.reopened(gc_grace=-1000.0)
    for number in range(1, MERGED + 2):
        ids += some_work(world, number)
        compacted(world)
    flush(world)
    restore(world, old)
    fresh = world.reopened()
    with pytest.raises(ViewStale):
        reported(fresh, ids[:1])
    [based] = fresh.submit(item(world.all, {"based": b"1"}, ids[0]))
    with pytest.raises(ViewStale):
        commit_batch(fresh.repo, recovered_only=False)
    assert "deaths" not in fresh.repo.queue.work(based), "it is no suspect"
    run_upkeep(fresh.repo)
    fresh.work()
    assert [fresh.status(each) for each in [*ids, based]] == STATUSES * (MERGED + 2) + ["committed"]
    assert not verify(fresh.repo).differences


def test_what_is_old_is_so_by_the_stores_clock(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits never go back in time: one whose worker's clock is years ahead has all after it say so."""
    ident = world.repo.committer()
    with monkeypatch.context() as ahead:
        ahead.setattr(
            Repository, "committer", lambda repo: Ident(ident.name, ident.email, ident.time + 10 * 365 * 86_400)
        )
        ids = some_work(world, 1)
    compacted(world)
    assert world.repo.view.head().archived >= 3 and [world.status(each) for each in ids] == STATUSES
    world = world.reopened(history_age=1000.0)
    later = some_work(world, 2)
    compacted(world)
    assert world.repo.view.snapshot(later).outcomes.keys() == set(later), "what is young stays"


def test_what_is_copied_is_cut_into_packs(world: World) -> None:
    base, rng = world.tip, random.Random(1)
    contents = {f"f{i}": rng.randbytes(3000) for i in range(6)}
    ids = [world.put({path: content}, base) for path, content in contents.items()]
    world.put({"f0": rng.randbytes(9000)}, base)
    world.work()
    world = world.reopened(compact_bytes=8000)
    made = compacted(world)
    assert [done.changesets for done in made if done.changesets] == [7], "one entry is never cut"
    archives = world.repo.redis.zrange(world.repo.view.key("archives"), 0, -1, withscores=True)
    assert len(archives) > 2
    world = world.reopened(gc_grace=-1000.0)
    compacted(world)
    fresh = emptied(world)
    assert fresh.files() == contents
    assert [fresh.status(each) for each in ids] == ["committed"] * 6
    assert not verify(fresh.repo).differences


def all_gone(world: World, number: int) -> None:
    """Have some more work, compact everything, and delete what was copied by that, packs and tables."""
    for each in range(3):
        some_work(world, 10 * number + each)
    before = {*world.repo.bucket.list_keys("packs/"), *world.repo.bucket.list_keys("inbox/")}
    compacted(world.reopened(gc_grace=-1000.0, compact_changesets=1))
    after = {*world.repo.bucket.list_keys("packs/"), *world.repo.bucket.list_keys("inbox/")}
    assert {name.rpartition(".")[2] for name in before - after} == {"pack", "idx", "table"}


@pytest.fixture
def archived(world: World) -> World:
    """Have work that is compacted, and some that is not."""
    for number in range(2):
        some_work(world, number)
    world = world.reopened(compact_changesets=1)
    compacted(world)
    some_work(world, 2)
    return world


def test_an_export_reads_the_copies_of_what_is_deleted_meanwhile(
    archived: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read = export_module.read_log

    def read_then_delete(log: Log) -> LogSummary:
        contents = read(log)
        all_gone(archived, 3)
        return contents

    monkeypatch.setattr(export_module, "read_log", read_then_delete)
    contents = export_module.export(archived.repo.settings, tmp_path / "export.git")
    assert contents.tip == archived.tip.hex() and contents.entries == archived.repo.view.head().applied
    export_module.git(tmp_path / "export.git", "fsck", "--strict")
    listed = export_module.git(tmp_path / "export.git", "ls-tree", "-r", "--name-only", "next").split()
    assert sorted(listed) == sorted(archived.files())


def test_an_export_of_what_is_lost_says_so(archived: World, tmp_path: Path) -> None:
    lost = [*export_module.read_log(archived.repo.log).named.packs][-1] + ".pack"
    archived.repo.bucket.delete(lost)
    with pytest.raises(export_module.ExportError, match=lost):
        export_module.export(archived.repo.settings, tmp_path / "export.git")


def test_a_deep_look_reads_the_copies_of_what_is_deleted_meanwhile(
    archived: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, find = verification.read_log, submitted_module.read_all

    def read_then_delete(log: Log) -> LogSummary:
        contents = read(log)
        all_gone(archived, 3)
        return contents

    def delete_then_find(*args: Any) -> dict[bytes, bytes]:
        monkeypatch.setattr(submitted_module, "read_all", find)
        all_gone(archived, 4)
        return find(*args)

    monkeypatch.setattr(verification, "read_log", read_then_delete)
    monkeypatch.setattr(submitted_module, "read_all", delete_then_find)
    looked = deep(archived.repo.settings)
    assert not looked.difference and not looked.unchecked
    assert (looked.committed, looked.conflicted) == (18, 18)


@pytest.mark.parametrize("check", ["_check_files", "_check_archive", "_check_inbox", "_check_git"])
def test_verify_looks_for_the_copies_of_what_is_deleted_meanwhile(
    archived: World, monkeypatch: pytest.MonkeyPatch, check: str
) -> None:
    original = getattr(verify_module, check)

    def delete_then_check(*args: Any) -> None:
        all_gone(archived, 3)
        original(*args)
        some_work(archived, 4)

    monkeypatch.setattr(verify_module, check, delete_then_check)
    assert not verify(archived.repo).differences
