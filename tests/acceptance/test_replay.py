"""Real histories, concurrent writers, and Git as the judge; and the same with processes dying in between."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from app.admin.export import export, git
from app.admin.verify import verify
from app.client.api_client import Client
from app.demo.report import Report
from app.demo.run import Replay
from app.judge.local_history import History
from app.stack.stack import Stack
from storage.repository import Repository

COMMITS = 60


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with everything that a replay must carry: see `stream`."""
    folder = tmp_path_factory.mktemp("history") / "repo.git"
    git(None, "init", "--quiet", "--bare", "--initial-branch=main", str(folder))
    source = folder.parent / "stream"
    source.write_bytes(stream())
    with source.open("rb") as data:
        git(folder, "fast-import", "--quiet", stdin=data)
    return folder


def stream() -> bytes:
    """Return commits in git fast-import's format.

    In turn: text and binary in three directories, a mode, a symlink, a delete, a file that becomes a directory and
    back (at the top and below), a submodule's pointer, names in Unicode, CRLF, and merges of side branches.
    """
    parts: list[bytes] = []

    def commit(number: int, changes: list[bytes], branch: str = "main", start: int = 0, merge: int = 0) -> None:
        who = b"W\xc3\xb6rter <w@example.org> %d +0130" % (1_700_000_000 + number)
        parts.append(b"commit refs/heads/%s\nmark :%d\nauthor %s\ncommitter %s\n" % (branch.encode(), number, who, who))
        message = f"Änderung {number}\n\nMit Text.\n".encode()
        parts.append(b"data %d\n%s" % (len(message), message))
        parts.extend([b"from :%d\n" % start] if start else [])
        parts.extend([b"merge :%d\n" % merge] if merge else [])
        parts.extend(changes)

    def put(path: str, data: bytes, mode: str = "100644") -> bytes:
        return b"M %s inline %s\ndata %d\n%s\n" % (mode.encode(), path.encode(), len(data), data)

    def delete(path: str) -> bytes:
        return b"D %s\n" % path.encode()

    for i in range(1, COMMITS + 1):
        changes = [
            put(f"{top}/dir{i % 4}/f{i % 7}.txt", b"%d\r\nline" % i) for top in ("lib", "doc", "test")[: 1 + i % 3]
        ]
        changes.append(put("lib/blob.bin", bytes(range(256)) * (i % 5 + 1)))
        changes.append(put("run.sh", b"#!/bin/sh\n", "100755" if i % 2 else "100644"))
        changes.append(put("lib/link", b"dir%d" % (i % 4), "120000") if i % 3 else delete("lib/link"))
        turn = i % 6
        changes += (
            [delete("doc/turn"), put("doc/turn", b"file")]
            if turn < 3
            else [delete("doc/turn"), put("doc/turn/a", b"x")]
        )
        changes += [delete("top"), put("top", b"file")] if turn % 2 else [delete("top"), put("top/inner", b"%d" % i)]
        changes.append(b"M 160000 %s sub\n" % (b"%040x" % (i + 1)))
        changes.append(put(f"doc/Grüße {i % 3}.md", "日本語\n".encode() * i))
        if i % 10 == 5:
            side = [put(f"test/side{i}", b"side")]
            commit(1000 + i, side, branch="side", start=i - 1)
            commit(i, changes + side, merge=1000 + i)
        else:
            commit(i, changes)
    return b"".join(parts)


def replay(stack: Stack, history: Path, writers: int, **options: object) -> Report:
    with History(history) as opened:
        client = Client(stack.url, retry_for=120, connections=writers + 2)
        return Replay(opened, client, writers, bulk=5, **options).run()  # type: ignore[arg-type]


@pytest.mark.parametrize("writers", [1, 4, 16])
def test_the_tree_is_the_repositorys_own_whatever_the_number_of_writers(
    new_stack: Callable[..., Stack], history: Path, tmp_path: Path, writers: int
) -> None:
    stack = new_stack(with_flower=False)
    report = replay(stack, history, writers)
    assert report.match and report.conflicted == report.rejected == 0 and report.landed == report.changesets > COMMITS

    exported = tmp_path / "export.git"
    export(stack.settings, exported)
    git(exported, "fsck", "--strict", "--no-progress")
    trailers = git(exported, "log", "main", "--format=%(trailers:key=Changeset-Id,valueonly,separator=%x20)").split()
    assert len(trailers) == len(set(trailers)) >= report.changesets
    batches = git(exported, "log", "--first-parent", "--format=%s", "main").splitlines()
    assert batches[-1] == "Begin" and all(line.startswith("Merge ") for line in batches[:-1]) and len(batches) > 1
    assert not verify(Repository(stack.settings)).differences


def test_killed_workers_and_a_flushed_redis_change_nothing(new_stack: Callable[..., Stack], history: Path) -> None:
    stack = new_stack(with_flower=False)
    faults = [
        lambda: stack.kill("worker", signal.SIGKILL),
        lambda: redis.Redis.from_url(stack.settings.redis_url).flushall(),
        lambda: stack.kill("merger", signal.SIGKILL),
        lambda: stack.kill("api", signal.SIGKILL),
    ]
    lock = threading.Lock()

    def broken(stage: str, done: int, total: int) -> None:
        """Break the next thing with every fifth of the changesets that were submitted."""
        with lock:
            if stage == "submit" and faults and done * 5 >= total * (5 - len(faults)):
                faults.pop(0)()

    report = replay(stack, history, 4, progress=broken)
    assert not faults, "all of them happened while changesets were submitted"
    assert report.match and report.conflicted == 0 and report.landed == report.changesets
    assert not verify(Repository(stack.settings)).differences
