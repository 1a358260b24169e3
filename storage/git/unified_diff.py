"""The unified diff of two versions of a file, as Git shows it. Pure."""

import re
from dataclasses import dataclass

from pygit2 import Patch
from pygit2.enums import DiffOption

from storage.git.paths import quoted
from storage.git.threeway import is_binary

CONTEXT = 3
"""Unchanged lines shown around a change."""

_FLAGS = DiffOption.FORCE_TEXT | DiffOption.INDENT_HEURISTIC  # Git's default; what is binary is decided here
_HUNK = re.compile(rb"^@@ ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class LineDiff:
    """How two texts differ; of binary ones nothing else is shown."""

    binary: bool
    additions: int | None = None
    deletions: int | None = None
    patch: bytes | None = None  # empty where the contents are the same


def line_diff(path: bytes, old: bytes | None, new: bytes | None, source: bytes | None = None) -> LineDiff:
    """Return how the contents of a file differ, which was at `source` before; None is a file that is not there."""
    before, after = old or b"", new or b""
    if is_binary(before) or is_binary(after):
        return LineDiff(binary=True)
    if before == after:
        return LineDiff(False, 0, 0, b"")
    patch = Patch.create_from(before, after, context_lines=CONTEXT, interhunk_lines=0, flag=_FLAGS)
    _, additions, deletions = patch.line_stats
    data = patch.data
    first = _HUNK.search(data)
    assert first is not None, "texts that differ have a hunk"
    heads = (b"--- " + _name(b"a/", path if source is None else source, old), b"+++ " + _name(b"b/", path, new))
    return LineDiff(False, additions, deletions, b"%b\n%b\n" % heads + data[first.start() :])


def _name(side: bytes, path: bytes, content: bytes | None) -> bytes:
    """Return a file's name as a header has it: quoted where it has unusual bytes, and ended where it has blanks."""
    if content is None:
        return b"/dev/null"
    name = quoted(side + path)
    return name + b"\t" if b" " in name and not name.startswith(b'"') else name
