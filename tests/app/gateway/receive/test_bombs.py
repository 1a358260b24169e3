"""Pushes of few bytes that would be large for who reads them."""

from __future__ import annotations

import subprocess
import zlib
from collections.abc import Iterator
from hashlib import sha1
from pathlib import Path
from struct import pack

import pytest

from app.gateway.receive import incoming as received
from app.gateway.receive.incoming import Incoming, NotComplete
from storage.base.ids import ObjectId
from storage.git.objects import EMPTY_TREE, Kind, object_id

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
        body += bytes([first]) + zlib.compress(data, 9)
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
