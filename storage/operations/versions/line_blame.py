"""Which version of a file each of its lines came with, given the versions: the algorithm of `git blame`. Pure.

As in Git's blame.c: each version in turn gives the lines that it has in common with the one before it to that one,
and keeps the others. What they have in common is what a line diff without context leaves; like Git's, it has the
indent heuristic, and does not look at the texts' common end but for its first line (`trim_common_tail` in
xdiff-interface.c), since that decides where equal lines are matched.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from pygit2 import Patch
from pygit2.enums import DiffOption

_FLAGS = DiffOption.FORCE_TEXT | DiffOption.INDENT_HEURISTIC
_BLOCK = 1024


@dataclass(frozen=True, slots=True, order=True)
class Lines:
    """Lines that follow one another: from the first (counted from 0) in the text that is asked for, and in another."""

    start: int
    source: int
    count: int


class Gap(NamedTuple):
    """Lines of the older text in whose place the newer one has others; counted from 0."""

    old: int
    old_count: int
    new: int
    new_count: int


@dataclass(slots=True)
class Blame:
    """The lines of a text whose origin is still to be found, as they stand in the version that has been reached."""

    open: list[Lines]

    @classmethod
    def of(cls, text: bytes) -> Blame:
        """Begin with all lines of a text."""
        count = count_lines(text)
        return cls([Lines(0, 0, count)] if count else [])

    def step(self, newer: bytes, older: bytes | None) -> list[Lines]:
        """Go on to the version before the one that has been reached, and return the lines that came with this one."""
        if older is None:
            kept, self.open = self.open, []
            return kept
        gaps = gaps_of(older, newer)
        kept, passed = [], []
        at = 0
        for lines in sorted(self.open, key=lambda each: each.source):
            start = lines.source
            end = lines.source + lines.count
            while at and at <= len(gaps) and gaps[at - 1].new + gaps[at - 1].new_count > start:
                at -= 1
            while start < end:
                while at < len(gaps) and gaps[at].new + gaps[at].new_count <= start:
                    at += 1
                gap = gaps[at] if at < len(gaps) else None
                if gap is not None and gap.new <= start:
                    until = min(end, gap.new + gap.new_count)
                    kept.append(Lines(lines.start + start - lines.source, start, until - start))
                else:
                    until = end if gap is None else min(end, gap.new)
                    moved = shift(gaps, at)
                    passed.append(Lines(lines.start + start - lines.source, start + moved, until - start))
                start = until
        self.open = passed
        return kept


def shift(gaps: list[Gap], at: int) -> int:
    """Return by how much the lines behind the first `at` gaps stand later in the older text."""
    if not at:
        return 0
    before = gaps[at - 1]
    return before.old + before.old_count - before.new - before.new_count


def count_lines(text: bytes) -> int:
    """Return how many lines a text has; the last one may have no line feed."""
    return text.count(b"\n") + (bool(text) and not text.endswith(b"\n"))


def gaps_of(old: bytes, new: bytes) -> list[Gap]:
    """Return where two texts differ, in order."""
    if old == new:
        return []
    old, new = _without_common_end(old, new)
    patch = Patch.create_from(old, new, context_lines=0, interhunk_lines=0, flag=_FLAGS)
    gaps = []
    for hunk in patch.hunks:
        # A side without lines is said to begin at the line before it.
        old_start = hunk.old_start - 1 if hunk.old_lines else hunk.old_start
        new_start = hunk.new_start - 1 if hunk.new_lines else hunk.new_start
        gaps.append(Gap(old_start, hunk.old_lines, new_start, hunk.new_lines))
    return gaps


def _without_common_end(old: bytes, new: bytes) -> tuple[bytes, bytes]:
    """Return two texts without the blocks that both end with, but for the rest of the line where these begin."""
    trimmed, smaller = 0, min(len(old), len(new))
    while trimmed + _BLOCK <= smaller:
        ends = len(old) - trimmed, len(new) - trimmed
        if old[ends[0] - _BLOCK : ends[0]] != new[ends[1] - _BLOCK : ends[1]]:
            break
        trimmed += _BLOCK
    if not trimmed:
        return old, new
    line_end = old.find(b"\n", len(old) - trimmed)
    recovered = trimmed if line_end < 0 else line_end + 1 - (len(old) - trimmed)
    cut = trimmed - recovered
    return (old[: len(old) - cut], new[: len(new) - cut]) if cut else (old, new)


def joined(found: Iterable[tuple[Lines, int]]) -> list[tuple[int, int, int]]:
    """Return lines, each with the number of its version, as runs in the order of the text: start, count, version."""
    runs: list[tuple[int, int, int]] = []
    for lines, version in sorted(found):
        if runs and runs[-1][2] == version and runs[-1][0] + runs[-1][1] == lines.start:
            runs[-1] = (runs[-1][0], runs[-1][1] + lines.count, version)
        else:
            runs.append((lines.start, lines.count, version))
    return runs
