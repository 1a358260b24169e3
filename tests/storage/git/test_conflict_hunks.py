"""What a conflict's explanation promises: places that are true, and markers that Git would have written."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from storage.git import conflict_hunks as module
from storage.git.conflict_hunks import Explainer, Explanation, Hunk, lines_of
from storage.git.merge_tree import GitMerger, MergeTooSlow, Texts

EXPLAINER = Explainer()
GIT = GitMerger()
SIDES = ("base", "ours", "theirs")


def explain(base: bytes | None, ours: bytes, theirs: bytes) -> Explanation:
    found = EXPLAINER.explain(base, ours, theirs)
    assert found is not None
    return found


def shown(hunk: Hunk) -> list[tuple[int, bytes]]:
    return [(each.start, b"|".join(each.lines)) for each in (hunk.base, hunk.ours, hunk.theirs)]


def choose(marked: bytes, side: str, size: int = 7) -> bytes:
    """Resolve every hunk of a marked text for one side, read as a user's tool would."""
    chosen, state = [], ""
    for line in marked.split(b"\n"):
        marker = line[:size] if len(set(line[:size])) == 1 and len(line) >= size else b""
        match marker[:1]:
            case b"<":
                state = "ours"
            case b"|":
                state = "base"
            case b"=":
                state = "theirs"
            case b">":
                state = ""
            case _ if state in ("", side):
                chosen.append(line)
    return b"\n".join(chosen)


def test_a_hunk_says_where_it_stands_in_all_three_texts() -> None:
    base = b"a\nb\nc\nd\ne\nf\n"
    found = explain(base, b"new\na\nb\nC\nd\ne\nf\n", b"a\nb\nX\nY\nd\ne\n")
    assert [shown(hunk) for hunk in found.hunks] == [[(3, b"c"), (4, b"C"), (3, b"X|Y")]]
    assert found.marked == (b"new\na\nb\n<<<<<<< head\nC\n||||||| base\nc\n=======\nX\nY\n>>>>>>> submitted\nd\ne\n"), (
        "what one side alone changed is merged"
    )


@pytest.mark.parametrize(
    ("about", "base", "ours", "theirs", "hunks"),
    [
        ("deleted by one side", b"a\nb\nc\n", b"a\nc\n", b"a\nX\nc\n", [[(2, b"b"), (2, b""), (2, b"X")]]),
        ("inserted by both", b"a\nc\n", b"a\n1\nc\n", b"a\n2\nc\n", [[(2, b""), (2, b"1"), (2, b"2")]]),
        ("at the end", b"a\n", b"a\n1\n", b"a\n2\n", [[(2, b""), (2, b"1"), (2, b"2")]]),
        ("all of it", b"a\n", b"", b"b\n", [[(1, b"a"), (1, b""), (1, b"b")]]),
        ("no newline at the end", b"a\nb", b"a\n1", b"a\n2\n", [[(2, b"b"), (2, b"1"), (2, b"2")]]),
        ("carriage returns", b"a\r\nb", b"a\r\n1", b"a\r\n2\r\n", [[(2, b"b"), (2, b"1"), (2, b"2\r")]]),
        ("not UTF-8", b"\xff\nb\n", b"\xff\n\xfe\n", b"\xff\n\xfd\n", [[(2, b"b"), (2, b"\xfe"), (2, b"\xfd")]]),
        ("both added it", None, b"1\n", b"2\n3", [[(1, b""), (1, b"1"), (1, b"2|3")]]),
        ("one is empty", None, b"", b"2\n", []),
        ("no conflict", b"a\nb\nc\n", b"A\nb\nc\n", b"a\nb\nC\n", []),
        (
            "lines that repeat",
            b"x\na\nx\n",
            b"x\na\nx\n1\n",
            b"x\na\nx\na\nx\n2\n",
            [[(4, b""), (4, b"1"), (4, b"a|x|2")]],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hunks(
    about: str, base: bytes | None, ours: bytes, theirs: bytes, hunks: list[list[tuple[int, bytes]]]
) -> None:
    assert [shown(hunk) for hunk in explain(base, ours, theirs).hunks] == hunks


def test_where_lines_repeat_a_hunk_still_stands_where_its_lines_are() -> None:
    # theirs puts "a x" before; a shortest diff may take the hunk's own x for the new one.
    base, ours, theirs = b"x\na\n1\n", b"x\na\nx\n", b"x\na\nx\na\n2\n"
    [hunk] = explain(base, ours, theirs).hunks
    assert shown(hunk) == [(3, b"1"), (3, b"x"), (3, b"x|a|2")]


def test_markers_are_longer_than_anything_that_looks_like_one() -> None:
    base, ours, theirs = b"=======\na\n", b"=======\n<<<<<<<<<\n", b"=======\n||||||| no\n"
    found = explain(base, ours, theirs)
    assert found.marked == (
        b"=======\n<<<<<<<<<< head\n<<<<<<<<<\n|||||||||| base\na\n==========\n||||||| no\n>>>>>>>>>> submitted\n"
    )
    assert shown(found.hunks[0]) == [(2, b"a"), (2, b"<<<<<<<<<"), (2, b"||||||| no")]


def test_markers_follow_the_ends_of_lines() -> None:
    found = explain(b"a\r\nb\r\n", b"a\r\n1\r\n", b"a\r\n2\r\n")
    assert found.marked == (b"a\r\n<<<<<<< head\r\n1\r\n||||||| base\r\nb\r\n=======\r\n2\r\n>>>>>>> submitted\r\n")


def test_what_cannot_be_shown_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_MARKER_BYTES", 100)
    assert EXPLAINER.explain(b"a\n", b"b\n", b"=" * 20 + b"\n") is None
    assert EXPLAINER.explain(b"a\n", b"b\n", b"c\n") is not None

    def slow(texts: list[Texts]) -> None:
        if len(texts) > 1 or b"slow" in texts[0].ours:
            raise MergeTooSlow("too slow")

    explainer = Explainer()
    merge = explainer._git.merge
    monkeypatch.setattr(explainer._git, "merge", lambda texts: slow(texts) or merge(texts))
    first, second = explainer.together([(b"a\n", b"b\n", b"c\n"), (b"a\n", b"slow\n", b"c\n")])
    assert first is not None and second is None, "the others are explained all the same"


def test_a_thousand_hunks_are_told_apart() -> None:
    rows = [b"".join(b"%s%d\nsame %d\n{\n}\n" % (side, i, i) for i in range(1000)) for side in (b"b", b"o", b"t")]
    texts = [b"top\n" + rows[0], b"top\n" + rows[1], b"new\ntop\n" + rows[2]]
    found = explain(texts[0], texts[1], texts[2])
    assert len(found.hunks) == 1000
    assert [shown(hunk) for hunk in found.hunks] == [
        [(4 * i + 2, b"b%d" % i), (4 * i + 2, b"o%d" % i), (4 * i + 3, b"t%d" % i)] for i in range(1000)
    ]
    holds(found, *texts)


def holds(found: Explanation, base: bytes | None, ours: bytes, theirs: bytes) -> None:
    for side, text in zip(SIDES, (base or b"", ours, theirs), strict=True):
        lines, end = lines_of(text), 0
        for hunk in found.hunks:
            part = getattr(hunk, side)
            at = part.start - 1
            assert end <= at <= len(lines), (side, found)
            assert lines[at : at + len(part.lines)] == part.lines, (side, found)
            end = at + len(part.lines)


LINES = st.sampled_from([b"a", b"b", b"x", b"", b"\xff", b"=======", b"<<<<<<< head", b">" * 9])


@st.composite
def texts(draw: st.DrawFn) -> tuple[bytes | None, bytes, bytes]:
    """MergeInputs texts of lines that repeat, two of them made from the first."""
    base = draw(st.lists(LINES, max_size=8))

    def edited() -> list[bytes]:
        lines = list(base)
        for _ in range(draw(st.integers(0, 3))):
            at = draw(st.integers(0, len(lines)))
            lines[at : at + draw(st.integers(0, 2))] = draw(st.lists(LINES, max_size=3))
        return lines

    end = draw(st.sampled_from([b"\n", b"\r\n"]))
    made = [
        end.join(lines) + (draw(st.sampled_from([end, b""])) if lines else b"") for lines in (base, edited(), edited())
    ]
    return (None if draw(st.integers(0, 5)) == 0 else made[0]), made[1], made[2]


@given(texts())
@example((b"a\nb\n" * 4, b"b\na\n" * 4, b"b\nb\na\n" * 3))
def test_lines_are_where_a_hunk_says_and_a_chosen_side_is_as_in_git(
    three: tuple[bytes | None, bytes, bytes],
) -> None:
    found = explain(*three)
    holds(found, *three)
    if any(re.search(rb"(?m)^(?:<{7}|={7}|>{7})", text or b"") for text in three):
        return  # Git's own markers could not be told from the text
    # Git's default style draws hunks closer; what a side gives is the same.
    marked = GIT.merge([Texts(*three)])[0].content
    for side in ("ours", "theirs"):
        assert unended(choose(found.marked, side, 7)) == unended(choose(marked, side, 7))


def unended(text: bytes) -> bytes:
    """Take off the end of the last line: before a marker Git adds one, and the styles have it at different lines."""
    return text.removesuffix(b"\n").removesuffix(b"\r")
