"""What is on the wire: pkt-lines, and the commands that are answered without a process, as Git answers them."""

from __future__ import annotations

import io
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.wire.bodies import Body
from app.gateway.wire.pkt_lines import DELIMITER, FLUSH, NotPktLines, lines_of, message, pkt
from app.gateway.wire.protocol import Ref, Request, advertisement, command_of, list_bundles, list_refs, read_request
from app.protocol.problems import Problem

MAIN, OTHER = b"1" * 40, b"2" * 40
TAGS = (Ref(b"refs/tags/v1", b"3" * 40, b"4" * 40), Ref(b"refs/tags/v2", b"5" * 40))


@given(st.lists(st.binary(min_size=1, max_size=100).filter(lambda line: not line.endswith(b"\n")), max_size=20))
def test_lines_are_read_as_they_were_written(lines: list[bytes]) -> None:
    assert lines_of(message(lines)) == lines
    assert lines_of(message(line + b"\n" for line in lines)) == lines


@given(st.binary(max_size=200))
def test_any_bytes_are_lines_or_refused(data: bytes) -> None:
    try:
        lines_of(data)
    except NotPktLines:
        return


@pytest.mark.parametrize(
    "data",
    [b"", b"0", b"0003", b"0006ab", b"0000x", b"0006ab00000006", b"-001", b"zz", b"fff1" + b"x" * 65_533 + FLUSH],
)
def test_what_are_no_lines(data: bytes) -> None:
    with pytest.raises(NotPktLines):
        lines_of(data)


def asked(command: bytes, *arguments: bytes, agent: bytes = b"git/2") -> bytes:
    head = pkt(b"command=" + command + b"\n") + pkt(b"agent=" + agent)
    return head + DELIMITER + b"".join(map(pkt, arguments)) + FLUSH


def refs(*arguments: bytes, main: bytes | None = MAIN) -> list[bytes | None]:
    request = read_request(asked(b"ls-refs", *arguments))
    assert request is not None
    return lines_of(list_refs(request, main, TAGS))


def test_refs_are_listed_as_a_client_asks() -> None:
    assert refs() == [MAIN + b" HEAD", MAIN + b" refs/heads/main", *(tag.oid + b" " + tag.name for tag in TAGS)]
    full = refs(b"peel", b"symrefs", b"ref-prefix HEAD", b"ref-prefix refs/tags/v1")
    assert full == [
        MAIN + b" HEAD symref-target:refs/heads/main",
        b"3" * 40 + b" refs/tags/v1 peeled:" + b"4" * 40,
    ]
    assert refs(b"ref-prefix refs/for/") == []
    assert refs(b"ref-prefix HEAD", main=None) == []
    assert refs(b"ref-prefix HEAD", b"unborn", b"symrefs", main=None) == [b"unborn HEAD symref-target:refs/heads/main"]


_NAMES = st.binary(max_size=4).map(lambda end: b"refs/tags/" + end.replace(b"\n", b""))


@given(st.lists(st.one_of(_NAMES, st.binary(max_size=12)), max_size=12), st.sets(_NAMES, max_size=12))
def test_whatever_prefixes_are_asked_for_the_refs_that_begin_so_are_listed(
    prefixes: list[bytes], names: set[bytes]
) -> None:
    asked = [each.replace(b"\n", b"") for each in prefixes]
    request = Request(b"ls-refs", tuple(b"ref-prefix " + each for each in asked))
    tags = [Ref(name, OTHER) for name in sorted(names)]
    shown = tuple(asked) or (b"",)
    expected = [b"HEAD", b"refs/heads/main", *sorted(names)]
    listed = [line.split(b" ", 1)[1] for line in lines_of(list_refs(request, MAIN, tags)) if line]
    assert listed == [name for name in expected if name.startswith(shown)]


class Compared(bytes):
    """A name that counts with how many prefixes it is compared."""

    count = 0

    def startswith(self, prefix: object, *bounds: object) -> bool:
        Compared.count += len(prefix) if isinstance(prefix, tuple) else 1
        return super().startswith(prefix, *bounds)  # type: ignore[arg-type]


def test_each_ref_is_compared_with_one_prefix_however_many_are_asked_for() -> None:
    count = 2000
    request = Request(b"ls-refs", tuple(b"ref-prefix refs/tags/v%d" % number for number in range(5, 5 + count)))
    tags = [Ref(Compared(b"refs/tags/v%d" % number), OTHER) for number in range(count)]
    Compared.count = 0
    listed = lines_of(list_refs(request, MAIN, tags))
    assert len(listed) == count - 1 - 4, "0 to 4 begin with none of them; v5 is one of v50, too"
    assert Compared.count <= count


@pytest.mark.parametrize(
    ("head", "command"),
    [
        (pkt(b"command=fetch\n") + pkt(b"agent=git/2") + DELIMITER, b"fetch"),
        (pkt(b"agent=git/2") + pkt(b"command=ls-refs") + DELIMITER, b"ls-refs"),
        (pkt(b"agent=git/2") + DELIMITER + pkt(b"command=fetch"), b""),
    ],
)
def test_the_command_of_a_large_message_is_known_by_its_beginning(head: bytes, command: bytes) -> None:
    assert command_of(head + pkt(b"ref-prefix " + b"x" * 9000) + b"0100 and something") == command


@pytest.mark.parametrize("head", [pkt(b"agent=git/2") * 20, pkt(b"command=fetch"), b"zzzz", b"0003", b"", FLUSH])
def test_one_that_does_not_say_it_in_time_is_refused(head: bytes) -> None:
    with pytest.raises(NotPktLines):
        command_of(head)


def test_who_a_client_says_it_is_changes_no_answer_and_what_it_asks_for_does() -> None:
    def key(*arguments: bytes, tags: tuple[Ref, ...] = TAGS, agent: bytes = b"git/2") -> str:
        request = read_request(asked(b"fetch", *arguments, agent=agent))
        assert request is not None and request.is_repeatable
        return request.key(tags)

    want = b"want " + MAIN
    assert key(want) == key(want, agent=b"git/3.1") == key(want, tags=())
    others = [key(want, b"deepen 1"), key(want, b"filter tree:0"), key(b"want " + OTHER), key(want, b"want " + OTHER)]
    others += [key(want, b"have " + OTHER), key(want, b"no-progress"), key(want, b"include-tag")]
    assert len({key(want), *others}) == 8
    assert key(want, b"include-tag") != key(want, b"include-tag", tags=TAGS[:1])
    assert key(want + b"\n") == key(want)
    by_ref = read_request(asked(b"fetch", want, b"deepen-not refs/tags/v1"))
    assert by_ref is not None and not by_ref.is_repeatable, "a tag may move"


def test_the_advertisement_says_what_is_answered() -> None:
    lines = lines_of(advertisement(has_bundles=True))
    assert lines[0] == b"version 2" and b"bundle-uri" in lines and b"object-format=sha1" in lines
    assert b"bundle-uri" not in lines_of(advertisement(has_bundles=False))
    assert lines_of(list_bundles({"main": "clone.bundle"}))[2] == b"bundle.main.uri=clone.bundle"
    assert list_bundles({}) == FLUSH


def test_a_body_is_inflated_and_bounded_in_pieces() -> None:
    data = bytes(range(256)) * 4096
    deflater = zlib.compressobj(wbits=31)
    packed = deflater.compress(data) + deflater.flush()
    for encoding, sent in (("", data), ("gzip", packed), ("x-gzip", packed)):
        with Body(io.BytesIO(sent), encoding, len(data)).spool() as file:
            assert file.read() == data
        with pytest.raises(Problem) as refusal:
            Body(io.BytesIO(sent), encoding, len(data) - 1).spool()
        assert refusal.value.status == 413
    body = Body(io.BytesIO(packed), "gzip", len(data))
    assert max(map(len, iter(body.read_piece, b""))) <= 64 << 10, "no piece is large, however well it was deflated"
