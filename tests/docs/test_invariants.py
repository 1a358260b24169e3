"""docs/invariants.md and the modules that cite an invariant by its number agree."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECTIONS = re.split(r"^## ", (ROOT / "docs" / "invariants.md").read_text(), flags=re.MULTILINE)[1:]
KEPT_BY = {int(text.split(".")[0]): set(re.findall(r"`((?:app|storage|tasks)/[\w/]+\.py)`", text)) for text in SECTIONS}
CITATION = re.compile(r"\binvariants? (\d+)(?: and (\d+))?")


@cache
def citations() -> dict[int, set[str]]:
    """Return the modules that cite each number."""
    cited: dict[int, set[str]] = {}
    for package in ("app", "tasks", "storage"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for numbers in CITATION.findall(path.read_text()):
                for number in filter(None, numbers):
                    cited.setdefault(int(number), set()).add(path.relative_to(ROOT).as_posix())
    return cited


def test_invariants_are_numbered_from_one() -> None:
    assert list(KEPT_BY) == list(range(1, len(SECTIONS) + 1))


@pytest.mark.parametrize("number", sorted(KEPT_BY))
def test_the_modules_that_keep_an_invariant_cite_it_and_no_others_do(number: int) -> None:
    assert citations().get(number, set()) == KEPT_BY[number]


def test_no_other_invariant_is_cited() -> None:
    assert citations().keys() <= KEPT_BY.keys()


@pytest.mark.parametrize("section", SECTIONS, ids=lambda text: text.split(".")[0])
def test_each_invariant_names_the_test_that_fails_when_it_is_broken(section: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", section)
    assert named
    assert [name for file, name in named if f"def {name}(" not in (ROOT / file).read_text()] == []
