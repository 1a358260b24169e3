"""The view: guarded, repeatable, and the same whichever way it came about."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from storage.backends.bucket import Bucket
from storage.backends.redis_client import connect
from storage.base.errors import LogForked, ViewAbsent, ViewStale
from storage.base.ids import ObjectId, PackId, Seq, SliceId, new_ulid
from storage.base.settings import Settings
from storage.git.packs import Location, PackRange
from storage.log.entry import NO_HASH, Commits, Definition, Genesis, Slices, decode, digest
from storage.log.records import Decided
from storage.operations.slices import define
from storage.repository import Repository
from storage.view.load import _BATCH, catch_up, entry_indexes, load, locations
from storage.view.rows import effects
from storage.view.view import View, commands, decode_location, encode_location
from tasks.upkeep import run as run_upkeep
from tests.support.redis_rows import values
from tests.support.world import World, item

GENESIS = Genesis(seq=Seq(1), previous=NO_HASH, packs=(), commit="c" * 40, tree="e" * 40, time=1)


def slices(seq: int, previous: str, *names: str) -> Slices:
    define = [Definition(id=SliceId(new_ulid()), name=name, paths=("/",), version=1) for name in names]
    return Slices(seq=Seq(seq), previous=previous, define=tuple(define))


@pytest.fixture
def view(redis_settings: Settings) -> View:
    made = View(redis_settings, connect(redis_settings))
    made.apply("E", GENESIS, "h1", published=False)
    assert made.publish(None, "E")
    return made


def contents(view: View, epoch: str | None = None) -> dict[str, object]:
    """Everything in an epoch, by key."""
    found = {
        name.decode(): value for name, value in values(view.redis, f"{view.prefix}v:{epoch or view.epoch()}:").items()
    }
    return {name: value for name, value in found.items() if not name.startswith(("inbox:", "gc:", "checkpointed"))}


def test_without_a_view_every_question_says_so(redis_settings: Settings) -> None:
    empty = View(redis_settings, connect(redis_settings))
    unknown = ObjectId(b"x" * 20)
    for ask in (empty.head, lambda: empty.locate([unknown]), lambda: empty.key("x"), lambda: empty.slice_at("x")):
        with pytest.raises(ViewAbsent):
            ask()


def test_an_entry_is_applied_once_and_only_in_its_turn(view: View) -> None:
    second = slices(2, "h1", "a")
    view.apply("E", second, "h2")
    before = contents(view)
    view.apply("E", second, "h2")
    assert contents(view) == before
    with pytest.raises(ViewStale):
        view.apply("E", slices(4, "h3", "b"), "h4")
    with pytest.raises(LogForked):
        view.apply("E", slices(3, "another", "b"), "h3")
    with pytest.raises(ViewStale):
        view.apply("other epoch", slices(3, "h2", "b"), "h3")
    assert contents(view) == before


def test_half_an_apply_repeated_converges(view: View) -> None:
    entry = slices(2, "h1", "a", "b", "c")
    rows = list(commands(effects(entry, "h2")))
    for count in range(len(rows)):
        for name, key, *arguments in rows[:count]:  # the process dies here
            view.redis.execute_command(name, f"{view.prefix}v:E:{key}", *arguments)
    view.apply("E", entry, "h2")
    whole = contents(view)
    fresh = View(Settings(repository=view.prefix + "fresh", redis_url="unused"), view.redis)
    fresh.apply("E", GENESIS, "h1", published=False)
    fresh.publish(None, "E")
    fresh.apply("E", entry, "h2")
    assert contents(fresh) == whole


def decided(seq: int, previous: str, **by_id: dict) -> Commits:
    records = [Decided(id=i, slice="S", pack="p", **about) for i, about in by_id.items()]
    head = {"tip": "c" * 40, "root": "e" * 40, "time": 1, "committed": 0}
    return Commits(seq=Seq(seq), previous=previous, packs=(), decided=tuple(records), **head)


def test_an_idempotency_key_belongs_to_the_first_that_was_decided_with_it(view: View) -> None:
    outside = {"status": "rejected", "reason": "outside-slice", "key": "k", "fingerprint": "f"}
    abandoned = {"status": "abandoned", "key": "k", "fingerprint": "f"}
    other = {"status": "rejected", "reason": "duplicate", "key": "l", "fingerprint": "f"}
    view.apply("E", decided(2, "h1", one=abandoned, two=outside, three=other), "h2")
    assert view.snapshot(keys=["k", "l"]).keys == {"k": "one"}
    view.apply("E", decided(3, "h2", four=outside, five=abandoned, six=abandoned | {"key": "l"}), "h3")
    assert view.snapshot(keys=["k", "l"]).keys == {"k": "one", "l": "six"}


def test_a_snapshot_tells_of_more_changesets_than_one_command_takes(view: View) -> None:
    ids = [f"changeset{i}" for i in range(1203)]
    known = ids[3::7]
    view.apply("E", decided(2, "h1", **{each: {"status": "rejected", "reason": "r"} for each in known}), "h2")
    view.redis.hset(view.key("closed"), ids[500], ids[501])
    view.redis.hset(view.key("undecided"), ids[-1], "inbox/P-1")
    snapshot = view.snapshot(ids)
    assert [each for each in ids if each in snapshot.outcomes] == known
    assert [snapshot.outcomes[each].index for each in known] == list(range(len(known)))
    assert snapshot.closed == {ids[500]: ids[501]} and snapshot.undecided == {ids[-1]}


def test_an_epoch_is_published_only_over_the_one_that_was_seen(view: View) -> None:
    assert not view.publish("E", "F"), "it holds nothing"
    view.apply("F", GENESIS, "h1", published=False)
    assert not view.publish("not E", "F")
    assert view.publish("E", "F") and view.epoch() == "F"


def test_locations_are_remembered_for_every_object(view: View) -> None:
    packs = [PackId(f"packs/{new_ulid()}"), PackId(f"inbox/{new_ulid()}-77")]
    places = {ObjectId(b"%020d" % i): Location(packs[i % 2], PackRange(i * 1000, i + 1, i)) for i in range(3000)}
    view.apply("E", slices(2, "h1", "a"), "h2", places)
    assert view.locate(list(places)) == list(places.values())
    assert view.locate([ObjectId(b"y" * 20)]) == [None]
    for location in places.values():
        assert decode_location(encode_location(location)) == location


@pytest.mark.parametrize("counts", [[1], [100], [101], [1, 100, 1], [201, 1], [0, 0, 3]])
def test_rows_of_one_hash_that_follow_one_another_are_all_set(view: View, counts: list[int]) -> None:
    pack = PackId(f"packs/{new_ulid()}")
    ids = [bytes([hash_]) * 2 + b"%018d" % i for hash_, count in enumerate(counts) for i in range(count)]
    places = {ObjectId(oid): Location(pack, PackRange(i, 1, 0)) for i, oid in enumerate(ids)}
    view.apply("E", slices(2, "h1", "a"), "h2", places)
    assert view.locate(list(places)) == list(places.values())


def age(view: View, epoch: str, seconds: float) -> None:
    """Make the last word of an epoch's loader so much older."""
    view.redis.zincrby(view.prefix + "epochs", -seconds * 1000, epoch)


def test_an_epoch_that_is_being_dropped_is_neither_written_nor_published(
    view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    view.begin_loading("F", view.epoch())
    view.apply("F", GENESIS, "h1", published=False)
    monkeypatch.setattr(view.redis, "unlink", Mock(side_effect=ConnectionError))
    with pytest.raises(ConnectionError):
        view.drop("F")
    monkeypatch.undo()
    assert contents(view, "F").keys() == {"head", "merges", "merge_seqs"}
    assert not view.publish("E", "F")
    with pytest.raises(ViewStale):
        view.loading("F")
    assert view.forgotten(3600) == "F", "so somebody will go on"


def test_the_published_epoch_is_never_dropped(view: View) -> None:
    before = contents(view)
    view.begin_loading("E", view.epoch())
    age(view, "E", 4000)
    view.drop("E")
    assert contents(view) == before and view.forgotten(3600) is None


def test_an_epoch_is_forgotten_once_its_loader_says_nothing_for_long(view: View) -> None:
    view.begin_loading("F", view.epoch())
    age(view, "F", 4000)
    view.loading("F")
    assert view.forgotten(3600) is None
    age(view, "F", 4000)
    assert view.forgotten(3600) == "F"


def test_a_process_that_dies_while_it_loads_leaves_nothing_for_ever(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(Repository(settings))
    world.put({"f": b"x"})
    world.work()
    view = world.repo.view
    with monkeypatch.context() as dying:
        dying.setattr(View, "publish", Mock(side_effect=KeyboardInterrupt))
        dying.setattr(View, "drop", Mock())
        with pytest.raises(KeyboardInterrupt):
            load(view, world.repo.log, world.repo.bucket, view.epoch())
    published, before = view.epoch(), contents(view)
    [left] = {each.decode() for each in view.redis.zrange(view.prefix + "epochs", 0, -1)} - {published}
    assert len(contents(view, left)) > 5
    run_upkeep(world.repo)
    assert len(contents(view, left)) > 5, "its loader may be alive"
    for epoch in (published, left):
        assert epoch
        age(view, epoch, 4000)
    run_upkeep(world.repo)
    assert contents(view, left) == {}
    assert view.epoch() == published and contents(view) == before


def test_loading_that_fails_leaves_nothing(settings: Settings) -> None:
    world = World(Repository(settings))

    def stop(seq: int) -> None:
        raise InterruptedError

    for i in range(_BATCH):
        define(world.repo, f"s{i}", ["/"])
    with pytest.raises(InterruptedError):
        load(world.repo.view, world.repo.log, world.repo.bucket, world.repo.view.epoch(), stop)
    assert world.repo.redis.zrange(world.repo.view.prefix + "epochs", 0, -1) == [world.repo.view.epoch().encode()]


def test_names_of_slices_collide_as_refs_do(view: View) -> None:
    view.apply("E", slices(2, "h1", "team/web", "x"), "h2")
    names = ["team/web", "team", "team/web/js", "team/we", "team0"]
    assert view.colliding_slices(names) == dict.fromkeys(names[:3], "team/web")
    assert [slice_.name for slice_ in view.slices_named(["team", "team/web"])] == ["team/web"]


def test_a_slice_is_found_by_its_id_and_its_name_at_one_instant(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    view.apply("E", slices(2, "h1", "team/web"), "h2")
    found, applied = view.slice_at("team/web")
    assert found and found.name == "team/web" and applied == 2
    assert view.slice_at(found.id) == (found, 2) and view.slice(found.id) == found
    assert view.slice_at("team") == (None, 2) and view.slice("team") is None
    calls: list[object] = []
    send = view.redis.execute_command
    monkeypatch.setattr(view.redis, "execute_command", lambda *sent, **how: calls.append(sent) or send(*sent, **how))
    view.slice_at("team/web")
    assert len(calls) == 1, "whether it is a name or an id"


def test_applying_step_by_step_catching_up_and_loading_anew_give_one_view(settings: Settings) -> None:
    world = World(Repository(settings))
    for i in range(3):
        world.submit(item(world.all, {f"d/{i}": b"1", "f": b"%d" % i}, world.tip), item(world.all, {"g": b"x"}, 0))
        world.put({"f": b"conflict"}, world.put({"zz": b"%d" % i}))
        world.work()
    repo = world.repo
    stepwise = contents(repo.view)
    assert load(repo.view, repo.log, repo.bucket, repo.view.epoch())
    assert contents(repo.view) == stepwise
    old = repo.view.epoch()
    behind = new_ulid()
    first = repo.log.read(1)
    assert first and old
    genesis = decode(first)
    repo.view.begin_loading(behind, repo.view.epoch())
    places = locations(genesis, entry_indexes(Bucket(settings), [genesis])[0])
    repo.view.apply(behind, genesis, digest(first), places, published=False)
    assert repo.view.publish(old, behind)
    assert catch_up(repo.view, repo.log, repo.bucket) == len(list(repo.log.read_from(2)))
    assert contents(repo.view) == stepwise


def test_there_may_be_more_tables_than_the_stack_of_lua_holds(view: View) -> None:
    names = {f"packs/{new_ulid()}": f"{i % 7} 14 {i}" for i in range(10_000)}
    for start in range(0, len(names), 1000):
        view.redis.hset(view.key("tables"), mapping=dict(list(names.items())[start : start + 1000]))
    compacted, tables = view.tables()
    assert compacted == 0 and tables is not None
    assert {table.name: f"{table.level} {table.bits} {table.prefix}" for table in tables} == names
    assert view.tables(0) == (0, None), "who knows them is not told again"


def test_a_global_commit_that_is_archived_meanwhile_is_not_in_the_view(view: View) -> None:
    assert view.merge("c" * 40) is not None
    view.redis.delete(view.key("merges"))
    assert view.merge("c" * 40) is None
