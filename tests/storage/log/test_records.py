"""What records say of what they keep."""

from __future__ import annotations

import pytest

from storage.base.ids import ObjectId
from storage.log.records import Pushed


@pytest.mark.parametrize(
    ("author", "committer", "email"),
    [
        (b"Ada <ada@example.org> 1 +0000", b"Bob <bob@example.org> 1 +0000", "bob@example.org"),
        (b"Ada <ada@example.org> 1 +0000", b"<> 1 +0000", ""),
        (b"Ada <ada@example.org> 1 +0000", "Bob <büro@example.org> 1 +0000".encode(), "büro@example.org"),
        # Of one text that is not UTF-8 all are bytes; an e-mail is what it says all the same.
        (b"\xff <ada@example.org> 1 +0000", "Bob <büro@example.org> 1 +0000".encode(), "büro@example.org"),
        (b"Ada <ada@example.org> 1 +0000", b"Bob <b\xfcro@example.org> 1 +0000", "büro@example.org"),
    ],
)
def test_a_pushed_commit_says_who_has_committed_it(author: bytes, committer: bytes, email: str) -> None:
    assert Pushed.of(ObjectId(b"1" * 20), author, committer, b"Message\n").committer_email == email
