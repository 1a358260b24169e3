"""A scan of a JSON body before it is parsed: how many values it has, and how deep they are.

A parser makes an object for each value: 64 MiB of `{},` take a gigabyte and seconds. Counting runs in C code: escapes
are removed from a window of the body, it is split at the quotes that are left, and what stands outside of strings is
counted. It is not a parser: for invalid JSON it may return anything, since json refuses that afterwards, within these
limits.
"""

import re

from storage.base.errors import Refused

# Bytes that are looked at with one call.
_WINDOW = 256 << 10
_ESCAPES = re.compile(rb'\\[\\"]')
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


def scan(body: bytes, most: int) -> int:
    """Look at a body, which may have `most` values, names and signs between them; return how many names it has.

    Raises TooMany and TooLarge.
    """
    names, count, quotes, depth, at = 0, 0, 0, 0, 0
    while at < len(body):
        end = _window_end(body, at)
        parts = _ESCAPES.sub(b"", body[at:end]).split(b'"')
        between = b'"'.join(parts[quotes % 2 :: 2])
        at, quotes = end, quotes + len(parts) - 1
        in_window = [between.count(sign) for sign in _SIGNS]
        names, count = names + in_window[1], count + sum(in_window)
        if count + (quotes + 1) // 2 > most:
            raise TooMany(f"has more values than a request may have ({most})")
        if _LONG_NUMBER.search(between):
            raise TooLarge(f"has a number of more than {MAX_NUMBER} characters")
        depth = _depth(between.translate(None, _NOT_BRACKETS), depth)
    return names


def _window_end(body: bytes, at: int) -> int:
    """Return where a window ends that begins at `at`, which is not within an escape: nor is the end."""
    window = body[at : at + _WINDOW]
    backslashes = len(window) - len(window.rstrip(b"\\"))
    return at + len(window) + backslashes % 2


def _depth(brackets: bytes, depth: int) -> int:
    """Return the depth behind these brackets. Raises TooLarge."""
    if depth + len(brackets) <= MAX_DEPTH:  # however they are ordered
        return depth + 2 * (brackets.count(b"[") + brackets.count(b"{")) - len(brackets)
    for bracket in brackets:
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise TooLarge("is nested too deeply")
    return depth
