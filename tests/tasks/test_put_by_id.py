"""A content that is put by its id stays, whatever happens between the 202 and the outcome."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from app.admin.backup import backup
from app.admin.deep.verification import deep
from app.admin.restore import restore
from app.admin.verify import verify
from app.intake.admission import admit
from app.intake.packing import Item
from app.intake.refusals import FieldRefused
from app.protocol.changesets.submissions import Change, CommitBase, Submission
from storage.base.ids import ObjectId, inbox_pack
from storage.base.settings import Settings
from storage.git.objects import FILE_MODE, Kind, object_id
from storage.git.packs import Location
from storage.maintenance.garbage import collect
from storage.operations.lifecycle import release
from storage.queue.submission_packs import read_pack
from storage.repository import Repository
from tests.support.compaction import aged, compacted, emptied
from tests.support.world import World, item

CONTENT = b"once\n"
OID = object_id(Kind.BLOB, CONTENT)


@pytest.fixture
def world(settings: Settings) -> World:
    """A repository whose history is old at once."""
    made = World(Repository(aged(settings)))
    made.put({"first": CONTENT})
    made.work()
    return made


def by_id(world: World, path: str, oid: ObjectId = OID, base: bytes = b"", hold: bool = False) -> Item:
    """Return a submission that puts a content by its id, as the API admits it."""
    put = Change("put", path.encode(), FILE_MODE, oid=oid)
    submission = Submission(slice="all", base=CommitBase(base or world.tip), message="m", changes=(put,), hold=hold)
    [admitted] = admit(world.repo, [submission])
    assert isinstance(admitted, Item) and not admitted.blobs
    return admitted


def test_it_is_there_though_its_pack_was_compacted_and_redis_was_lost(world: World) -> None:
    packs = set(world.repo.bucket.list_keys("inbox/"))
    [made] = world.submit(by_id(world, "second", hold=True))
    for i in range(3):
        world.put({"third": b"%d" % i})
        world.work()
    world = world.reopened(gc_grace=-1000.0, compact_changesets=1)
    compacted(world)
    assert packs.isdisjoint(world.repo.bucket.list_keys("inbox/")), "a copy of it is left alone"
    fresh = emptied(world)
    collect(fresh.repo)
    release(fresh.repo, made)
    fresh.work()
    assert fresh.status(made) == "committed" and fresh.files()["second"] == CONTENT
    assert not verify(fresh.repo).differences
    assert deep(fresh.repo.settings).difference == ""


def test_it_is_there_in_a_backup_that_was_made_before_the_outcome(settings: Settings, tmp_path: Path) -> None:
    world = World(Repository(settings))
    world.put({"first": CONTENT})
    world.work()
    [made] = world.submit(by_id(world, "second"))
    backup(settings, tmp_path)
    restored = world.reopened(repository=f"r{uuid.uuid4().hex}")
    restore(restored.repo, tmp_path)
    restored.work()
    assert restored.status(made) == "committed" and restored.files()["second"] == CONTENT


def test_it_is_merged_as_any_other(world: World) -> None:
    text = "".join(f"line {i}\n" for i in range(9)).encode()
    world.put({"old": text, "f": text.replace(b"line 0", b"first")})
    world.work()
    base = world.tip
    world.put({"f": text.replace(b"line 0", b"first").replace(b"line 8", b"last")})
    world.work()
    [made] = world.submit(by_id(world, "f", object_id(Kind.BLOB, text), base=base))
    world.work()
    assert world.status(made) == "committed"
    assert world.files()["f"] == text.replace(b"line 8", b"last")


def test_what_only_an_undecided_changeset_has_cannot_be_put_by_id(world: World) -> None:
    """It may yet be abandoned, though a process that has shown it has a copy in its memory."""
    [waiting] = world.submit(item(world.all, {"third": b"3"}, world.tip))
    [changeset] = read_pack(world.repo.archive, inbox_pack(waiting, 1))
    oid = changeset.changes[0].oid
    assert oid and changeset.changes[0].range
    world.repo.objects.blob(oid, Location(changeset.pack, changeset.changes[0].range))
    put = Change("put", b"fourth", FILE_MODE, oid=oid)
    submission = Submission(slice="all", base=CommitBase(world.tip), message="m", changes=(put,))
    [refused] = admit(world.repo, [submission])
    assert isinstance(refused, FieldRefused) and refused.field == "changes[0].id"
