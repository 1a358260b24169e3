"""Backups: a consistent prefix beside writers, incremental, gone on with wherever a run died; restored as it was."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from app import cli
from app.admin.backup import BackupError, Folder, backup
from app.admin.export import export
from app.admin.restore import Damaged, NotEmpty, restore
from app.admin.verify import verify
from storage.access.policy import Grant, Identity, Policy, Role
from storage.access.tokens import Token
from storage.backends.bucket import Bucket
from storage.base import settings as settings_module
from storage.base.ids import new_ulid
from storage.base.settings import Settings
from storage.log.log import name_of
from storage.log.records import Actor
from storage.mirrors.records import Mirror
from storage.operations.access import issue, replace_policy
from storage.operations.git import mirrors
from storage.operations.webhooks import create
from storage.repository import Repository
from storage.view.access import read_policy, token_of_hash
from storage.view.mirrors import read_mirrors
from storage.view.webhooks import read_webhooks
from storage.webhooks.records import Webhook
from tests.support.dying import Died, Dying
from tests.support.world import World


@pytest.fixture
def world(settings: Settings) -> World:
    """A repository with all kinds of packs: committed, conflicted, and waiting."""
    made = World(Repository(settings))
    land(made, 3)
    base = made.tip
    made.put({"same": b"1"}, base)
    made.put({"same": b"2"}, base)
    made.work()
    return made


def land(world: World, count: int) -> None:
    """Land changesets, an entry and a pack each."""
    for _ in range(count):
        world.put({f"dir/{uuid.uuid4().hex}": uuid.uuid4().bytes})
        world.work()


def another(world: World, **changes: str) -> Repository:
    """An empty repository on the same servers."""
    return Repository(dataclasses.replace(world.repo.settings, **(changes or {"repository": f"r{uuid.uuid4().hex}"})))


def taken_over(repo: Repository) -> World:
    """The writers of a repository that was restored: its slice is there."""
    return World(repo, repo.view.slice("all"))


def refs(settings: Settings, folder: Path) -> tuple[str, str]:
    contents = export(settings, folder)
    return contents.main, contents.tip


def test_what_is_restored_is_what_was_backed_up(world: World, tmp_path: Path) -> None:
    report = backup(world.repo.settings, tmp_path / "b")
    assert not report.problems and report.copied == report.files and report.entries == world.repo.view.head().applied
    for changes in ({}, {"s3_bucket": f"b{uuid.uuid4().hex}", "repository": f"r{uuid.uuid4().hex}"}):
        copy = another(world, **changes)
        restored = restore(copy, tmp_path / "b")
        assert (restored.entries, restored.files, restored.copied) == (report.entries, report.files, report.files)
        assert not verify(copy).differences
        place = tmp_path / f"{copy.settings.repository}.git"
        assert refs(copy.settings, place) == refs(world.repo.settings, place.with_suffix(".original"))
    copied = taken_over(copy)
    land(copied, 1)
    assert not verify(copy).differences, "it goes on as any other repository"


@pytest.mark.parametrize("keep", [False, True])
def test_tokens_and_identities_of_a_backup_end_when_it_is_restored(world: World, tmp_path: Path, keep: bool) -> None:
    """One of them may have been revoked since the backup was made."""
    root = Actor(principal="root")
    for number in range(3):
        issue(world.repo, Token(id=new_ulid(), hash=f"{number:064}", principal="agent:a", by="root"), root)
    admin = Grant(to="user:ada", role=Role.ADMIN, path="/")
    robots = (Identity(issuer="https://i.example", claims={"repository_id": "74"}, principal="ci:a"),)
    replace_policy(world.repo, Policy(grants=(admin,), identities=robots), None, root)
    land(world, 2)
    backup(world.repo.settings, tmp_path / "b")
    copy = another(world)
    restored = restore(copy, tmp_path / "b", keep_tokens=keep)
    policy = read_policy(copy.view)
    assert (policy.grants, policy.identities) == ((admin,), robots if keep else ())
    left = copy.view.token_ids("", 10)
    assert (restored.revoked, len(left)) == ((0, 3) if keep else (3, 0))
    assert (token_of_hash(copy.view, "0" * 64) is not None) is keep
    assert not verify(copy).differences


@pytest.mark.parametrize("keep", [False, True])
def test_the_webhooks_of_a_backup_are_disabled_when_it_is_restored(world: World, tmp_path: Path, keep: bool) -> None:
    """The deployment that the backup is of calls them too."""
    world.repo.settings = dataclasses.replace(world.repo.settings, webhook_key="k" * 32)
    made = Webhook(id=new_ulid(), url="https://hooks.example/", owner="root")
    create(world.repo, made, Actor(principal="root"))
    land(world, 1)
    backup(world.repo.settings, tmp_path / "b")
    copy = another(world)
    restored = restore(copy, tmp_path / "b", keep_tokens=keep)
    [there] = read_webhooks(copy.view)
    assert (restored.disabled, there.disabled) == ((0, None) if keep else (1, "restored"))
    assert restored.revoked == 0 and not verify(copy).differences


@pytest.mark.parametrize("keep", [False, True])
def test_the_mirrors_of_a_backup_are_stopped_when_it_is_restored(world: World, tmp_path: Path, keep: bool) -> None:
    """The deployment that the backup is of pushes to them too."""
    world.repo.settings = dataclasses.replace(world.repo.settings, mirror_folder="/nowhere")
    made = Mirror(name="host", url="https://git.example/code.git", ref="refs/heads/main")
    mirrors.create(world.repo, made, Actor(principal="root"))
    land(world, 1)
    backup(world.repo.settings, tmp_path / "b")
    copy = another(world)
    restored = restore(copy, tmp_path / "b", keep_tokens=keep)
    [there] = read_mirrors(copy.view)
    assert (restored.stopped, there.stopped) == ((0, None) if keep else (1, "restored"))
    assert not verify(copy).differences


def test_a_later_backup_copies_only_what_is_new(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = backup(world.repo.settings, tmp_path)
    land(world, 2)
    read: list[str] = []
    get = Bucket._get
    monkeypatch.setattr(Bucket, "_get", lambda self, name, **span: read.append(name) or get(self, name, **span))
    report = backup(world.repo.settings, tmp_path)
    assert not report.problems and report.copied == report.files - before.files
    # Of each changeset: submission pack, pack and index, entry; and a pack, its index and an entry of the merge.
    assert report.copied == 2 * 7 and len(read) == report.copied + 1, "one read to see that the log is the same"
    again = backup(world.repo.settings, tmp_path)
    assert (again.copied, again.files, again.entries) == (0, report.files, report.entries)


def test_a_backup_beside_writers_is_a_prefix_with_all_that_was_accepted(world: World, tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            world.put({uuid.uuid4().hex: b"1"})
            world.put({uuid.uuid4().hex: b"2"})
            world.work()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        reports = [backup(world.repo.settings, tmp_path / "b") for _ in range(3)]
        while writer.is_alive() and world.repo.view.head().applied <= reports[0].entries:
            time.sleep(0.01)
        reports.append(backup(world.repo.settings, tmp_path / "b"))
    finally:
        stop.set()
        writer.join()
    assert not any(report.problems for report in reports)
    assert reports[0].entries < reports[-1].entries < world.repo.view.head().applied + 1
    copy = another(world)
    restored = restore(copy, tmp_path / "b")
    assert restored.applied == reports[-1].entries and not verify(copy).differences
    accepted = taken_over(copy)
    accepted.work()
    assert not verify(copy).differences and copy.queue.states([])[1] == []


def test_what_was_accepted_and_not_decided_is_queued_again(world: World, tmp_path: Path) -> None:
    waiting = world.put({"waits": b"1"})
    backup(world.repo.settings, tmp_path)
    copy = another(world)
    assert restore(copy, tmp_path).enqueued == 1
    there = taken_over(copy)
    assert there.status(waiting) == "queued"
    there.work()
    assert there.status(waiting) == "committed" and there.files()["waits"] == b"1"


@pytest.mark.parametrize("after", [False, True], ids=["before", "behind"])
def test_a_backup_that_died_anywhere_is_gone_on_with(
    world: World, tmp_path: Path, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = backup(world.repo.settings, tmp_path / "whole")
    dying = Dying(monkeypatch)
    tries, at, copied = 0, 1, 0
    while True:
        dying.arm(at, after)
        try:
            copied = backup(world.repo.settings, tmp_path / "b").copied
            break
        except Died:
            tries, at = tries + 1, at + 2
            assert not (tmp_path / "b" / "manifest.jsonl").exists()
            local = sorted(path.name for path in (tmp_path / "b").glob("log/*"))
            assert local == [name_of(seq)[4:] for seq in range(1, len(local) + 1)], "a prefix at any moment"
    dying.arm(0)
    assert tries > 3 and copied < whole.files
    listed, _ = Folder(tmp_path / "b").manifest()
    assert listed.files == Folder(tmp_path / "whole").manifest()[0].files
    copy = another(world)
    restore(copy, tmp_path / "b")
    assert not verify(copy, with_git=False).differences


def test_a_failed_backup_writes_nothing_once_another_may_use_its_folder(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, first, another_writes, writing = Folder.write, threading.Lock(), threading.Event(), []

    def write(folder: Folder, name: str, data: bytes) -> Any:
        if first.acquire(blocking=False):
            assert another_writes.wait(60)
            raise OSError("no space left")
        writing.append(name)
        another_writes.set()
        threading.Event().wait(0.3)
        written = whole(folder, name, data)
        writing.remove(name)
        return written

    monkeypatch.setattr(Folder, "write", write)
    with pytest.raises(OSError, match="no space left"):
        backup(world.repo.settings, tmp_path)
    assert another_writes.is_set() and not writing


def test_a_backup_that_died_while_it_wrote_a_file_or_the_manifest(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "finish", lambda self, manifest: (_ for _ in ()).throw(Died))
        with pytest.raises(Died):
            backup(world.repo.settings, tmp_path)
    # Half a file under its own name is what a machine that lost power may have left.
    for path in (sorted(tmp_path.glob("packs/*.idx"))[0], sorted(tmp_path.glob("log/*"))[-1]):
        path.write_bytes(path.read_bytes()[:100])
    (tmp_path / "part-x").write_bytes(b"half")
    report = backup(world.repo.settings, tmp_path)
    assert report.copied == 2 and not report.problems and not list(tmp_path.glob("part-*"))
    restore(another(world), tmp_path)


@pytest.mark.parametrize("after", [False, True], ids=["before", "behind"])
def test_a_restore_that_died_anywhere_is_gone_on_with(
    world: World, tmp_path: Path, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(world.repo.settings, tmp_path)
    copy = another(world)
    monkeypatch.setattr(Repository, "check", lambda self: self.bucket.ensure())
    dying = Dying(monkeypatch)
    tries, at = 0, 1
    while True:
        dying.arm(at, after)
        try:
            restore(copy, tmp_path)
            break
        except Died:
            tries, at = tries + 1, at + 3
    dying.arm(0)
    assert tries > 5 and not verify(copy).differences
    assert restore(copy, tmp_path).copied == 0, "once more is harmless"
    assert not verify(copy, with_git=False).differences


def test_a_backup_that_is_damaged_is_named_before_anything_is_written(world: World, tmp_path: Path) -> None:
    backup(world.repo.settings, tmp_path)
    first, second = sorted(tmp_path.glob("packs/*.pack"))[:2]
    whole = first.read_bytes()
    first.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    second.unlink()
    copy = another(world)
    with pytest.raises(Damaged) as damaged:
        restore(copy, tmp_path)
    assert damaged.value.wrong == [
        f"packs/{first.name} is not what the manifest says",
        f"packs/{second.name} is missing",
    ]
    assert list(copy.bucket.list_keys("")) == []
    repaired = backup(world.repo.settings, tmp_path)
    assert repaired.copied == 1, "a file that is missing or of another size is copied again"
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes().replace(b'"entries"', b'"entrees"'))
    with pytest.raises(BackupError, match=r"manifest\.jsonl is damaged"):
        restore(copy, tmp_path)


def test_a_bucket_that_is_not_empty_is_refused(world: World, tmp_path: Path) -> None:
    backup(world.repo.settings, tmp_path)
    with pytest.raises(NotEmpty, match="inbox/"):
        restore(world.repo, tmp_path)
    copy = another(world)
    restore(copy, tmp_path)
    land(taken_over(copy), 1)
    with pytest.raises(NotEmpty, match="in use since"):
        restore(copy, tmp_path)
    world.put({"more": b"1"})
    backup(world.repo.settings, tmp_path)
    with pytest.raises(NotEmpty, match="objects of this repository already"):
        restore(copy, tmp_path)


def test_a_folder_is_of_one_log_and_of_nothing_else(world: World, tmp_path: Path) -> None:
    other = World(another(world))
    land(other, 9)
    backup(world.repo.settings, tmp_path / "b")
    with pytest.raises(BackupError, match="another log"):
        backup(other.repo.settings, tmp_path / "b")
    with pytest.raises(BackupError, match="no log"):
        backup(another(world).settings, tmp_path / "c")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "letters").write_text("dear")
    with pytest.raises(BackupError, match="letters"):
        backup(world.repo.settings, tmp_path / "d")
    with Folder(tmp_path / "b").locked(), pytest.raises(BackupError, match="another backup"):
        backup(world.repo.settings, tmp_path / "b")
    with pytest.raises(BackupError, match="no backup"):
        restore(another(world), tmp_path / "d")


def test_what_the_bucket_lacks_is_named(world: World, tmp_path: Path) -> None:
    name = next(iter(world.repo.bucket.list_keys("packs/")))
    settings = world.repo.settings
    world.repo.bucket.s3.minio.remove_object(settings.s3_bucket, f"{settings.repository}/{name}")
    report = backup(settings, tmp_path)
    assert report.problems == [f"{name} is named by the log and missing in the bucket"]


def test_what_is_collected_meanwhile_is_listed_anew(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, listed, turn = Bucket.list_keys, [], ["log/", "inbox/", "packs/"]

    def with_one_more(self: Bucket, prefix: str, after: str = "", limit: int | None = None) -> list[str]:
        listed.append(prefix)
        found = list(names(self, prefix, after, limit))
        return [*found, f"packs/{new_ulid()}.pack"] if listed == turn else found

    monkeypatch.setattr(Bucket, "list_keys", with_one_more)
    report = backup(world.repo.settings, tmp_path)
    assert listed == [*turn, *turn] and not report.problems


def test_the_commands_answer_with_counts(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(line: list[str], settings: Settings) -> tuple[int, dict]:
        for name, value in settings_module.environment(settings).items():
            monkeypatch.setenv(name, value)
        answer = CliRunner().invoke(cli.cli, [*line, str(tmp_path), "--json"])
        return answer.exit_code, json.loads(answer.stdout) if answer.stdout.startswith("{") else {}

    code, made = run(["backup"], world.repo.settings)
    assert code == 0 and made["copied"] == made["files"] and made["problems"] == []
    copy = another(world).settings
    code, restored = run(["restore"], copy)
    assert code == 0 and restored["clean"] is True and restored["applied"] == made["entries"]
    assert run(["restore", "--no-verify"], copy)[1]["clean"] is None
    assert run(["restore"], world.repo.settings)[0] == 1
    name = next(name for name in Bucket(copy).list_keys("packs/") if name.endswith(".pack"))
    Bucket(copy).s3.minio.remove_object(copy.s3_bucket, f"{copy.repository}/{name}")
    monkeypatch.setattr("app.admin.restore._Put._put_packs", lambda self, names: None)
    code, restored = run(["restore"], copy)
    assert code == 1 and restored["clean"] is False and name in restored["differences"][0]
