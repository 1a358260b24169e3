"""A Git history with its ids in an empty repository, and everything that works on it then."""

from __future__ import annotations

import dataclasses
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from app.admin.backup import backup
from app.admin.deep import deep
from app.admin.export import export
from app.admin.restore import restore
from app.admin.verify import verify
from storage.base.errors import ViewStale
from storage.base.ids import ObjectId, oid_of
from storage.base.settings import Settings
from storage.git.imported.deltas import is_delta
from storage.git.objects import Commit, Kind, object_id
from storage.git.packs import Location
from storage.importing import import_history, packing, tables
from storage.importing.importing import Imported
from storage.lookup.imported import imported_commits_of
from storage.maintenance import checkpoint
from storage.maintenance.rebuild import rebuild
from storage.operations.slices import define
from storage.repository import Repository
from storage.view.tags import next_tags
from tasks.upkeep import run as run_upkeep
from tests.support.compaction import aged_world, compacted
from tests.support.git_repository import GitRepository
from tests.support.histories import LATIN, large, odd
from tests.support.world import World

COMMITS = 120


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> GitRepository:
    """A history that many tests read."""
    return large(tmp_path_factory.mktemp("source") / "repo", COMMITS)


def imported(settings: Settings, repo: GitRepository, **more: Any) -> tuple[World, Imported]:
    """Import a history; return the repository, in which somebody may write, and what was imported."""
    made = Repository(settings)
    done = import_history(made, repo.path, **more)
    run_upkeep(made)
    return World(made, define(made, "all", ["/"])), done


def tags_of(folder: Path) -> dict[str, str]:
    listed = subprocess.run(
        ["git", "-C", folder, "for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", "refs/tags"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return dict(line.split(" ") for line in listed.stdout.splitlines())


def all_objects(repo: GitRepository) -> dict[ObjectId, tuple[str, int]]:
    """Return kinds and sizes of everything in a history."""
    listed = repo.git("cat-file", "--batch-all-objects", "--batch-check")
    rows = (line.split() for line in listed.splitlines())
    return {oid_of(oid): (kind, int(size)) for oid, kind, size in rows}


def test_ids_tags_and_objects_are_the_source_s(settings: Settings, source: GitRepository, tmp_path: Path) -> None:
    world, done = imported(settings, source)
    tip, head = source.git("rev-parse", "HEAD"), world.repo.view.head()
    assert (done.commit, done.commits) == (tip, int(source.git("rev-list", "--count", "HEAD")))
    assert (head.tip, head.main, head.root) == (tip, tip, source.git("rev-parse", "HEAD^{tree}"))
    tags = tags_of(source.path)
    assert {name: oid.hex() for name, oid in next_tags(world.repo.view, "", 1000)} == tags and len(tags) == 10
    for oid, (kind, size) in all_objects(source).items():
        read, data = world.repo.objects.read(oid)
        assert (read.name.lower(), len(data), object_id(read, data)) == (kind, size, oid)
    described = World(Repository(settings), world.all).repo.kinds.of(all_objects(source))
    assert {oid: (each.kind.name.lower(), each.size) for oid, each in described.items()} == all_objects(source)
    out = tmp_path / "out.git"
    export(settings, out)
    assert tags_of(out) == tags
    exported = subprocess.run(
        ["git", "-C", out, "rev-parse", "main", "next"], check=True, capture_output=True, text=True
    )
    assert exported.stdout.split() == [tip, tip]
    fsck = subprocess.run(["git", "-C", out, "fsck", "--strict"], check=True, capture_output=True, text=True)
    assert not fsck.stdout.strip(), fsck.stdout


def test_the_chain_goes_on_from_it_and_everything_is_verified(
    settings: Settings, source: GitRepository, tmp_path: Path
) -> None:
    world, done = imported(settings, source)
    old = source.git("rev-parse", "HEAD~40")
    aside = source.git("rev-list", "--no-merges", "--grep=^side$", "--max-count=1", "HEAD~20")
    on_tip = world.put({"new/file": b"1\n"})
    on_old = world.put(
        {"dir0/sub/file0.txt": b"first\n" + _blob(source, f"{old}:dir0/sub/file0.txt")}, bytes.fromhex(old)
    )
    on_side = world.put({"other/file": b"2\n"}, bytes.fromhex(aside))
    stale = world.put(
        {"link": b"no link any more\n"}, bytes.fromhex(source.git("rev-list", "--max-parents=0", "HEAD").split()[-1])
    )
    world.work()
    assert [world.status(each) for each in (on_tip, on_old, on_side, stale)] == ["committed"] * 3 + ["conflicted"]
    files = world.files()
    assert files["new/file"] == b"1\n" and files["other/file"] == b"2\n"
    assert files["dir0/sub/file0.txt"] == b"first\n" + _blob(source, "HEAD:dir0/sub/file0.txt")
    assert verify(world.repo).differences == []
    looked = deep(settings)
    assert (looked.difference, looked.committed, looked.conflicted, looked.merged) == ("", 3, 1, 3)
    export(settings, tmp_path / "out.git")
    GitRepository.git(_at(tmp_path / "out.git"), "merge-base", "--is-ancestor", done.commit, "main")


def _blob(repo: GitRepository, name: str) -> bytes:
    return subprocess.run(["git", "-C", repo.path, "cat-file", "blob", name], check=True, capture_output=True).stdout


def _at(path: Path) -> GitRepository:
    made = GitRepository.__new__(GitRepository)
    made.path = path
    return made


def test_it_survives_a_lost_redis_checkpoints_and_compactions(settings: Settings, source: GitRepository) -> None:
    world, done = imported(settings, source)
    for number in range(12):
        world.put({f"new/{number}": b"%d" % number})
        world.work()
    world = aged_world(world)
    assert checkpoint(world.repo, 10, 4)
    assert compacted(world)
    for number in range(12, 15):
        world.put({f"new/{number}": b"%d" % number})
        world.work()
    before = (world.repo.view.head(), next_tags(world.repo.view, "", 1000), world.files())
    world.repo.view.erase()
    rebuild(world.repo, None, lambda seq: None)
    again = world.reopened()
    assert (again.repo.view.head(), next_tags(again.repo.view, "", 1000), again.files()) == before
    assert again.repo.objects.commit(oid_of(done.commit)).tree.hex() == done.tree
    assert verify(again.repo).differences == [] and deep(settings).difference == ""


def test_a_backup_of_it_is_restored_as_it_was(settings: Settings, source: GitRepository, tmp_path: Path) -> None:
    world, _ = imported(settings, source)
    world.put({"new/file": b"1\n"})
    world.work()
    assert backup(settings, tmp_path / "backup").problems == []
    other = Repository(dataclasses.replace(settings, repository=f"r{uuid.uuid4().hex}"))
    restore(other, tmp_path / "backup")
    assert World(other, world.all).files() == world.files() and verify(other).differences == []
    assert next_tags(other.view, "", 1000) == next_tags(world.repo.view, "", 1000)


def test_what_the_tip_has_is_whole_and_chains_are_short(
    settings: Settings, source: GitRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cost: of the tip an object is one range; of the history at most one for each step of a chain, and one more."""
    world, done = imported(settings, source)
    objects = world.repo.objects
    every = list(all_objects(source))
    located = [(oid, at) for oid, at in zip(every, objects.locate(every), strict=True) if at]
    assert len(located) == len(every)
    stored = objects.stored_many(located)
    tip = {
        oid_of(line.split()[0])
        for line in source.git("rev-list", "--objects", "--no-object-names", "--no-walk", done.commit).splitlines()
    }
    deltas = {oid for oid, data in stored.items() if is_delta(data)}
    assert not deltas & tip and len(deltas) > len(every) // 4
    asked: list[int] = []
    plain = type(objects).stored_many

    def counted(self: object, located: list[tuple[ObjectId, Location]], most: int | None = None) -> Any:
        asked.append(len(located))
        return plain(self, located, most)  # type: ignore[arg-type]

    monkeypatch.setattr(type(objects), "stored_many", counted)
    longest = 0
    for oid in sorted(deltas)[:60]:
        fresh = World(Repository(settings), world.all).repo.objects
        asked.clear()
        fresh._shared.drop()
        kind, data = fresh.read(oid)
        assert object_id(kind, data) == oid and sum(asked) == len(asked)
        longest = max(longest, len(asked))
    assert 2 < longest <= packing.DEPTH + 1


def test_many_packs_and_tables_are_like_few(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = large(tmp_path / "repo", 60, files=20)
    for number in range(5):
        repo.write(f"noise/{number}", b"".join(uuid.uuid4().bytes for _ in range(40_000)))
    repo.git("add", "noise")
    repo.git("commit", "-qm", "noise")
    monkeypatch.setattr("storage.importing.packing.PACK_BYTES", 1 << 20)
    monkeypatch.setattr("storage.importing.importing.PACK_BYTES", 1 << 20)
    monkeypatch.setattr(tables, "_ROWS", 1)
    world, done = imported(settings, repo)
    assert done.packs > 4 and len(list(world.repo.bucket.list_keys("packs/"))) > 2 * done.packs + 256
    for oid, (_, size) in all_objects(repo).items():
        assert len(world.repo.objects.read(oid)[1]) == size
    assert verify(world.repo).differences == []


def test_the_commits_of_a_path_are_those_of_git_log(settings: Settings, source: GitRepository) -> None:
    world, _ = imported(settings, source)
    archive = world.repo.archive
    order = source.git("rev-list", "--date-order", "HEAD").split()
    for path in ("dir0/sub/file0.txt", "dir3/", "dir3/sub/", "link", "side/12.txt", "side/"):
        changed = source.git("log", "--format=%H", "--full-history", "-c", "--no-patch", "--", path).split()
        expected = sorted(changed, key=order.index)
        told = [change.commit.hex() for change in imported_commits_of(archive, path.encode(), None, 1000)]
        assert [commit for commit in told if commit in expected] == told and len(told) > 0
        merges = {
            line.split()[0]
            for line in source.git("rev-list", "--parents", "HEAD").splitlines()
            if len(line.split()) > 2
        }
        assert [commit for commit in expected if commit not in merges] == [each for each in told if each not in merges]
        pages, before = [], None
        while page := imported_commits_of(archive, path.encode(), before, 5):
            pages += [change.commit.hex() for change in page]
            before = page[-1].position
        assert pages == told
    assert imported_commits_of(archive, b"nowhere", None, 10) == []
    now = world.repo.view.head().compacted
    assert imported_commits_of(archive, b"link", None, 10, since=now)
    with pytest.raises(ViewStale):  # a view from before the import would say that nothing ever changed
        imported_commits_of(archive, b"link", None, 10, since=now + 1)
    assert [each.commit.hex() for each in imported_commits_of(archive, b"/", None, 1000)] == order
    [begun] = imported_commits_of(archive, LATIN, None, 10)
    assert begun.commit.hex() == source.git("rev-list", "--reverse", "--date-order", "HEAD").split()[1]


def test_what_is_odd_is_carried_recorded_and_excused(settings: Settings, tmp_path: Path) -> None:
    repo = odd(tmp_path / "repo")
    world, done = imported(settings, repo)
    counts = {each.name: each.count for each in done.odd}
    assert counts == {"badFilemode": 1, "badTimezone": 1, "missingNameBeforeEmail": 1}
    assert sorted(done.left) == ["of-a-blob", "of-nobody"]
    assert sorted(name for name, _ in next_tags(world.repo.view, "", 100)) == ["light", "noted", "of-a-tag"]
    world.put({"sub/new": b"1"})
    world.put({"top": b"1"})
    world.work()
    world.put({"a.txt": b"changed\n"}, bytes.fromhex(done.commit))
    world.work()
    assert verify(world.repo).differences == [] and deep(settings).difference == ""
    subjects = [world.repo.objects.commit(oid_of(commit)).message for commit in repo.git("rev-list", "HEAD").split()]
    assert "latin: é\n" in subjects and "neither: \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}\n" in subjects
    names = {world.repo.objects.commit(oid_of(commit)).author.name for commit in repo.git("rev-list", "HEAD").split()}
    assert names == {"Ada", "Jérôme", ""}
    kind, data = world.repo.objects.read(oid_of(repo.git("rev-parse", "HEAD^{tree}")))
    assert kind == Kind.TREE and b"100664 a.txt\0" in data and LATIN in data


def test_what_is_odd_and_not_recorded_is_found(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.importing.importing.judge", lambda *_: ())
    world, _ = imported(settings, odd(tmp_path / "repo"))
    found = verify(world.repo).differences
    assert [text for text in found if "badTimezone" in text] and [text for text in found if "badFilemode" in text]


def test_another_branch_or_commit_may_be_taken(settings: Settings, source: GitRepository) -> None:
    earlier = source.git("rev-parse", "HEAD~30")
    world, done = imported(settings, source, ref="HEAD~30")
    assert done.commit == earlier and set(done.left) == set(tags_of(source.path)) - {
        name for name, _ in next_tags(world.repo.view, "", 100)
    }
    assert done.left and Commit.parse(world.repo.objects.read(oid_of(earlier))[1]).tree.hex() == done.tree
