"""Checkpoints: a view loaded from segments is the view that the entries make, and damage costs time only."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import pytest

from app.admin.verify import verify
from storage.base.settings import Settings
from storage.log import entry_bundles
from storage.log.entry import CorruptEntry
from storage.log.entry_bundles import CorruptRoll
from storage.log.log import follow
from storage.maintenance.checkpoints import checkpoint, newest, roll_up
from storage.operations import history
from storage.operations.slices import change_paths, define
from storage.repository import Repository
from storage.view.load import load
from storage.view.segments import FOLDER, CorruptSegment, Segment, decode, encode, ends_of
from tasks.upkeep import run as run_upkeep
from tests.support.redis_rows import flush, rows
from tests.support.world import World


@pytest.fixture
def world(settings: Settings) -> World:
    made = World(Repository(replace(settings, checkpoint_entries=4)))
    for i in range(6):
        other = define(made.repo, f"other{i}", ["x/", "y/"])
        change_paths(made.repo, other.id, ["x/"])
        base = made.tip
        made.put({f"f{i}": b"1", "dir/g": b"%d" % i}, base, key=f"k{i}")
        made.put({f"f{i}": b"2"}, base)
        made.work()
    return made


def test_a_view_from_segments_is_the_view_of_the_entries(world: World) -> None:
    repo = world.repo
    before = rows(repo)
    assert load(repo.view, repo.log, repo.bucket, repo.view.epoch()) and rows(repo) == before, "from entries alone"
    head = repo.view.head()
    made = checkpoint(repo, 100)
    assert made == head.applied // 4 and newest(repo) == made * 4
    assert [ends_of(name) for name in repo.bucket.list_keys(FOLDER)] == [(i * 4 + 1, i * 4 + 4) for i in range(made)]
    assert load(repo.view, repo.log, repo.bucket, repo.view.epoch()) and rows(repo) == before
    flush(world)
    run_upkeep(repo)
    assert rows(repo) == before and not verify(repo).differences
    world.put({"more": b"1"})
    world.work()
    assert world.files()["more"] == b"1" and not verify(repo).differences


def test_segments_are_read_instead_of_entries(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = world.repo
    made = checkpoint(repo, 100)
    read: list[str] = []
    get = repo.bucket.get
    monkeypatch.setattr(repo.bucket, "get", lambda name: read.append(name) or get(name))
    load(repo.view, repo.log, repo.bucket, repo.view.epoch())
    assert len([name for name in read if name.startswith("log/")]) <= made, "one look for each segment"
    assert not [name for name in read if name.endswith(".idx")] or repo.view.head().applied % 4


def test_a_run_makes_so_many_and_the_next_goes_on(world: World) -> None:
    repo = world.repo
    counts = []
    while made := checkpoint(repo, 2):
        counts.append(made)
        repo.redis.delete(repo.view.key("checkpointed"))
    assert sum(counts) == repo.view.head().applied // 4 and max(counts) == 2
    assert checkpoint(repo, 2) == 0


@pytest.mark.parametrize("damage", ["cut", "other", "gone", "elsewhere", "empty"])
def test_a_segment_that_is_wrong_costs_time_only(world: World, damage: str) -> None:
    repo = world.repo
    before = rows(repo)
    checkpoint(repo, 100)
    name = list(repo.bucket.list_keys(FOLDER))[2]
    whole = f"{repo.settings.repository}/{name}"
    data = repo.bucket.get(name)
    repo.bucket.s3.minio.remove_object(repo.settings.s3_bucket, whole)
    segment = decode(data)
    wrong = {
        "cut": data[:-1],
        "other": data[:-1] + bytes([data[-1] ^ 1]),
        "gone": None,
        "empty": b"",
        # Whole in itself, and of another log.
        "elsewhere": encode(Segment(segment.first, segment.last, segment.previous, "0" * 64, segment.parts)),
    }[damage]
    if wrong is not None:
        repo.bucket.s3.minio.put_object(repo.settings.s3_bucket, whole, BytesIO(wrong), len(wrong))
    load(repo.view, repo.log, repo.bucket, repo.view.epoch())
    assert rows(repo) == before
    if damage in {"cut", "other", "empty"}:
        with pytest.raises(CorruptSegment):
            decode(repo.bucket.get(name))


def test_a_flush_in_the_middle_of_loading_leaves_no_half_view(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = world.repo
    before = rows(repo)
    checkpoint(repo, 100)
    scripts, calls = repo.view.scripts, []

    def flushing(name: str, *args: object, **more: object) -> object:
        calls.append(name)
        if name == "segment" and calls.count("segment") == 3:
            flush(world)
        return scripts(name, *args, **more)

    monkeypatch.setattr(repo.view, "scripts", flushing)
    with pytest.raises(Exception, match="is gone"):
        load(repo.view, repo.log, repo.bucket, repo.view.epoch())
    assert repo.view.epoch() is None
    monkeypatch.undo()
    run_upkeep(repo)
    assert rows(repo) == before


@pytest.fixture
def short_rolls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry_bundles, "RUN", 8)
    monkeypatch.setattr(history, "RUN", 8)


def reading(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the names of all that is read whole from now on."""
    read: list[str] = []
    get = repo.bucket._get
    monkeypatch.setattr(repo.bucket, "_get", lambda name, **span: read.append(name) or get(name, **span))
    return read


@pytest.mark.usefixtures("short_rolls")
def test_many_entries_are_read_from_few_rolls(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = world.repo
    entries = list(repo.log.read_from(1))
    count = len(entries) // 8
    assert roll_up(repo, 100) == count >= 3 and roll_up(repo, 100) == 0
    read = reading(repo, monkeypatch)
    assert list(repo.log.read_from(1, width=4)) == entries
    assert len([name for name in read if name.startswith("log/")]) <= 8 + 8 + 4, read
    read.clear()
    assert list(repo.log.read_from(1, width=4, copies=False)) == entries
    assert not [name for name in read if name.startswith("rolls/")]
    data = [each for _, each in entries]
    for first, last in [(1, 24), (3, 20), (2, 3), (1, len(entries)), (20, len(entries) + 2)]:
        read.clear()
        expected = [data[seq - 1] if seq <= len(data) else None for seq in range(first, last + 1)]
        assert repo.log.read_range(first, last) == expected
        if last - first >= 16:
            assert len([name for name in read if name.startswith("log/")]) <= 10, (first, last, read)


@pytest.mark.usefixtures("short_rolls")
def test_rolls_that_are_there_are_not_made_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis was flushed: whoever looks for what has no roll does not read the whole log in one run."""
    repo = world.repo
    count = roll_up(repo, 100)
    repo.redis.delete(repo.view.key("rolled"))
    read = reading(repo, monkeypatch)
    assert count >= 3 and roll_up(repo, 1) == 0
    assert len([name for name in read if name.startswith("log/")]) <= 8, "of the last run alone, which is not whole"
    repo.bucket.delete(entry_bundles.name_of(1))
    repo.redis.delete(repo.view.key("rolled"))
    assert roll_up(repo, 1) == 1 and roll_up(repo, 1) == 0
    assert list(repo.bucket.list_keys(entry_bundles.FOLDER)) == [
        entry_bundles.name_of(number) for number in range(count)
    ]


@pytest.mark.usefixtures("short_rolls")
@pytest.mark.parametrize("damage", ["gone", "cut", "of other entries"])
def test_a_roll_that_is_wrong_costs_time_only(world: World, damage: str) -> None:
    repo = world.repo
    entries = list(repo.log.read_from(1))
    roll_up(repo, 100)
    name = entry_bundles.name_of(1)
    data = repo.bucket.get(name)
    repo.bucket.delete(name)
    if damage == "cut":
        repo.bucket.create(name, data[:-1])
    if damage == "of other entries":
        # Whole in itself: whoever follows the chain of hashes through it finds that out.
        repo.bucket.create(name, entry_bundles.encode([each for _, each in entries[:8]]))
        with pytest.raises(CorruptEntry):
            list(follow(repo.log.read_from(1, width=4)))
    else:
        assert list(repo.log.read_from(1, width=4)) == entries
        assert repo.log.read_range(1, len(entries)) == [each for _, each in entries]
    assert not verify(repo, with_git=False).differences, "which reads the entries themselves"


def test_a_roll_is_what_was_put_in() -> None:
    entries = [b"%d" % i * i for i in range(entry_bundles.RUN)]
    data = entry_bundles.encode(entries)
    assert entry_bundles.decode(data) == entries
    assert [entry_bundles.number_of(seq) for seq in (1, 64, 65)] == [0, 0, 1] and entry_bundles.first_of(1) == 65
    for wrong in (data[:-1], data[1:], b"", entry_bundles.encode(entries[1:])):
        with pytest.raises(CorruptRoll):
            entry_bundles.decode(wrong)
