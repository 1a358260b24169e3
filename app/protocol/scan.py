"""A scan of a JSON body before it is parsed: how many values it has, and how deep they are.

A parser makes an object for each value: 64 MiB of `{},` take a gigabyte and seconds. Counting runs mostly in C code:
strings are removed from a window of the body at once, and the remaining punctuation is counted. It is not a parser: for
invalid JSON it may return anything, since json refuses that afterwards, within these limits.
"""

import re

from storage.base.errors import Refused

# Bytes that are looked at with one call; at least two, since an escape has two.
_WINDOW = 256 << 10
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_WHOLE = re.compile(rb'(?:[^"]*+"[^"\\]*+(?:\\.[^"\\]*+)*+")*+[^"]*+', re.DOTALL)
_REST = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SIGNS = (b",", b":", b"[", b"{")
# A number of more characters says nothing that one of these could not, and takes long to read.
MAX_NUMBER = 1000
_LONG_NUMBER = re.compile(rb"[-+.0-9eE]{%d}" % (MAX_NUMBER + 1))
MAX_DEPTH = 100
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class TooMany(Refused):
    """A body has more in it than anything that is asked for could have."""


class TooLarge(Refused):
    """A body has a value that is nested too deeply, or a number that is too long, for anything that is asked for."""


def scan(body: bytes, most: int) -> None:
    """Look at a body, which may have `most` values, names and signs between them. Raises TooMany and TooLarge."""
    count, depth, at = 0, 0, 0
    while at < len(body):
        window = body[at : at + _WINDOW]
        whole = _WHOLE.match(window)
        assert whole is not None  # it may be empty
        between, strings = _STRING.subn(b"", whole[0])
        at += len(window)
        if whole.end() < len(window):  # a string goes on behind this window
            at = _end_of_string(body, at - len(window) + whole.end() + 1)
            strings += 1
        count += strings + sum(between.count(sign) for sign in _SIGNS)
        if count > most:
            raise TooMany(f"has more values than a request may have ({most})")
        if _LONG_NUMBER.search(between):
            raise TooLarge(f"has a number of more than {MAX_NUMBER} characters")
        depth = _depth(between.translate(None, _NOT_BRACKETS), depth)


def _end_of_string(body: bytes, at: int) -> int:
    """Return where the string ends in which `at` stands, not behind a backslash of its own."""
    while at < len(body):
        if match := _REST.match(body, at, at + _WINDOW):
            return match.end()
        window = body[at : at + _WINDOW]
        backslashes = len(window) - len(window.rstrip(b"\\"))
        at += len(window) - (backslashes % 2 if len(window) == _WINDOW else 0)
    return len(body)


def _depth(brackets: bytes, depth: int) -> int:
    """Return the depth behind these brackets. Raises TooLarge."""
    if depth + len(brackets) <= MAX_DEPTH:  # however they are ordered
        return depth + 2 * (brackets.count(b"[") + brackets.count(b"{")) - len(brackets)
    for bracket in brackets:
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise TooLarge("is nested too deeply")
    return depth
