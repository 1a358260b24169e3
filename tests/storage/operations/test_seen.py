"""What a writer saw, on real servers: the same whatever became of the changeset and of those below it."""

from __future__ import annotations

import random

import pytest
from msgspec import structs

from app.intake.packing import Item
from app.protocol.changesets.submissions import Change
from storage.base.errors import Recovering
from storage.base.ids import ChangesetId
from storage.base.settings import Settings
from storage.commit.batch import commit_batch
from storage.commit.link import Linker
from storage.commit.prefetch import snapshot_for, sources
from storage.git.objects import EXECUTABLE_MODE, FILE_MODE, SYMLINK_MODE, Kind, Version, object_id
from storage.log.manifest import Changeset
from storage.operations import seen
from storage.operations.seen import StackTooDeep, UnknownBase
from storage.operations.seen import seen_by_writer as look_up
from storage.queue.submission_packs import read_changesets
from storage.repository import Repository
from tests.support.world import World, item

Model = dict[bytes, Version | None]


@pytest.fixture
def world(settings: Settings) -> World:
    return World(Repository(settings))


def read(world: World, changeset: str) -> Changeset:
    [state] = world.repo.queue.states([changeset])[1]
    pack = state.outcome.pack if state.outcome else state.pack
    assert pack
    return read_changesets(world.repo.archive, world.repo.queue, [(ChangesetId(changeset), pack)])[0]


def look(world: World, changeset: str, *paths: str) -> list[Version | None]:
    found = look_up(world.repo, read(world, changeset), [path.encode() for path in paths]).versions
    assert list(found.keys() ^ {path.encode() for path in paths}) == []
    return [found[path.encode()] for path in paths]


def file(content: bytes, mode: int = FILE_MODE) -> Version:
    return Version(mode, object_id(Kind.BLOB, content))


def with_modes(made: Item, modes: dict[str, int], bases: dict[str, bytes] | None = None) -> Item:
    """Add changes of mode to a submission."""
    more = tuple(Change("mode", p.encode(), mode, base=(bases or {}).get(p)) for p, mode in modes.items())
    submission = structs.replace(made.submission, changes=made.submission.changes + more)
    return structs.replace(made, submission=submission, oids=made.oids + (None,) * len(more))


def test_on_a_commit_its_tree_was_seen(world: World) -> None:
    world.put({"a/f": b"1", "run": "exec:x", "to": "link:a/f"})
    world.work()
    base = world.tip
    late = world.put({"a/f": b"2"}, base)
    world.put({"a/f": b"between", "new": b"x"}, base)
    expected = [file(b"1"), file(b"x", EXECUTABLE_MODE), file(b"a/f", SYMLINK_MODE), None, None, None]
    assert look(world, late, "a/f", "run", "to", "a", "new", "a/f/below") == expected
    world.work()
    assert look(world, late, "a/f", "run", "to", "a", "new", "a/f/below") == expected, "committed or not"


def test_in_a_stack_the_nearest_ancestor_that_changes_a_path_wins(world: World) -> None:
    world.put({"base": b"0", "gone": b"0", "tool": b"#!"})
    world.work()
    _, _, third, fourth = world.submit(
        with_modes(item(world.all, {"f": b"1", "gone": None}, world.tip), {"tool": EXECUTABLE_MODE}),
        with_modes(item(world.all, {"g": b"2"}, 0), {"f": EXECUTABLE_MODE}),
        with_modes(item(world.all, {"gone": b"back"}, 1), {"f": FILE_MODE, "tool": FILE_MODE, "g": EXECUTABLE_MODE}),
        item(world.all, {"f": None}, 2),
    )
    paths = ("base", "f", "g", "gone", "tool")
    of_third = [file(b"0"), file(b"1", EXECUTABLE_MODE), file(b"2"), None, file(b"#!", EXECUTABLE_MODE)]
    of_fourth = [file(b"0"), file(b"1"), file(b"2", EXECUTABLE_MODE), file(b"back"), file(b"#!")]
    for _ in ("queued", "committed"):
        assert look(world, third, *paths) == of_third
        assert look(world, fourth, *paths) == of_fourth
        world.work()
    assert world.status(fourth) == "committed"


def test_what_others_landed_meanwhile_was_not_seen(world: World) -> None:
    start = world.tip
    mine = world.put({"mine": b"1"}, start)
    world.put({"other": b"theirs"}, start)
    world.work()
    late = world.put({"other": b"overwritten"}, mine)
    world.work()
    later = world.put({"x": b"1"}, late)
    world.work()
    assert (world.status(late), world.status(later)) == ("conflicted", "rejected")
    assert look(world, late, "mine", "other") == [file(b"1"), None]
    assert look(world, later, "mine", "other") == [file(b"1"), file(b"overwritten")], "what its base submitted"


def test_a_repeat_stands_for_the_first_of_its_key(world: World) -> None:
    start = world.tip
    one = item(world.all, {"f": b"1"}, start, key="k")
    [first], [repeat] = world.submit(one), world.submit(one)
    other = world.submit(structs.replace(item(world.all, {"f": b"2"}, start, key="k"), fingerprint="another request"))[
        0
    ]
    world.work()
    assert [world.status(each) for each in (first, repeat, other)] == ["committed", "rejected", "rejected"]
    calls: list[str] = []
    read_one = seen._Ancestors.read
    on_repeat, on_other = world.put({"f": b"3"}, repeat), world.put({"f": b"3"}, other)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seen._Ancestors, "read", lambda self, each: calls.append(each) or read_one(self, each))
        assert look(world, on_repeat, "f") == [file(b"1")]
        assert calls == [], "the first one's tree is known"
        assert look(world, on_other, "f") == [file(b"2")]
        assert calls == [other], "another request is itself"


def test_by_versions_each_change_says_what_was_seen(world: World) -> None:
    world.put({"f": "exec:1", "g": b"1", "h": b"1"})
    world.work()
    saw = {path: object_id(Kind.BLOB, b"1") for path in ("f", "g")}
    [changeset] = world.submit(item(world.all, {"f": b"2", "g": b"2", "new": b"2"}, bases=saw))
    expected = [file(b"1", EXECUTABLE_MODE), file(b"1"), None, None]
    assert look(world, changeset, "f", "g", "h", "new") == expected
    world.work()
    assert world.status(changeset) == "committed"
    assert look(world, changeset, "f", "g", "h", "new") == expected, "the head it met has the mode"
    above = world.submit(
        with_modes(item(world.all, {}, bases={}), {"f": EXECUTABLE_MODE}, {"f": object_id(Kind.BLOB, b"2")}),
        item(world.all, {"f": b"3"}, 0),
    )[1]
    for _ in ("queued", "committed"):
        assert look(world, above, "f", "g") == [file(b"2", EXECUTABLE_MODE), None], "what it did not change is absent"
        world.work()
    assert world.status(above) == "committed"


def test_what_is_not_known_is_said(world: World) -> None:
    astray = world.put({"f": b"1"}, b"\1" * 20)
    with pytest.raises(UnknownBase):
        look(world, astray, "f")
    world.work()
    above = world.put({"g": b"1"}, astray)
    with pytest.raises(UnknownBase):
        look(world, above, "g")
    assert look(world, above, "f") == [file(b"1")], "found before the base is asked for"
    nowhere = world.put({"f": b"1"}, "0" * 26)
    with pytest.raises(UnknownBase):
        look(world, nowhere, "f")
    below, top = world.submit(item(world.all, {"f": b"1"}, world.tip), item(world.all, {"f": b"2"}, 0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seen, "MAX_ANCESTORS", 0)
        assert look(world, below, "f") == [None]
        with pytest.raises(StackTooDeep):
            look(world, top, "f")
    chosen = read(world, nowhere)
    world.repo.redis.delete(world.repo.view.prefix + "recovered")
    with pytest.raises(Recovering):
        look_up(world.repo, chosen, [b"f"])


def test_a_deep_stack_is_read_in_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    depth = 300
    ids = world.submit(
        item(world.all, {"bottom": b"1"}, world.tip), *(item(world.all, {"f": b"%d" % i}, i) for i in range(depth))
    )
    top = read(world, ids[-1])
    calls: list[int] = []
    manifests = world.repo.queue.manifests
    monkeypatch.setattr(world.repo.queue, "manifests", lambda page: calls.append(len(page)) or manifests(page))
    assert look_up(world.repo, top, [b"bottom"]).versions == {b"bottom": file(b"1")}
    assert len(calls) <= 11 and max(calls) == 64
    calls.clear()
    assert look_up(world.repo, top, [b"f"]).versions == {b"f": file(b"298")}
    assert calls == [1], "no further than the answer"
    [(oid, location)] = seen.seen_by_writer(world.repo, top, [b"f"]).locations.items()
    assert world.repo.objects.blob(oid, location) == b"298", "though no entry says where it stands"
    world.repo.redis.delete(*(f"{world.repo.view.prefix}manifest:{each}" for each in ids))
    calls.clear()
    assert look_up(world.repo, top, [b"bottom"]).versions == {b"bottom": file(b"1")}
    assert calls == [1], "without copies the pack has them all"


@pytest.mark.parametrize("seed", range(3))
def test_random_stacks_are_seen_alike_before_and_after_they_are_decided(world: World, seed: int) -> None:
    chance = random.Random(seed)
    paths = ["a", "b", "d/c", "d/e/f"]
    models: dict[str, Model] = {}  # what was seen, with what was submitted
    saw: dict[str, Model] = {}
    world.put(dict.fromkeys(paths[1:], b"start"))
    world.work()
    start: Model = {path.encode(): file(b"start") for path in paths[1:]}
    commit = world.tip

    def check() -> None:
        for changeset, model in saw.items():
            found = look_up(world.repo, read(world, changeset), [path.encode() for path in paths]).versions
            assert found == {path.encode(): model.get(path.encode()) for path in paths}, (seed, changeset)

    for step in range(24):
        base = chance.choice([*models, None, *list(models)[-3:]])
        before = dict(models[base]) if base else dict(start)
        after = dict(before)
        files: dict[str, bytes | None] = {}
        modes: dict[str, int] = {}
        for path in chance.sample(paths, 2):
            there = after.get(path.encode())
            kind = chance.choice(["put", "put", "delete", "mode"])
            if kind == "mode" and there:
                modes[path] = chance.choice([FILE_MODE, EXECUTABLE_MODE])
                after[path.encode()] = Version(modes[path], there.oid)
            elif kind == "delete":
                files[path], after[path.encode()] = None, None
            else:
                files[path] = b"%d" % step
                after[path.encode()] = file(files[path] or b"")
        [made] = world.submit(with_modes(item(world.all, files, base or commit), modes))
        models[made], saw[made] = after, before
        if chance.random() < 0.2:
            check()
            commit_batch(world.repo)
    check()
    world.work()
    check()


def test_linking_and_asking_agree(world: World) -> None:
    """The other code that knows what a writer saw is the linker's."""
    start = world.tip
    second = world.submit(item(world.all, {"f": b"1"}, start), item(world.all, {"g": b"2"}, 0))[1]
    world.work()
    third = world.put({"f": None}, second)
    changeset = read(world, third)
    snapshot = snapshot_for(world.repo, [changeset])
    linker = Linker(snapshot, sources(world.repo), committer=world.repo.committer())
    found = linker._base(changeset)
    assert isinstance(found, tuple)
    assert [found[0].get(path) for path in (b"f", b"g", b"h")] == look(world, third, "f", "g", "h")
