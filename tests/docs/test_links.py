"""Links of the documentation lead somewhere, and files and identifiers that it names are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
# Paths from the root of the repository, as prose names them.
NAMED = re.compile(r"(?<![\w/.])((?:app|tasks|storage|tests|benchmarks|deploy|docs)/[\w/.-]*\.(?:py|lua|md))\b")


def anchors(page: Path) -> set[str]:
    """Return the anchors that a renderer makes of a page's headings."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_named_files_resolve(page: Path) -> None:
    text = page.read_text()
    wrong = []
    for link in LINK.findall(text):
        target, _, anchor = link.partition("#")
        file = page.parent / target if target else page
        if "://" not in link and not (file.exists() and (not anchor or anchor in anchors(file))):
            wrong.append(link)
    wrong += [name for name in NAMED.findall(text) if not (ROOT / name).exists() and not (page.parent / name).exists()]
    assert wrong == []


def test_code_names_pages_that_exist() -> None:
    wrong = []
    for package in ("app", "tasks", "storage", "deploy", "benchmarks"):
        for path in sorted((ROOT / package).rglob("*.py")):
            named = re.findall(r"\bdocs/[\w/-]+\.md\b", path.read_text())
            wrong += [f"{path.relative_to(ROOT)}: {page}" for page in named if not (ROOT / page).exists()]
    assert wrong == []


def test_identifiers_that_pages_name_are_in_the_code() -> None:
    files = [path for path in ROOT.glob("*") if path.suffix in {".py", ".yaml", ".cfg"}]
    for package in ("app", "tasks", "storage", "deploy", "benchmarks", "tests"):
        files += [path for path in (ROOT / package).rglob("*") if path.suffix in {".py", ".lua", ".yaml", ".json"}]
    code = set(re.findall(r"\w+", "\n".join(path.read_text() for path in files)))
    # Decisions are of their day, and the changelog names what has another name now.
    pages = [page for page in PAGES if page.name != "CHANGELOG.md" and page.parent.name != "decisions"]
    named = {page.name: re.findall(r"`([a-z]+(?:_[a-z0-9]+)+)`", page.read_text()) for page in pages}
    missing = [f"{page}: {name}" for page, names in named.items() for name in sorted(set(names) - code)]
    assert missing == []
