"""Pushes of few bytes that would be large, or without an end, for who reads them."""

from __future__ import annotations

import encodings
import subprocess
import zlib
from collections.abc import Iterator
from hashlib import sha1
from pathlib import Path
from struct import pack
from typing import Any

import pytest

from app.gateway.receive import incoming as received
from app.gateway.receive.commits import CommitRefused, PushedCommit
from app.gateway.receive.incoming import Incoming, NotComplete
from app.gateway.receive.options import Options
from app.gateway.receive.submissions import Submissions
from storage.base.ids import ObjectId, SliceId
from storage.base.settings import Settings
from storage.git.objects import EMPTY_TREE, Kind, Tree, object_id
from storage.view.snapshot import Slice

WHO = b"A <a@b> 1700000000 +0000"
_NUMBERS = {Kind.COMMIT: 1, Kind.TREE: 2, Kind.BLOB: 3}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A clone store that is empty."""
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "store")], check=True)
    return tmp_path / "store"


@pytest.fixture
def incoming(tmp_path: Path, store: Path) -> Iterator[Incoming]:
    made = Incoming(tmp_path / "pushes", store)
    yield made
    made.remove()
    assert not list((tmp_path / "pushes").iterdir())


def packed(*objects: tuple[Kind, bytes]) -> bytes:
    body = b"PACK" + pack(">II", 2, len(objects))
    for kind, data in objects:
        size, first = len(data) >> 4, (_NUMBERS[kind] << 4) | (len(data) & 15)
        while size:
            body += bytes([first | 0x80])
            first, size = size & 0x7F, size >> 7
        body += bytes([first]) + zlib.compress(data, 1)
    return body + sha1(body, usedforsecurity=False).digest()


def commit(tree: ObjectId, message: bytes) -> bytes:
    return b"tree %s\nauthor %s\ncommitter %s\n\n%s" % (tree.hex().encode(), WHO, WHO, message)


def take(incoming: Incoming, *objects: tuple[Kind, bytes]) -> ObjectId:
    """Receive objects; return the id of the first."""
    incoming.take(iter([packed(*objects)]), 1 << 30)
    tip = object_id(*objects[0])
    incoming.finish([tip])
    incoming.check()
    return tip


def test_a_commit_that_git_cannot_hold_ends_git_and_not_the_machine(
    incoming: Incoming, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(received, "INDEXING_BYTES", 64 << 20)
    message = b"x" * (64 << 20)
    with pytest.raises(NotComplete, match="too large to be indexed within 64 MiB of memory"):
        take(incoming, (Kind.COMMIT, commit(EMPTY_TREE, message)), (Kind.TREE, b""))


def test_a_commit_has_a_size_up_to_which_it_is_read(incoming: Incoming) -> None:
    tip = take(incoming, (Kind.COMMIT, commit(EMPTY_TREE, b"y" * (9 << 20))), (Kind.TREE, b""))
    with pytest.raises(NotComplete, match=f"the commit {tip.hex()} has 9437[0-9]* bytes; at most 8388608 are allowed"):
        incoming.commit(tip)


def test_a_tree_has_a_size_up_to_which_it_is_read(incoming: Incoming) -> None:
    blob = object_id(Kind.BLOB, b"")
    rows = b"".join(b"100644 %08d\0" % number + blob for number in range(1_000_000))
    large = object_id(Kind.TREE, rows)
    take(incoming, (Kind.COMMIT, commit(large, b"m\n")), (Kind.TREE, rows), (Kind.BLOB, b""))
    with pytest.raises(NotComplete, match=f"the tree {large.hex()} has 36000000 bytes; at most 33554432 are allowed"):
        incoming.tree(large)


def parsed(author: bytes = WHO, encoding: bytes = b"", message: bytes = b"m\n", parents: int = 1) -> PushedCommit:
    """Return a commit on other ones."""
    lines = [b"tree " + EMPTY_TREE.hex().encode(), *[b"parent " + b"0" * 40] * parents]
    lines += [b"author " + author, b"committer " + WHO, *([b"encoding " + encoding] if encoding else [])]
    return PushedCommit.parse(ObjectId(b"1" * 20), b"\n".join([*lines, b"", message]))


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ({"author": b"A" * 2000 + b" <a@b> 1700000000 +0000"}, "author, committer or encoding has more than 1000"),
        ({"encoding": b"e" * 2000}, "author, committer or encoding has more than 1000"),
        ({"parents": 101}, "more than 100 parents"),
    ],
)
def test_what_is_kept_of_a_commits_header_is_bounded(header: dict[str, Any], why: str) -> None:
    assert parsed(parents=100).ident().name == "A"
    with pytest.raises(CommitRefused, match=why):
        parsed(**header)


def test_names_of_encodings_that_clients_send_are_not_remembered() -> None:
    before = len(encodings._cache)  # type: ignore[attr-defined]
    for number in range(100):
        commit = parsed(encoding=b"none-%d" % number, message=b"Gr\xc3\xbc\xc3\x9fe\n")
        assert commit.text == "Gr\u00fc\u00dfe\n"
    assert len(encodings._cache) <= before + 2  # type: ignore[attr-defined]
    for name in (b"ISO-8859-1", b"latin1", b"CP1252", b"windows-1252"):
        assert parsed(encoding=name, message=b"Gr\xfc\xdfe\n").text == "Gr\u00fc\u00dfe\n"
    assert parsed(encoding=b"KOI8-R", message="\u0414\u0430\n".encode("koi8-r")).text == "\u0414\u0430\n"


class _Trees:
    """A push, as far as its trees are asked for."""

    def __init__(self, depth: int, wide: int, inmost: bytes) -> None:
        """Have directories in one another, each of which has the next one under `wide` names."""
        self._trees = {EMPTY_TREE: Tree.parse(b"")}
        self.reads = 0
        data = inmost
        for _ in range(depth):
            below = self._add(data)
            data = b"".join(b"40000 d%d\0" % number + below for number in range(wide))
        self.root = self._add(data)

    def _add(self, data: bytes) -> ObjectId:
        oid = object_id(Kind.TREE, data)
        self._trees[oid] = Tree.parse(data)
        return oid

    def tree(self, oid: ObjectId) -> Tree:
        self.reads += 1
        return self._trees[oid]

    def content(self, oid: ObjectId, most: int) -> bytes:
        return b"text\n"


def submitted(trees: Any, message: bytes = b"m\n") -> list[bytes]:
    """Return the paths that a push of these trees changes."""
    where = Slice(id=SliceId("s"), name="all", paths=frozenset([b"/"]), version=1)
    made = Submissions(trees, where, Options(), Settings())
    before = PushedCommit(ObjectId(b"0" * 20), EMPTY_TREE, (), WHO, WHO, b"", b"m\n")
    after = PushedCommit(ObjectId(b"1" * 20), trees.root, (before.oid,), WHO, WHO, b"", message)
    [submission] = made.each([after], before, [None])  # type: ignore[list-item]
    return [change.path for change in submission.changes]


@pytest.mark.parametrize(
    ("depth", "wide", "inmost"),
    [(16, 16, b""), (300, 1, b"100644 file\0" + b"1" * 20), (5000, 1, b"100644 file\0" + b"1" * 20)],
)
def test_directories_without_end_are_refused_at_once(depth: int, wide: int, inmost: bytes) -> None:
    trees = _Trees(depth, wide, inmost)
    with pytest.raises(CommitRefused, match="it has empty directories, or more than 100 in one another"):
        submitted(trees)
    assert trees.reads < 250


def test_directories_as_deep_as_a_path_may_be_are_taken() -> None:
    assert submitted(_Trees(99, 1, b"100644 file\0" + b"1" * 20)) == [b"d0/" * 99 + b"file"]


def test_lines_that_a_changesets_message_leaves_out_count_too() -> None:
    message = b"Subject\n\n" + b"Changeset-Id: 01ARZ3NDEKTSV4RRFFQ69G5FAV\n" * 2000
    with pytest.raises(CommitRefused, match="its message has 82009 bytes; 65536 are allowed"):
        submitted(_Trees(1, 1, b"100644 file\0" + b"1" * 20), message)
    assert submitted(_Trees(1, 1, b"100644 file\0" + b"1" * 20), message[:1000])
