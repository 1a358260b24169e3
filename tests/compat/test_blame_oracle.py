"""The lines of a file come with the versions that `git blame` says, on random histories of it."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from storage.operations.versions.line_blame import Blame, Lines, count_lines, joined
from tests.support.git_repository import GitRepository

# Few different lines, so that equal ones may be matched in several ways.
WORDS = [b"}", b"", b"  x", b"    y", b"\t}", b"end", b"if a:", b"  return"]


def edited(text: bytes, rng: random.Random) -> bytes:
    lines = text.split(b"\n")
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(lines) + 1)
        new = [rng.choice([*WORDS, b"line %d" % rng.randrange(60)]) for _ in range(rng.randint(0, 4))]
        lines[at : at + rng.randint(0, 4)] = new
    return b"\n".join(lines)


def versions_of(rng: random.Random, count: int) -> list[bytes]:
    filler = b"".join(b"line %d\n" % number for number in range(rng.choice([0, 20, 400])))
    texts = [b"a\n}\n\nb\n}\n" + filler]
    while len(texts) < count:
        texts.append(edited(rng.choice(texts) if rng.random() < 0.1 else texts[-1], rng))
    return texts


def imported(repository: GitRepository, texts: list[bytes]) -> list[str]:
    """Commit each version on the one before it, and return the commits."""
    stream = b""
    for number, text in enumerate(texts, 1):
        stream += b"blob\nmark :%d\ndata %d\n%s\n" % (2 * number, len(text), text)
        stream += b"commit refs/heads/main\nmark :%d\n" % (2 * number + 1)
        stream += b"committer C <c@example.org> %d +0000\ndata 1\nm\n" % (1_700_000_000 + number)
        stream += b"M 100644 :%d f\n\n" % (2 * number)
    repository.git("fast-import", "--quiet", stdin=stream)
    return repository.git("rev-list", "--reverse", "main").splitlines()


def blamed_by_git(repository: GitRepository, commit: str) -> list[str]:
    shown = repository.git("blame", "--line-porcelain", commit, "--", "f")
    return [line[:40] for line in shown.split("\n") if re.match(r"[0-9a-f]{40} [0-9]+ [0-9]+", line)]


def blamed(texts: list[bytes], commits: list[str], last: int) -> list[str]:
    blame, found = Blame.of(texts[last]), list[tuple[Lines, int]]()
    for number in range(last, -1, -1):
        older = texts[number - 1] if number else None
        if older != texts[number]:
            found += [(lines, number) for lines in blame.step(texts[number], older)]
    assert blame.open == []
    return [commits[number] for _, count, number in joined(found) for _ in range(count)]


@pytest.mark.parametrize("seed", range(12))
def test_lines_come_with_the_versions_that_git_says(tmp_path: Path, seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    texts = versions_of(rng, 40)
    repository = GitRepository(tmp_path / "repository")
    commits = imported(repository, texts)
    assert len(commits) == len(texts)
    for last in (0, 1, 7, 20, 39):
        assert blamed(texts, commits, last) == blamed_by_git(repository, commits[last]), (seed, last)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"", b"a\n"), (b"a\n", b""), (b"a", b"a\n"), (b"a\n", b"a\nb"), (b"\n\n\n", b"\n\n"),
        (b"x\n" * 3000, b"x\n" * 3001),
        (b"}\n" * 600 + b"end\n" * 600, b"}\n" * 599 + b"end\n" * 600), (b"a\r\nb\r\n", b"a\nb\r\n"),
    ],
)  # fmt: skip
def test_texts_at_the_edges_are_blamed_as_by_git(tmp_path: Path, old: bytes, new: bytes) -> None:
    repository = GitRepository(tmp_path / "repository")
    commits = imported(repository, [old, new])
    assert blamed([old, new], commits, 1) == blamed_by_git(repository, commits[1])


def test_a_text_has_as_many_lines_as_git_counts() -> None:
    assert [count_lines(text) for text in (b"", b"\n", b"a", b"a\n", b"a\nb", b"a\n\n")] == [0, 1, 1, 1, 2, 2]
