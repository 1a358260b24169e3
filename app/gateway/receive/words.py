"""What a client sends before its pack, and what it is told: the words of Git's protocol for pushes. Pure.

gitprotocol-pack(5) and gitprotocol-http(5) have all of it. Ids are hexadecimal here, as they are on the wire.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from storage import __version__
from storage.base.errors import Refused
from storage.base.ids import ObjectId

NO_OBJECT = b"0" * 40
FLUSH = b"0000"
REPORT, PROGRESS = 1, 2
"""Channels of the side-band: what Git reads, and what it shows its user."""

CAPABILITIES = (
    "report-status delete-refs side-band-64k quiet atomic ofs-delta push-options object-format=sha1 "
    f"agent=git/sluice-{__version__}"
)
MOST_COMMANDS = 1000
MOST_OPTIONS = 100
MOST_SHALLOW = 100_000
_MOST_BEFORE_PACK = 8 << 20  # bytes
_LONGEST = 65_520
_PART = 65_515  # of a side-band-64k packet: 5 bytes go to its length and its channel
_COMMAND = re.compile(rb"([0-9a-f]{40}) ([0-9a-f]{40}) ([^\0\n ]+)(?:\0(.*))?\n?", re.DOTALL)
_NOT_SHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_LONGEST_LINE = 400  # characters


class NotUnderstood(Refused):
    """What a client sent is no push."""


class BrokenOff(Refused):
    """The client sent less than it announced."""


@dataclass(frozen=True, slots=True)
class Command:
    """What a client wants of a ref."""

    old: bytes
    new: bytes
    ref: bytes

    @property
    def is_delete(self) -> bool:
        """Whether the ref is to be deleted."""
        return self.new == NO_OBJECT

    @property
    def tip(self) -> ObjectId:
        """The commit that is pushed."""
        return ObjectId(bytes.fromhex(self.new.decode()))


@dataclass(frozen=True, slots=True)
class Request:
    """A push, but for its pack."""

    commands: tuple[Command, ...]
    capabilities: frozenset[bytes]
    options: tuple[str, ...]

    @property
    def has_pack(self) -> bool:
        """Whether a pack follows: deletions have none."""
        return any(not command.is_delete for command in self.commands)


NOTHING = Request((), frozenset(), ())
"""What a client sends that only probes."""


class Reader:
    """Reads a body that comes in pieces: pkt-lines, and then whatever follows."""

    def __init__(self, read_piece: Callable[[], bytes]) -> None:
        """`read_piece` returns the next bytes, none at the end."""
        self._read_piece = read_piece
        self._held = b""

    def line(self) -> bytes | None:
        """Return the next line, None for a flush. Raises NotUnderstood and BrokenOff."""
        try:
            length = int(self._exactly(4), 16)
        except ValueError:
            raise NotUnderstood("there is no length where a line should begin") from None
        if length == 0:
            return None
        if not 4 < length <= _LONGEST:
            raise NotUnderstood(f"a line has a length of {length}")
        return self._exactly(length - 4)

    def rest(self) -> Iterator[bytes]:
        """Yield what follows, in pieces, to the end."""
        held, self._held = self._held, b""
        if held:
            yield held
        while piece := self._read_piece():
            yield piece

    def _exactly(self, count: int) -> bytes:
        while len(self._held) < count:
            piece = self._read_piece()
            if not piece:
                raise BrokenOff
            self._held += piece
        data, self._held = self._held[:count], self._held[count:]
        return data

    @property
    def is_at_end(self) -> bool:
        """Whether nothing follows; it waits for the next bytes to know."""
        if not self._held:
            self._held = self._read_piece()
        return not self._held


def read_request(reader: Reader) -> Request | None:
    """Return what a client wants; None where it only probes. Raises NotUnderstood and BrokenOff."""
    commands: list[Command] = []
    capabilities: frozenset[bytes] = frozenset()
    read = shallow = 0
    while (line := reader.line()) is not None:
        read += len(line)
        if read > _MOST_BEFORE_PACK or len(commands) >= MOST_COMMANDS:
            raise NotUnderstood(f"a push may have {MOST_COMMANDS} refs")
        if line.startswith(b"shallow "):
            # A clone without all of history: what it pushes is complete all the same, or refused.
            shallow += 1
            if shallow > MOST_SHALLOW:
                raise NotUnderstood("the clone has too many shallow commits")
            continue
        match = _COMMAND.fullmatch(line)
        if match is None:
            raise NotUnderstood("signed pushes are not understood" if line.startswith(b"push-cert") else "no command")
        if not commands:
            capabilities = frozenset((match[4] or b"").split())
        commands.append(Command(match[1], match[2], match[3]))
    if not commands:
        return None
    formats = {each for each in capabilities if each.startswith(b"object-format=")}
    if formats - {b"object-format=sha1"}:
        raise NotUnderstood("the object format is sha1 here")
    options = tuple(_options(reader)) if b"push-options" in capabilities else ()
    return Request(tuple(commands), capabilities, options)


def _options(reader: Reader) -> Iterator[str]:
    count = 0
    while (line := reader.line()) is not None:
        count += 1
        if count > MOST_OPTIONS:
            raise NotUnderstood(f"a push may have {MOST_OPTIONS} options")
        try:
            yield line.removesuffix(b"\n").decode()
        except UnicodeDecodeError:
            raise NotUnderstood("a push option is not UTF-8") from None


def pkt(data: bytes) -> bytes:
    """Return one pkt-line."""
    return b"%04x" % (len(data) + 4) + data


def advertisement(main: bytes | None, have: Iterable[bytes], version: int = 0) -> bytes:
    """Return what a client is shown before it pushes: the branch, and other commits that need not be sent.

    Without those a clone that is older than the branch would send all of its history: of `refs/heads/main` it knows
    nothing.
    """
    lines = [b"version 1\n"] if version == 1 else []
    first = b"%s refs/heads/main" % main if main else NO_OBJECT + b" capabilities^{}"
    lines.append(first + b"\0" + CAPABILITIES.encode() + b"\n")
    lines += [b"%s .have\n" % oid for oid in have if oid != main]
    service = pkt(b"# service=git-receive-pack\n") + FLUSH
    return service + b"".join(map(pkt, lines)) + FLUSH


class Told:
    """Puts what a client is told into its form, by what it can read."""

    def __init__(self, capabilities: frozenset[bytes]) -> None:
        self._has_band = b"side-band-64k" in capabilities
        self._wants_report = b"report-status" in capabilities
        self._is_quiet = b"quiet" in capabilities

    def line(self, text: str) -> bytes:
        """Return a line for its user, which Git shows behind `remote:`."""
        return self._band(PROGRESS, one_line(text).encode() + b"\n") if self._has_band else b""

    @property
    def alive(self) -> bytes:
        """What says that the answer is still to come: an empty packet, as Git's receive-pack sends it."""
        return self._band(REPORT, b"") if self._has_band else b""

    def report(self, unpacked: str, results: Iterable[tuple[bytes, str | None]]) -> bytes:
        """Return the end of an answer: what became of the pack (`ok`, or why not) and of each ref (None: taken)."""
        if not self._wants_report:
            return FLUSH if self._has_band else b""
        lines = [f"unpack {one_line(unpacked)}\n".encode()]
        lines += [
            b"ok %s\n" % ref if why is None else b"ng %s %s\n" % (ref, one_line(why).encode()) for ref, why in results
        ]
        data = b"".join(map(pkt, lines)) + FLUSH
        return self._band(REPORT, data) + FLUSH if self._has_band else data

    def _band(self, channel: int, data: bytes) -> bytes:
        parts = [data[at : at + _PART] for at in range(0, len(data), _PART)] or [b""]
        return b"".join(pkt(bytes([channel]) + part) for part in parts)


def one_line(text: str) -> str:
    """Return a text as one line of a terminal, with nothing that could move its cursor or turn its direction."""
    shown = _NOT_SHOWN.sub(" ", text).strip()
    return shown if len(shown) <= _LONGEST_LINE else shown[: _LONGEST_LINE - 1] + "…"
