"""Merges of two writers in Sluice and in Git: the same verdict, and the same files."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from app.admin.export import git
from app.admin.verify import verify
from app.client.api_client import Client
from app.demo.merge_report import MergeReport
from app.demo.merge_run import MergeReplay, read_cases
from app.judge.judge import Judge
from app.judge.local_history import HistoryError
from app.judge.source_merges import ONE_SIDED, MergeHistory
from app.stack.stack import Stack
from storage.repository import Repository

MERGES = 120

Files = dict[str, tuple[str, bytes]]


@pytest.fixture(scope="module")
def merges(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare repository of merges, each of two sides that edited the same few files at random."""
    folder = tmp_path_factory.mktemp("merges") / "repo.git"
    git(None, "init", "--quiet", "--bare", "--initial-branch=main", str(folder))
    source = folder.parent / "stream"
    source.write_bytes(stream(random.Random(8)))
    with source.open("rb") as data:
        git(folder, "fast-import", "--quiet", stdin=data)
    return folder


def stream(chance: random.Random) -> bytes:
    """Return the commits in git fast-import's format: base, two sides, merge, and the same again."""
    parts: list[bytes] = []
    mark = 0

    def commit(files: Files, *parents: int) -> int:
        nonlocal mark
        mark += 1
        who = b"W <w@example.org> %d +0000" % (1_700_000_000 + mark)
        parts.append(b"commit refs/heads/main\nmark :%d\nauthor %s\ncommitter %s\ndata 1\nm\n" % (mark, who, who))
        parts.extend(b"%s :%d\n" % (b"merge" if i else b"from", parent) for i, parent in enumerate(parents))
        parts.append(b"deleteall\n")
        parts.extend(
            b"M %s inline %s\ndata %d\n%s\n" % (mode.encode(), path.encode(), len(data), data)
            for path, (mode, data) in files.items()
        )
        return mark

    last: tuple[int, ...] = ()
    for number in range(MERGES):
        base: Files = {path: ("100644", lines(chance, path)) for path in ("a", "dir/b", "dir/c", "Grüße")}
        base |= {"bin": ("100644", b"\0" + chance.randbytes(20)), "link": ("120000", b"a")}
        start = commit(base, *last)
        first, second = edited(chance, base, number), edited(chance, base, number)
        last = (commit(first | second, commit(first, start), commit(second, start)),)
    return b"".join(parts)


def lines(chance: random.Random, path: str) -> bytes:
    return b"".join(b"%s %d %d\n" % (path.encode(), i, chance.randrange(3)) for i in range(30))


def edited(chance: random.Random, base: Files, number: int) -> Files:
    """Return `base` with one to three files edited, deleted, moved, made a directory, executable or new."""
    files = dict(base)
    for path in chance.sample(sorted(base), chance.choice((1, 1, 2, 3))):
        mode, data = files[path]
        match chance.randrange(12):
            case 0:
                del files[path]
            case 1:
                files[f"moved/{path}"] = files.pop(path)
            case 2:
                del files[path]
                files[f"{path}/below"] = (mode, data)
            case 3 if mode != "120000":
                files[path] = ("100755", data)
            case 4:
                files[f"new{chance.randrange(2)}"] = ("100644", b"%d\n" % chance.randrange(2))
            case 5:
                files["new"] = ("100644", lines(chance, "new")[: chance.choice((5, 10))])
            case _ if mode == "120000":
                files[path] = (mode, b"b%d" % chance.randrange(2))
            case _:
                rows = data.splitlines(keepends=True)
                place = chance.randrange(len(rows))
                rows[place : place + chance.randrange(3)] = [b"edited %d %d\n" % (number, chance.randrange(3))]
                files[path] = (mode, b"".join(rows))
    return files


def replay(stack: Stack, merges: Path, limit: int | None = None) -> MergeReport:
    skipped: Counter[str] = Counter()
    with MergeHistory(merges) as history, Judge(history.objects()) as judge:
        cases = read_cases(history, judge, limit, skipped, lambda stage, done, total: None)
        return MergeReplay(history, Client(stack.url, retry_for=120), writers=4).run(cases, skipped)


def test_merges_here_are_merges_there(new_stack: Callable[..., Stack], merges: Path) -> None:
    stack = new_stack(with_flower=False)
    report = replay(stack, merges)
    assert report.differences == []
    assert report.ok
    assert report.merges + report.skipped[ONE_SIDED] == MERGES and report.skipped.keys() <= {ONE_SIDED}
    assert min(report.clean, report.conflicted, report.content_merges) > MERGES / 10
    assert not verify(Repository(stack.settings)).differences
    with pytest.raises(HistoryError, match="not empty"):
        replay(stack, merges, 1)


def test_a_merge_that_the_api_refuses_is_skipped_and_others_are_compared(
    new_stack: Callable[..., Stack], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where an API has lower limits than the defaults, which are looked at before."""
    git(None, "init", "--quiet", "--bare", "--initial-branch=main", str(tmp_path / "repo.git"))
    source = tmp_path / "stream"
    who = "committer W <w@example.org> 1700000000 +0000\ndata 1\nm\n"
    rows = [
        "M 100644 inline a\ndata 1\na\n",
        "M 120000 inline .gitmodules\ndata 1\na\n",
        "M 100644 inline b\ndata 1\nb\n",
    ]
    sides = [f"commit refs/heads/{i}\nmark :{i + 2}\n{who}from :1\n{row}" for i, row in enumerate(rows)]
    merges = [
        f"commit refs/heads/main\nmark :{mark}\n{who}from :{one}\nmerge :{other}\n"
        for mark, one, other in [(5, 2, 3), (6, 3, 4), (7, 2, 4)]
    ]
    # HEAD reaches the others through commits that have three parents, which are no merges to compare.
    top = f"commit refs/heads/main\n{who}from :7\nmerge :5\nmerge :6\n"
    source.write_text("".join([f"commit refs/heads/main\nmark :1\n{who}", *sides, *merges, top]))
    with source.open("rb") as data:
        git(tmp_path / "repo.git", "fast-import", "--quiet", "--force", stdin=data)
    monkeypatch.setattr("app.judge.source_merges.refusal", lambda merge, content, sizes: None)
    report = replay(new_stack(with_flower=False), tmp_path / "repo.git")
    assert report.skipped == {"refused by the API: .gitmodules cannot be a symlink": 2}
    assert (report.merges, report.same_tree, report.ok) == (1, 1, True)
