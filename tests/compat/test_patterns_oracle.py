"""Patterns of `strategies` match what `git check-ignore` matches with the same line in a .gitignore."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.protocol.patterns import PatternError, Patterns, parse
from tests.support.git_oracle import GitOracle

NAMES = ["a", "b", "ab", "a.b", "aab", "-", "]", "ü", "a b", "*", "[", "\\", "a "]
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=5).map("/".join)
CLASSES = [
    "[ab]",
    "[!a]",
    "[^b]",
    "[a-b]",
    "[]a]",
    "[!]a]",
    "[[:alpha:]]",
    "[a[:punct:]-]",
    "[\\]]",
    "[a-\\b]",
    "[+--]",
]
ATOMS = ["a", "b", "a.b", "-", "]", "ü", " ", "?", "*", "**", "***", "\\a", "\\*", "\\[", "\\ ", "\\\\", *CLASSES]
PARTS = st.one_of(
    st.sampled_from(["**", "*", "a", "b", "?", "a*", "*a*", "***"]),
    st.lists(st.sampled_from(ATOMS), max_size=4).map("".join),
)
PATTERNS = st.builds(
    lambda parts, first, last: first + "/".join(parts) + last,
    st.lists(PARTS, min_size=1, max_size=4),
    st.sampled_from(["", "", "/"]),
    st.sampled_from(["", "", "/"]),
)


@pytest.fixture(scope="module")
def git(tmp_path_factory: pytest.TempPathFactory) -> GitOracle:
    return GitOracle(tmp_path_factory.mktemp("git"))


def ignored(git: GitOracle, line: str, paths: list[str], tree: Path) -> list[bool]:
    (git.folder / "info").mkdir(exist_ok=True)
    (git.folder / "info" / "exclude").write_bytes(line.encode() + b"\n")
    ran = subprocess.run(
        ["git", "--work-tree", str(tree), "check-ignore", "--no-index", "--stdin", "-z", "-v", "-n"],
        cwd=tree, env=git.environment, input="\0".join(paths).encode(), capture_output=True, check=False,
    )  # fmt: skip
    assert ran.returncode in (0, 1), ran.stderr
    told = ran.stdout.split(b"\0")
    return [bool(source) for source in told[0:-1:4]]


def quirk(line: str) -> bool:
    """Tell whether Git drops what has no wildcards at the front before it looks at stars, so that they stand first."""
    front = line[: min((line.find(each) for each in "*?[\\" if each in line), default=len(line))]
    return "/" in line[:-1] and line[len(front) :].startswith("**") and front[-1:] not in ("", "/")


@given(PATTERNS, st.lists(PATHS, min_size=1, max_size=30, unique=True))
@settings(max_examples=1000, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
def test_a_pattern_matches_what_git_ignores(git: GitOracle, line: str, paths: list[str]) -> None:
    if not line.strip() or quirk(line):
        return
    tree = git.folder / "tree"
    tree.mkdir(exist_ok=True)
    found = ignored(git, line, paths, tree)
    try:
        patterns = Patterns([parse(line.encode())])
    except PatternError:
        assert not any(found), line
        return
    assert [patterns.last(path.encode()) is not None for path in paths] == found, (line, paths)
