"""Any path that Git allows goes in and comes back the same: from trees, lists, exports, backups, and the archive."""

from __future__ import annotations

import dataclasses
import os
import random
import subprocess
import uuid
from base64 import b64decode
from pathlib import Path
from queue import SimpleQueue

import pytest

from app.admin.backup import backup
from app.admin.deep import deep
from app.admin.export import export
from app.admin.restore import restore
from app.admin.verify import verify
from storage.base.settings import Settings
from storage.git.objects import FILE_MODE
from storage.git.paths import PathError, check_path
from storage.importing import import_history
from storage.maintenance.rebuild import rebuild
from storage.operations.slices import define
from storage.repository import Repository
from tasks import notify
from tasks.upkeep import run as run_upkeep
from tests.support.api import Api, walk
from tests.support.compaction import aged_world, compacted
from tests.support.git_oracle import GitOracle
from tests.support.git_repository import GitRepository
from tests.support.world import World

PIECES = [
    *[bytes([byte]) for byte in range(1, 256) if byte != ord("/")],
    *[
        b"/",
        b"/",
        b"/",
        "é".encode(),
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xc0\xaf",
        b"0e9",
        b".git",
        b"\xe2\x80\x8c",
    ],
]


def names(choose: random.Random, count: int) -> list[bytes]:
    """Return made-up paths that may stand beside each other."""
    made: set[bytes] = set()
    while len(made) < count:
        path = b"".join(choose.choices(PIECES, k=choose.randint(1, 9)))
        try:
            check_path(path, 4096)
        except PathError:
            continue
        if not any(path.startswith(other + b"/") or other.startswith(path + b"/") for other in made):
            made.add(path)
    return sorted(made)


def listed(repository: Path, commit: str) -> dict[bytes, bytes]:
    """Return the ids that Git lists, by path."""
    done = subprocess.run(["git", "-C", repository, "ls-tree", "-r", "-z", commit], check=True, capture_output=True)
    rows = (row.partition(b"\t") for row in done.stdout.split(b"\0")[:-1])
    return {path: about.split()[2] for about, _, path in rows}


def fsck(repository: Path) -> str:
    done = subprocess.run(["git", "-C", repository, "fsck", "--strict"], capture_output=True, check=False)
    return (done.stdout + done.stderr).decode(errors="replace").strip() if done.returncode else ""


def text(path: bytes) -> str:
    return os.fsdecode(path)


@pytest.mark.parametrize("seed", range(3))
def test_every_path_that_git_allows_goes_in_and_comes_back(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    sent: SimpleQueue[str] = SimpleQueue()
    monkeypatch.setattr(notify, "send", lambda app, task, token=None, **more: sent.put(task))
    choose = random.Random(seed)
    paths = names(choose, 60)
    oracle = GitOracle(_made(tmp_path / "oracle"))
    assert oracle.checks_out(paths) == "", "Git allows them"
    source, left = _imported(tmp_path / "source", paths[::3]), [path for path in paths if path not in paths[::3]]
    repo = Repository(settings)
    import_history(repo, source.path)
    run_upkeep(repo)
    world = World(repo, define(repo, "all", ["/"]))
    expected = dict.fromkeys(paths[::3], b"old")
    tips = [world.tip]
    for number in range(8):
        base = choose.choice(tips)
        changed = dict.fromkeys(choose.sample(left, 5), b"%d\n" % number)
        deleted = choose.sample(sorted(expected), 2) if base == tips[-1] else []
        files = {text(path): content for path, content in changed.items()} | {text(path): None for path in deleted}
        made = world.put(files, base)
        world.work()
        if world.status(made) == "committed":
            expected = {path: old for path, old in (expected | changed).items() if path not in deleted}
        tips.append(world.tip)
    assert {path.encode(errors="surrogateescape"): data for path, data in world.files().items()} == expected
    api = Api(settings, world)
    shown = {each["path"].encode() if "path" in each else b64decode(each["path_base64"]): each["id"].encode()
             for each in walk(api, "/slices/all/tree")}  # fmt: skip
    out = tmp_path / "out.git"
    assert export(settings, out).tip == world.tip.hex()
    assert listed(out, "next") == shown and shown.keys() == expected.keys()
    assert fsck(out) == ""
    assert verify(repo).differences == []
    looked = deep(settings)
    assert looked.difference == "" and looked.committed > 3
    copy = Repository(dataclasses.replace(settings, repository=f"r{uuid.uuid4().hex}"))
    backup(settings, tmp_path / "b")
    restore(copy, tmp_path / "b")
    assert not verify(copy).differences and World(copy, copy.view.slice("all")).files() == world.files()
    aged = aged_world(world)
    assert any(done.entries for done in compacted(aged))
    assert verify(aged.repo).differences == []
    aged.repo.view.erase()
    rebuild(aged.repo, None, lambda seq: None)
    again = aged.reopened()
    assert verify(again.repo).differences == [] and again.files() == world.files()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _imported(folder: Path, paths: list[bytes]) -> GitRepository:
    made = GitRepository(folder)
    blob = made.git("hash-object", "-w", "--stdin", stdin=b"old").encode()
    rows = b"".join(b"%o %s\t%s\0" % (FILE_MODE, blob, path) for path in paths)
    made.git("update-index", "-z", "--add", "--index-info", stdin=rows)
    made.git("commit", "-qm", "names of old")
    return made
