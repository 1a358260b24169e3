"""The record of a pushed commit has all that its object says, byte for byte: Git is the judge."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.base.ids import ObjectId
from storage.git.objects import Kind, object_id
from storage.git.run_git import Git
from storage.log.records import Pushed
from storage.projection.commits import projected, read
from tests.support.git_repository import GitRepository


@pytest.mark.parametrize(
    ("message", "author", "headers"),
    [
        (b"Subject\n", b"Ada <ada@example.org> 1700000000 +0530", b""),
        ("Grüße\n\n\n   ".encode(), "Ä. Ø <a@ö.example> 1 -1200".encode(), b""),
        (b"", b"Ada <ada@example.org> 0 +0000", b""),
        (b"Gr\xfc\xdfe", b"\xc4da <ada@example.org> 1700000000 +0000", b"encoding ISO-8859-1\n"),
        (b"\xff\xfe\x80\n", b"\x80 <\xff> 1700000000 +0000", b""),
        ("Ä\n".encode(), b"\xc4da <ada@example.org> 1700000000 +0000", "encoding ä\n".encode()),
    ],
)
def test_with_its_own_tree_and_parent_it_is_the_commit_that_was_pushed(
    message: bytes, author: bytes, headers: bytes, tmp_path: Path
) -> None:
    folder = GitRepository.begun(tmp_path / "r")
    commit = folder.raw_commit(message, author, headers)
    data = Git(folder.path).output("cat-file", "commit", commit)
    head, _, said = data.partition(b"\n\n")
    lines = dict(line.split(b" ", 1) for line in head.split(b"\n"))
    oid = ObjectId(bytes.fromhex(commit))
    record = Pushed.of(oid, lines[b"author"], lines[b"committer"], said, lines.get(b"encoding", b""))
    tree, parent = (ObjectId(bytes.fromhex(lines[name].decode())) for name in (b"tree", b"parent"))
    stored = read(b"tree %s\nauthor A <a> 1 +0000\ncommitter A <a> 1 +0000\n\nm\n" % tree.hex().encode())[1]
    assert projected(tree, [parent], stored, record) == data
    assert object_id(Kind.COMMIT, data) == oid == ObjectId(bytes.fromhex(record.commit))
