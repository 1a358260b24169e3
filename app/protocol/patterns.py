"""Gitignore patterns, all of a changeset's at once: which of them match a path, in time linear in the path.

A backtracking regular expression takes time that grows with the path's length to the power of its stars. Here the
patterns are one automaton that does not backtrack: an integer with a bit for each position of a pattern that may have
been reached, and a few operations on it for each byte of a path (the extended Shift-And of Navarro and Raffinot,
Flexible Pattern Matching in Strings, chapter 4). The rules are those of Git's wildmatch.c and dir.c, on bytes;
tests/compat/test_patterns_oracle.py compares them with Git.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from storage.base.errors import BadInput

_SLASH = ord("/")
_NO_SLASH = frozenset(range(256)) - {_SLASH}
_SPACES = b" \t\n\v\f\r"
# As Git's sane_ctype.h has them, whatever the locale.
_CLASSES: dict[bytes, Callable[[int], bool]] = {
    b"alnum": lambda c: c < 128 and chr(c).isalnum(),
    b"alpha": lambda c: c < 128 and chr(c).isalpha(),
    b"blank": lambda c: c in b" \t",
    b"cntrl": lambda c: c < 32 or c == 127,
    b"digit": lambda c: 48 <= c <= 57,
    b"graph": lambda c: 32 < c < 127,
    b"lower": lambda c: 97 <= c <= 122,
    b"print": lambda c: 32 <= c < 127,
    b"punct": lambda c: 32 < c < 127 and not chr(c).isalnum(),
    b"space": lambda c: c in _SPACES,
    b"upper": lambda c: 65 <= c <= 90,
    b"xdigit": lambda c: c in b"0123456789abcdefABCDEF",
}


class PatternError(BadInput):
    """A text is no pattern, or one that could match nothing."""


# What a position in a pattern takes: one byte of a set, or one of these.
_STAR = "*"  # any bytes of one part
_PARTS = "**/"  # any parts, each with its slash
_REST = "**"  # all that follows
_Token = frozenset[int] | str


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern, read."""

    tokens: tuple[_Token, ...]
    folders: bool  # it ends in a slash: only what is below a match counts


def parse(line: bytes) -> Pattern:
    """Read one line of a .gitignore that is neither a comment nor negated. Raises PatternError."""
    line = _trim(line)
    folders = line.endswith(b"/")
    line = line[:-1] if folders else line
    if not line.strip(b"/"):
        raise PatternError("names no file")
    anchored = b"/" in line
    tokens = _tokens(line.removeprefix(b"/"), anchored)
    return Pattern(tuple(tokens if anchored else [_PARTS, *tokens]), folders)


class Patterns:
    """Some patterns, to be matched together."""

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self._takes = [0] * 256  # by byte: the positions that take it and are passed
        self._stays = [0] * 256  # by byte: the positions that take it and may take more
        self._skips = 0  # the positions that may take nothing
        self._spreads = 0  # of those that stay: the ones that may end behind any byte
        self._files = self._folders = start = 0
        self._ends: list[int] = []
        at = 0
        for pattern in patterns:
            start |= 1 << at
            for token in pattern.tokens:
                self._add(token, 1 << at)
                at += 1
            self._ends.append(1 << at)
            self._folders |= 1 << at
            self._files |= 0 if pattern.folders else 1 << at
            at += 1
        for _ in range(2):  # as in `last`
            start |= (start & self._skips) << 1
        self._start = start

    def last(self, path: bytes) -> int | None:
        """Return the position of the last pattern that matches a file's path, or a directory above it; else None."""
        positions, matched = self._start, 0
        takes, stays, skips, spreads, folders = self._takes, self._stays, self._skips, self._spreads, self._folders
        for byte in path:
            if byte == _SLASH:
                matched |= positions & folders
            passed = (positions & takes[byte]) << 1
            # After `**/` a star may stand, so two are skipped at most.
            passed |= (passed & skips) << 1
            passed |= (passed & skips) << 1
            stayed = positions & stays[byte]
            positions = passed | stayed | (stayed & spreads) << 1
        matched |= positions & self._files
        # The ends stand in order, so the highest bit is the last pattern's.
        return self._ends.index(1 << matched.bit_length() - 1) if matched else None

    def _add(self, token: _Token, position: int) -> None:
        if isinstance(token, frozenset):
            for byte in token:
                self._takes[byte] |= position
            return
        self._skips |= position
        for byte in _NO_SLASH if token == _STAR else range(256):
            self._stays[byte] |= position
        if token == _PARTS:
            self._takes[_SLASH] |= position
        else:
            self._spreads |= position


def _trim(line: bytes) -> bytes:
    """Drop the spaces at a line's end, but for one behind a backslash."""
    bare = line.rstrip(b" ")
    escapes = len(bare) - len(bare.rstrip(b"\\"))
    return line[: len(bare) + 1] if escapes % 2 else bare


def _tokens(line: bytes, anchored: bool) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(line):
        byte = line[at : at + 1]
        if byte == b"*":
            end = at + len(line[at:]) - len(line[at:].lstrip(b"*"))
            whole = (
                anchored and end - at > 1 and line[at - 1 : at] in (b"", b"/") and line[end : end + 1] in (b"", b"/")
            )
            token: _Token = _STAR if not whole else _PARTS if end < len(line) else _REST
            at = end + (token == _PARTS)
            if token != _PARTS or tokens[-1:] != [_PARTS]:
                tokens.append(token)
        elif byte == b"[":
            token, at = _class(line, at + 1)
            tokens.append(token)
        else:
            if byte == b"\\":
                at += 1
                if at == len(line):
                    raise PatternError("ends in a backslash")
            tokens.append(_NO_SLASH if byte == b"?" else frozenset(line[at : at + 1]))
            at += 1
    return tokens


def _class(line: bytes, at: int) -> tuple[frozenset[int], int]:
    """Return the bytes of the class that begins at `at`, and where it ends; it never has the slash."""
    negated = line[at : at + 1] in (b"!", b"^")
    at += negated
    first, before = at, -1  # the byte that a range may begin with
    members: set[int] = set()
    while True:
        byte = line[at : at + 1]
        if byte == b"]" and at > first:
            break
        if line.startswith(b"[:", at):
            end = line.find(b"]", at + 2)
            name = line[at + 2 : end - 1]
            if end > at + 2 and line[end - 1 : end] == b":":
                if name not in _CLASSES:
                    raise PatternError("has a class of characters that there is not")
                members |= {c for c in range(256) if _CLASSES[name](c)}
                at, before = end + 1, -1
                continue
        if byte == b"-" and before >= 0 and line[at + 1 : at + 2] not in (b"", b"]"):
            last, at = _plain(line, at + 1)
            if last < before:
                raise PatternError("has a range whose end is before its beginning")
            members |= set(range(before, last + 1))
            before = -1
            continue
        before, at = _plain(line, at)
        members.add(before)
    return (_NO_SLASH - members if negated else frozenset(members) - {_SLASH}), at + 1


def _plain(line: bytes, at: int) -> tuple[int, int]:
    """Return a byte that stands for itself in a class, maybe behind a backslash, and where it ends."""
    at += line[at : at + 1] == b"\\"
    if at >= len(line):
        raise PatternError("has a [ without its ]")
    return line[at], at + 1
