"""Explaining a content conflict: its hunks, with their line numbers in all three texts, and the text with markers.

Git itself merges, with `merge.conflictStyle` diff3. Every line is given to it with a leading blank, so that no line of
a text can be mistaken for a marker, and the markers can be made as long as the texts require afterwards.

Git does not report the line numbers of a hunk. Choosing one side in every hunk gives that side's text with the clean
changes of the other side, so a line diff between the two texts shows where each hunk came from. If lines repeat, the
diff may choose another occurrence; then the next position with the hunk's lines and room for the others is taken.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from pygit2 import Patch
from pygit2.enums import DiffOption

from storage.git.merge_tree import GitMerger, MergeTooSlow, Texts

MARKER_SIZE = 7
"""Characters of a conflict marker, where no line of the texts begins with so many."""

# Texts made for it could have as many hunks as lines, and need markers as long as a text.
_MAX_MARKER_BYTES = 1 << 20
# Nobody resolves more by hand. Above either a conflict has its text with markers, and no hunks: what a line diff takes
# grows faster than its lines, and nothing else runs in this process meanwhile.
MAX_HUNKS = 1000
MAX_LINES = 50_000
_LABELS = {b"<": b" head", b"|": b" base", b"=": b"", b">": b" submitted"}
_RUN = re.compile(rb"^(?:<{7,}|\|{7,}|={7,}|>{7,})", re.MULTILINE)
_MARKER = re.compile(rb"^([<|=>]).*?(\r?)$", re.MULTILINE)

MergeInputs = tuple[bytes | None, bytes, bytes]
"""The texts of base (None: the file did not exist), head and submission."""


@dataclass(frozen=True, slots=True)
class Lines:
    """One side of a hunk; lines are without the newline that ends them."""

    start: int  # the first line's number, from 1; where there are none, that of the line before which they would stand
    lines: list[bytes]


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines that both sides changed."""

    base: Lines
    ours: Lines  # the head's
    theirs: Lines  # what was submitted


@dataclass(frozen=True, slots=True)
class Explanation:
    """A conflict as an editor shows it; without hunks if Git finds none, because a strategy forbade the merge."""

    hunks: list[Hunk] | None  # None: above MAX_HUNKS, or MAX_LINES in a text
    marked: bytes


class Explainer:
    """Explains conflicts. Safe for threads."""

    def __init__(self, timeout: float = 10.0) -> None:
        self._git = GitMerger(style="diff3", timeout=timeout)

    def explain(self, base: bytes | None, ours: bytes, theirs: bytes) -> Explanation | None:
        """Explain one conflict of texts, not binary; None if Git or the markers take too much. Raises MergerFailed."""
        return next(self.together([(base, ours, theirs)]))

    def together(self, wanted: Sequence[MergeInputs]) -> Iterator[Explanation | None]:
        """Explain each in one run of Git; whoever takes them one by one may let others run. Raises MergerFailed."""
        if not wanted:
            return
        texts = [Texts(None if b is None else _guard(b), _guard(o), _guard(t)) for b, o, t in wanted]
        try:
            merged = self._git.merge(texts)
        except MergeTooSlow:
            yield from [None] if len(wanted) == 1 else (self.explain(*three) for three in wanted)
            return
        for three, merge in zip(wanted, merged, strict=True):
            yield _explanation(three, merge.content)


def lines_of(text: bytes) -> list[bytes]:
    """Return a text's lines as Git counts them, without the newlines that end them."""
    lines = text.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def _guard(text: bytes) -> bytes:
    guarded = (b"\n" + text).replace(b"\n", b"\n ")[1:]
    return guarded if text and not text.endswith(b"\n") else guarded[:-1]


def _unguard(text: bytes) -> bytes:
    return (b"\n" + text).replace(b"\n ", b"\n")[1:]


@dataclass(slots=True)
class _Piece:
    """A part of a merged text: clean lines, the same on all sides, or a hunk."""

    clean: bool
    base: list[bytes]
    ours: list[bytes]
    theirs: list[bytes]


def _explanation(three: MergeInputs, merged: bytes) -> Explanation | None:
    size = max((len(run) + 1 for text in three for run in _RUN.findall(text or b"")), default=MARKER_SIZE)
    hunks = (b"\n" + merged).count(b"\n<")
    if hunks * len(_LABELS) * (size + len(_LABELS[b">"])) > _MAX_MARKER_BYTES:
        return None
    most_lines = max(text.count(b"\n") for text in three if text is not None)
    shown = hunks <= MAX_HUNKS and most_lines <= MAX_LINES
    return Explanation(_hunks(three, merged) if shown else None, _marked(merged, size))


def _hunks(three: MergeInputs, merged: bytes) -> list[Hunk]:
    pieces = list(_pieces(lines_of(merged)))
    base, ours, theirs = (lines_of(text or b"") for text in three)
    if pieces and not pieces[-1].clean:
        # Git ends a hunk's last line, for the marker behind it, where the text does not.
        last = pieces[-1]
        for text, of_text, side in zip(three, (base, ours, theirs), (last.base, last.ours, last.theirs), strict=True):
            if side and text and not text.endswith(b"\n"):
                side[-1] = of_text[-1]
    sides = zip(
        _hunks_of_side(base, [(piece.clean, piece.base) for piece in pieces]),
        _hunks_of_side(ours, [(piece.clean, piece.ours) for piece in pieces]),
        _hunks_of_side(theirs, [(piece.clean, piece.theirs) for piece in pieces]),
        strict=True,
    )
    return [Hunk(*lines) for lines in sides]


def _marked(merged: bytes, size: int) -> bytes:
    """Return a merged text without the blanks, with markers of `size`."""
    parts, at = [], 0
    for marker in _MARKER.finditer(merged):
        sign, ending = marker.groups()
        # Where lines end with a carriage return, Git's markers do so too.
        parts += [_unguard(merged[at : marker.start()]), sign * size, _LABELS[sign], ending]
        at = marker.end()
    return b"".join([*parts, _unguard(merged[at:])])


def _pieces(lines: Iterable[bytes]) -> Iterator[_Piece]:
    """Read a merged text whose content has a blank before each line."""
    shared: list[bytes] = []
    piece = _Piece(True, shared, shared, shared)
    into = shared
    for line in lines:
        match line[:1]:
            case b"<":
                if piece.ours:
                    yield piece
                piece = _Piece(False, [], [], [])
                into = piece.ours
            case b"|":
                into = piece.base
            case b"=":
                into = piece.theirs
            case b">":
                yield piece
                into = []
                piece = _Piece(True, into, into, into)
            case _:
                into.append(line[1:])
    if piece.ours:
        yield piece


def _hunks_of_side(text: list[bytes], pieces: Sequence[tuple[bool, list[bytes]]]) -> list[Lines]:
    """Return the hunks of one side with their positions in its text, given the side's lines in every piece."""
    chosen: list[bytes] = []
    hunks: list[tuple[int, list[bytes]]] = []  # with the position in `chosen`
    for clean, lines in pieces:
        if not clean:
            hunks.append((len(chosen), lines))
        chosen += lines
    blocks = _common(chosen, text)
    guesses = [_counterpart(blocks, at, len(lines), len(text)) for at, lines in hunks]
    wanted = [lines for _, lines in hunks]
    if not _fits(text, wanted, guesses):
        guesses = _next_positions(text, wanted, guesses)
    return [Lines(at + 1, lines) for at, lines in zip(guesses, wanted, strict=True)]


_Block = tuple[int, int, int]
"""Lines that two texts have in common: where they begin in the one and in the other, and how many."""


def _common(old: list[bytes], new: list[bytes]) -> list[_Block]:
    """Return what two texts have in common, in order."""
    if old == new:
        return [(0, 0, len(old))]
    patch = Patch.create_from(_text(old), _text(new), context_lines=0, flag=DiffOption.FORCE_TEXT)
    blocks, at, there = [], 0, 0
    for hunk in patch.hunks:
        # A side without lines is named by the line before.
        end = hunk.old_start - (1 if hunk.old_lines else 0)
        blocks.append((at, there, end - at))
        at = end + hunk.old_lines
        there = hunk.new_start - (1 if hunk.new_lines else 0) + hunk.new_lines
    return [*blocks, (at, there, len(old) - at)]


def _counterpart(blocks: list[_Block], at: int, count: int, end: int) -> int:
    """Return where the `count` lines at `at` of one text probably stand in the other."""
    i = bisect_right(blocks, at, key=lambda block: block[0]) - 1
    begin, there, length = blocks[i]
    if at < begin + length or (at == begin + length and (length or not count)):
        return there + at - begin
    return blocks[i + 1][1] if i + 1 < len(blocks) else end


def _fits(text: list[bytes], wanted: Sequence[list[bytes]], positions: Sequence[int]) -> bool:
    """Tell whether all the lines stand at their positions, one behind the other."""
    end = 0
    for lines, at in zip(wanted, positions, strict=True):
        if at < end or text[at : at + len(lines)] != lines:
            return False
        end = at + len(lines)
    return True


def _next_positions(text: list[bytes], wanted: Sequence[list[bytes]], guesses: Sequence[int]) -> list[int]:
    """Return positions in order that have all the lines: the first from each guess on that leave room for the others.

    Reads the text twice, whatever repeats in it: bytes.find takes time linear in what it passes.
    """
    # Line i begins behind the newline at ends[i].
    whole, ends = b"\n" + _text(text), list(accumulate((len(line) + 1 for line in text), initial=0))
    mirror, latest, bound = whole[::-1], [], len(whole)
    for lines in reversed(wanted):
        needle = b"\n" + _text(lines)
        offset = mirror.index(needle[::-1], len(whole) - bound)
        first = len(whole) - offset - len(needle)
        latest.append(first)
        bound = first + 1
    positions, after = [], 0
    for lines, guess, last in zip(wanted, guesses, reversed(latest), strict=True):
        needle = b"\n" + _text(lines)
        offset = whole.index(needle, max(after, min(ends[guess], last)))
        positions.append(bisect_right(ends, offset) - 1)
        after = offset + len(needle) - 1
    return positions


def _text(lines: Iterable[bytes]) -> bytes:
    return b"".join([line + b"\n" for line in lines])
