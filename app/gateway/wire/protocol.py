"""Version 2 of Git's protocol, as far as it is answered without a process. Pure; gitprotocol-v2(5) has all of it.

The advertisement says the same to everybody, refs follow from what is read of the store, and bundles from a URL. A
`fetch` is for Git's upload-pack; its request is read here to know which others would be answered by the same bytes.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from app.gateway.wire.pkt_lines import NotPktLines, beginning_of, lines_of, message
from storage import __version__

HEAD, MAIN = b"HEAD", b"refs/heads/main"
AGENT = f"agent=git/sluice-{__version__}".encode()
# Of a client's message: what it says of itself, which changes nothing of an answer.
_OF_ITSELF = (b"agent=", b"session-id=")
_OID = re.compile(rb"[0-9a-f]{40}")
_MOST_PREFIXES = 65_536
# They name refs, which move: the same request has another answer later.
_BY_REF = (b"deepen-not ", b"want-ref ")


@dataclass(frozen=True, slots=True)
class Ref:
    """A ref as it is listed: hexadecimal ids; of an annotated tag also what it is of."""

    name: bytes
    oid: bytes
    peeled: bytes = b""


@dataclass(frozen=True, slots=True)
class Request:
    """One command of a client."""

    command: bytes
    arguments: tuple[bytes, ...]

    @property
    def wants(self) -> frozenset[bytes]:
        """The ids that a fetch asks for, as they stand there."""
        return frozenset(each[5:] for each in self.arguments if each.startswith(b"want "))

    @property
    def is_repeatable(self) -> bool:
        """Whether the same fetch may be answered by the same bytes as long as no tag moves."""
        return self.command == b"fetch" and not any(each.startswith(_BY_REF) for each in self.arguments)

    def key(self, tags: Iterable[Ref]) -> str:
        """Return the same for requests that have the same answer in one store whose tags are these."""
        # Whether objects of tags are sent along follows from the tags.
        known = tags if b"include-tag" in self.arguments else ()
        digest = hashlib.sha256()
        for part in (self.command, *self.arguments, *(b"%s %s" % (tag.name, tag.oid) for tag in known)):
            digest.update(b"%d:%s" % (len(part), part))
        return digest.hexdigest()


def read_request(data: bytes) -> Request | None:
    """Return what a body asks for, None for an empty one, by which a client probes. Raises NotPktLines."""
    lines = lines_of(data)
    if not lines:
        return None
    command, arguments = b"", []
    is_argument = False
    for line in lines:
        if line is None:
            if is_argument:
                raise NotPktLines("there are two delimiters")
            is_argument = True
        elif is_argument:
            arguments.append(line)
        elif line.startswith(b"command="):
            command = line.removeprefix(b"command=")
        elif line.startswith(b"object-format=") and line != b"object-format=sha1":
            raise NotPktLines("the object format is sha1 here")
    if not command:
        raise NotPktLines("it names no command")
    return Request(command, tuple(arguments))


def command_of(data: bytes) -> bytes:
    """Return the command of a message of which this is the beginning. Raises NotPktLines where it is not in there."""
    found = b""
    for line in beginning_of(data):
        if line is None:
            return found
        if line.startswith(b"command="):
            found = line.removeprefix(b"command=")
    raise NotPktLines("what stands before its arguments is too long")


def advertisement(has_bundles: bool) -> bytes:
    """Return what a server that speaks version 2 says first."""
    lines = [b"version 2", AGENT, b"ls-refs=unborn", b"fetch=shallow wait-for-done filter", b"server-option"]
    lines += [b"object-format=sha1", *([b"bundle-uri"] if has_bundles else [])]
    return message(line + b"\n" for line in lines)


def list_refs(request: Request, main: bytes | None, tags: Iterable[Ref]) -> bytes:
    """Answer `ls-refs`: HEAD and the one branch, which may be missing in an empty repository, and tags."""
    wanted = frozenset(request.arguments)
    prefixes = [each.removeprefix(b"ref-prefix ") for each in request.arguments if each.startswith(b"ref-prefix ")]
    if len(prefixes) > _MOST_PREFIXES:
        prefixes = []  # as Git does: it lists all
    return message(line + b"\n" for line in _lines(wanted, _Prefixes(prefixes or [b""]), main, tags))


class _Prefixes:
    """Prefixes of refs, of which a name is compared with one, however many a client sends."""

    def __init__(self, prefixes: Iterable[bytes]) -> None:
        # Sorted, and without those that another one covers: then only the last one before a name can be a prefix of it.
        self._sorted: list[bytes] = []
        for each in sorted(prefixes):
            if not (self._sorted and each.startswith(self._sorted[-1])):
                self._sorted.append(each)

    def cover(self, name: bytes) -> bool:
        """Tell whether one of them is a prefix of a name."""
        at = bisect_right(self._sorted, name)
        return at > 0 and name.startswith(self._sorted[at - 1])


def _lines(wanted: frozenset[bytes], shown: _Prefixes, main: bytes | None, tags: Iterable[Ref]) -> Iterator[bytes]:
    target = b" symref-target:" + MAIN
    if shown.cover(HEAD):
        if main is not None:
            yield main + b" " + HEAD + (target if b"symrefs" in wanted else b"")
        elif b"unborn" in wanted:
            yield b"unborn " + HEAD + (target if b"symrefs" in wanted else b"")
    if main is not None and shown.cover(MAIN):
        yield main + b" " + MAIN
    for tag in tags:
        if shown.cover(tag.name):
            peeled = b" peeled:" + tag.peeled if tag.peeled and b"peel" in wanted else b""
            yield tag.oid + b" " + tag.name + peeled


def list_bundles(bundles: Mapping[str, str]) -> bytes:
    """Answer `bundle-uri`: bundles by a name, with their URLs; each has all that a client needs."""
    lines = [b"bundle.version=1", b"bundle.mode=any"] if bundles else []
    lines += [f"bundle.{name}.uri={url}".encode() for name, url in bundles.items()]
    return message(lines)


def error(text: str) -> bytes:
    """Return what a client shows its user as the server's word, and ends."""
    return message([f"ERR {text}\n".encode()])


def are_ids(wants: Iterable[bytes]) -> bool:
    """Tell whether all of these are ids in full."""
    return all(_OID.fullmatch(each) for each in wants)
