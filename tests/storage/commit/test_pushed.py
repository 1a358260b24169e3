"""What a changeset keeps of the commit that was pushed: in its entry, and in the archive for good."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from app.admin.verify import verify
from app.intake.packing import Item
from storage.base.ids import Seq
from storage.base.settings import Settings
from storage.coordination.nodes import Node
from storage.log.entry import GIT_FORMAT, Commits, decode
from storage.log.records import Pushed
from storage.lookup.archive import PUSHED, SUFFIX
from storage.lookup.tables import encode, rows_of
from storage.repository import Repository
from tests.support.compaction import aged, compacted
from tests.support.persisted import oid
from tests.support.world import World, item


@pytest.fixture
def world(settings: Settings) -> World:
    return World(Repository(aged(settings)))


def pushed(world: World, files: dict[str, bytes], digit: str, base: bytes | None = None) -> Item:
    """Return the submission of a commit with an id of these digits."""
    record = Pushed.of(oid(digit), b"\xc4 <a@b> 1 +0000", b"C <c@d> 2 +0000", "Grüße\n".encode("latin-1"), b"latin-1")
    made = item(world.all, files, base or world.tip, key=f"\x1fpush/{digit * 40}")
    return replace(made, submission=replace(made.submission, pushed=record))


def last_entry(world: World) -> Commits:
    """Return the last entry that decided something; a global commit may follow it."""
    last = world.repo.view.head().applied
    read = (decode(world.repo.log.read(Seq(seq)) or b"") for seq in range(last, 0, -1))
    return next(entry for entry in read if isinstance(entry, Commits))


def test_committed_and_conflicted_ones_keep_it_in_an_entry_of_format_5(world: World) -> None:
    base = world.tip
    items = [pushed(world, {"a": b"1"}, "1", base), pushed(world, {"a": b"2"}, "2", base), item(world.all, {"b": b"1"})]
    world.submit(*items, pushed(world, {"c": b"1"}, "1", base))
    world.work()
    entry = last_entry(world)
    assert [each.status for each in entry.decided] == ["committed", "conflicted", "committed", "rejected"]
    assert [each.pushed.commit if each.pushed else None for each in entry.decided] == ["1" * 40, "2" * 40, None, None]
    assert entry.format == GIT_FORMAT
    assert entry.decided[0].pushed == items[0].submission.pushed


def test_an_entry_without_any_has_the_format_that_it_had(world: World) -> None:
    world.put({"a": b"1"})
    world.work()
    assert last_entry(world).format < GIT_FORMAT


def test_while_an_older_node_is_at_work_no_entry_has_any(world: World) -> None:
    world.repo.nodes.say(Node("old@host", ("commits",), 1, GIT_FORMAT - 1))
    [changeset] = world.submit(pushed(world, {"a": b"1"}, "1"))
    world.work()
    entry = last_entry(world)
    assert (entry.format < GIT_FORMAT, entry.decided[0].pushed) == (True, None)
    assert world.status(changeset) == "committed"


def test_it_is_found_for_good_by_its_id(world: World) -> None:
    base = world.tip
    ids = world.submit(pushed(world, {"a": b"1"}, "1", base), pushed(world, {"a": b"2"}, "2", base))
    world.work()
    keys = [f"\x1fpush/{digit * 40}" for digit in "12"]
    assert [owner for owner, _ in world.repo.queue.key_owners(keys).values()] == ids
    compacted(world)
    late = world.reopened(key_age=-1000.0)
    compacted(late)
    assert not late.repo.view.snapshot(keys=keys).keys
    assert late.repo.archive.pushed(["1" * 40, "2" * 40, "3" * 40]) == {"1" * 40: ids[0], "2" * 40: ids[1]}
    assert not verify(world.repo).differences


def test_verify_misses_its_row(world: World) -> None:
    world.submit(pushed(world, {"a": b"1"}, "1"))
    world.work()
    compacted(world)
    for table in world.repo.view.tables()[1] or ():
        name = table.name + SUFFIX
        rows = dict(rows_of(world.repo.bucket.get(name)))
        if rows.pop(PUSHED.key("1" * 40), None):
            world.repo.bucket.delete(name)
            world.repo.bucket.put_verified(name, encode(rows))
    [difference] = verify(world.repo, with_git=False).differences
    assert difference == f"archive: pushed commit {'1' * 40} is listed as None"
