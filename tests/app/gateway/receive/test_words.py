"""The protocol's words: what a client may send, byte by byte, and what it is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.gateway.receive.commits import CommitRefused, PushedCommit, TooManyCommits, new_commits
from app.gateway.receive.words import (
    BrokenOff,
    Command,
    NotUnderstood,
    Reader,
    Told,
    advertisement,
    one_line,
    pkt,
    read_request,
)
from storage.base.ids import ObjectId
from tests.support.persisted import oid

OLD, NEW = b"0" * 40, b"1" * 40


def reader(data: bytes, step: int = 3) -> Reader:
    pieces: Iterator[bytes] = (data[at : at + step] for at in range(0, len(data), step))
    return Reader(lambda: next(pieces, b""))


def test_a_push_is_read_whatever_pieces_it_comes_in() -> None:
    line = pkt(b"%s %s refs/for/main\0report-status push-options atomic" % (OLD, NEW))
    data = pkt(b"shallow " + NEW) + line + pkt(b"%s %s refs/x" % (OLD, OLD)) + b"0000" + pkt(b"wait=no\n") + b"0000PACK"
    for step in (1, 7, 1000):
        from_client = reader(data, step)
        request = read_request(from_client)
        assert request and request.commands == (
            Command(OLD, NEW, b"refs/for/main"),
            Command(OLD, OLD, b"refs/x"),
        )
        assert request.options == ("wait=no",) and request.has_pack
        assert b"".join(from_client.rest()) == b"PACK"


@pytest.mark.parametrize(
    "data",
    [
        b"zzzz",
        b"0003",
        b"fff1" + b"x" * 70_000,
        pkt(b"hello"),
        pkt(b"push-cert\0x"),
        pkt(b"%s %s a b" % (OLD, NEW)),
        pkt(b"%s %s refs/x\0object-format=sha256" % (OLD, NEW)) + b"0000",
        pkt(b"%s %s refs/x\0push-options" % (OLD, NEW)) + b"0000" + pkt(b"\xff") + b"0000",
        pkt(b"%s %s refs/x\0push-options" % (OLD, NEW)) + b"0000" + pkt(b"a") * 101 + b"0000",
        pkt(b"%s %s refs/x\0a" % (OLD, NEW)) * 1001 + b"0000",
    ],
)
def test_what_is_no_push_is_not_understood(data: bytes) -> None:
    with pytest.raises(NotUnderstood):
        read_request(reader(data, 4096))


@pytest.mark.parametrize("data", [b"", b"00", pkt(b"%s %s refs/x\0a" % (OLD, NEW)), b"0040abc"])
def test_what_ends_too_early_is_broken_off(data: bytes) -> None:
    with pytest.raises(BrokenOff):
        read_request(reader(data))


def test_a_flush_alone_is_a_probe() -> None:
    assert read_request(reader(b"0000")) is None


def test_what_is_shown_first_has_the_branch_and_what_need_not_be_sent() -> None:
    shown = advertisement(NEW, [NEW, OLD], version=1)
    assert shown.startswith(pkt(b"# service=git-receive-pack\n") + b"0000" + pkt(b"version 1\n"))
    assert NEW + b" refs/heads/main\0report-status" in shown and shown.endswith(pkt(OLD + b" .have\n") + b"0000")
    assert b"0" * 40 + b" capabilities^{}\0" in advertisement(None, ())


def test_a_report_is_for_what_the_client_can_read() -> None:
    results = [(b"refs/for/main", None), (b"refs/x", "no\nsuch ref")]
    report = pkt(b"unpack ok\n") + pkt(b"ok refs/for/main\n") + pkt(b"ng refs/x no such ref\n") + b"0000"
    assert Told(frozenset({b"report-status"})).report("ok", results) == report
    banded = Told(frozenset({b"report-status", b"side-band-64k"}))
    assert banded.report("ok", results) == pkt(b"\1" + report) + b"0000"
    assert banded.line("hello") == pkt(b"\2hello\n") and banded.alive == pkt(b"\1")
    bare = Told(frozenset())
    assert (bare.line("hello"), bare.alive, bare.report("ok", results)) == (b"", b"", b"")


def test_a_line_cannot_move_a_cursor() -> None:
    assert one_line("a\x1b[2Jb\r\nc\u202e\x9b") == "a [2Jb  c"
    assert len(one_line("x" * 1000)) == 400


def commit(digit: str, *parents: str) -> PushedCommit:
    return PushedCommit(
        oid(digit), oid("f"), tuple(map(oid, parents)), b"A <a@b> 1 +0000", b"C <c@d> 1 +0000", b"", b"m"
    )


def walked(tip: str, *commits: PushedCommit, most: int = 10) -> str:
    known = {each.oid: each for each in commits}
    found = new_commits(oid(tip), lambda each: known[each], lambda each: each not in known, lambda _: oid("0"), most)
    return "".join(each.oid.hex()[0] for each in found.commits) + "/" + found.base.hex()[0]


def test_a_range_is_what_the_store_has_not_oldest_first() -> None:
    assert walked("3", commit("1", "0"), commit("2", "1"), commit("3", "2")) == "123/0"
    # 0 - 1 - 2 - 4
    #      \- 3 -/
    assert walked("4", commit("1", "0"), commit("2", "1"), commit("3", "1"), commit("4", "2", "3")) == "1234/0"
    assert walked("9") == "/9"
    with pytest.raises(TooManyCommits, match="more than 2 new commits"):
        walked("3", commit("1", "0"), commit("2", "1"), commit("3", "2"), most=2)


@pytest.mark.parametrize(
    ("author", "why"),
    [
        (b" <a@b> 1 +0000", "the name is empty"),
        (b"A <a@b> x +0000", "not as Git writes one"),
        (b"A a@b 1 +0000", "not as Git writes one"),
        (b"A\x01 <a@b> 1 +0000", "control character"),
        (b"A <a@b> 999999999999 +0000", "beyond the year 9999"),
    ],
)
def test_an_author_that_cannot_be_is_refused_by_the_commits_id(author: bytes, why: str) -> None:
    made = PushedCommit(ObjectId(oid("1")), oid("f"), (), author, author, b"", b"m")
    with pytest.raises(CommitRefused, match=rf"^1111111111: .*{why}"):
        made.ident()


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            "Fix\n\nChangeset-Id: 01M8\nChangeset-Submitter: x\nSigned-off-by: A <a@b>\n",
            "Fix\n\nSigned-off-by: A <a@b>\n",
        ),
        ("", "(no message)\n\n"),
        ("Changeset-Id: 01M8\n", "(no message)\n\n"),
        ("Fix\r\nchangeset-id : 1\r\nmore", "Fix\r\nmore"),
        ("Plain\n", "Plain\n"),
    ],
)
def test_a_message_has_a_subject_and_no_trailers_of_ours(message: str, said: str) -> None:
    made = PushedCommit(oid("1"), oid("f"), (), b"", b"", b"", message.encode())
    assert made.said() == said
