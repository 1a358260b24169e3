"""A projection's commits say what the chain's say, byte for byte, and nothing that tells of the chain."""

from __future__ import annotations

import pytest

from storage.base.ids import ObjectId
from storage.git.objects import EMPTY_TREE, Commit, CorruptObject, Ident
from storage.git.trailers import with_trailer
from storage.log.records import Pushed
from storage.projection.commits import Said, defined, part, projected, read, without_reserved, write

TREE, PARENT = ObjectId(b"t" * 20), ObjectId(b"p" * 20)
SAID = Said(b"A <a@example.org> 1 +0000", b"C <c@example.org> 2 -0130", b"Subject\n")


@pytest.mark.parametrize(
    "message",
    ["Subject\n", "Subject\n\nBody\n", "Subject\n\nBody\n\nSigned-off-by: A <a@example.org>\n", "S\n\nA: b\nC: d\n"],
)
def test_what_sluice_added_to_a_message_is_taken_off_again(message: str) -> None:
    for more in ((), (("Changeset-Submitter", "user:ada"),)):
        stored = with_trailer(message, "Changeset-Id", "01ARZ3NDEKTSV4RRFFQ69G5FAV", *more)
        assert "Changeset-Id" in stored
        assert without_reserved(stored.encode()) == message.encode()


def test_a_message_without_such_trailers_stays_as_it_is() -> None:
    for message in (b"", b"Subject", b"Subject\n\n\n", b"\xff\xfe\r\n", b"About Changeset-Id: none\n"):
        assert without_reserved(message) == message


def test_reserved_trailers_in_any_letters_are_taken_off() -> None:
    assert without_reserved(b"S\n\nCHANGESET-ID: x\nA: b\nchangeset-submitter : y\n") == b"S\n\nA: b\n"


def test_a_commit_is_read_as_bytes_and_other_headers_fall_away() -> None:
    data = (
        b"tree %s\nparent %s\nauthor \xc4 <a@b> 1 +0000\ncommitter C <c@d> 2 +0000\nencoding ISO-8859-1\n"
        b"gpgsig -----BEGIN PGP SIGNATURE-----\n \n author forged <f@f> 9 +0000\n -----END PGP SIGNATURE-----\n"
        b"\nL\xf6wen\n\nauthor not this\n"
    ) % (TREE.hex().encode(), PARENT.hex().encode())
    tree, said = read(data)
    assert tree == TREE
    assert said == (b"\xc4 <a@b> 1 +0000", b"C <c@d> 2 +0000", b"L\xf6wen\n\nauthor not this\n", b"ISO-8859-1")
    assert write(TREE, [PARENT], said) == data.replace(data[data.index(b"gpgsig") : data.index(b"\n\nL") + 1], b"")


def test_what_is_no_commit_is_refused() -> None:
    for data in (b"", b"tree abc\n\n", b"tree %s\nauthor A <a> 1 +0000\n\n" % TREE.hex().encode()):
        with pytest.raises(CorruptObject):
            read(data)


def test_a_commit_of_ours_is_written_as_the_chain_writes_it() -> None:
    who = Ident("Ä", "a@example.org", 5, -90)
    commit = Commit(TREE, (PARENT,), who, who, "Subject\n\nBody\n").encode()
    tree, said = read(commit)
    assert write(tree, [PARENT], said) == commit


def test_a_pushed_commit_is_repeated_byte_for_byte() -> None:
    stored = SAID._replace(message=b"As pushed\n\nChangeset-Id: 01ARZ3NDEKTSV4RRFFQ69G5FAV\n")
    said = Said(b"P <p@q> 7 +0000", b"Q <q@q> 8 +0000", b"As pushed", b"UTF-16")
    pushed = Pushed.of(PARENT, *said)
    assert projected(TREE, [PARENT], stored, pushed) == write(TREE, [PARENT], said)
    assert projected(TREE, [], stored) == write(TREE, [], SAID._replace(message=b"As pushed\n"))


def test_a_definitions_commit_is_sluices_own_and_never_older_than_the_one_before() -> None:
    for time, expected in ((0, 2), (1, 2), (3, 3)):
        tree, said = read(defined(EMPTY_TREE, [PARENT], SAID, time))
        assert (tree, said.author) == (EMPTY_TREE, b"Sluice <sluice@localhost> %d +0000" % expected)
        assert said.committer == said.author and said.message == b"Change the paths of this slice\n"


def test_a_part_of_a_change_tells_neither_its_author_nor_its_message() -> None:
    data = part(TREE, [PARENT], SAID._replace(message=b"Rotate the password in secret/", encoding=b"latin-1"))
    line = b"Sluice <sluice@localhost> 2 +0000"
    assert data == write(TREE, [PARENT], Said(line, line, b"The part of a change that has other paths too\n"))
