"""The types of problems: those that the code makes, those of the table, and those of docs/problems.md are the same."""

from __future__ import annotations

import re
from pathlib import Path

from app.openapi.document import EVERYWHERE, FAMILIES
from app.openapi.problem_types import TYPES, in_html, in_markdown
from app.protocol.problems import TYPE_PREFIX, http_problem
from app.serving import _STATUSES

ROOT = Path(__file__).parents[3]
MADE = re.compile(r"(?:\bProblem|super\(\)\.__init__)\(\s*(\d{3}),\s*\"([a-z-]+)\"")
# What HTTP itself refuses: what gunicorn's parser finds, and what Flask and werkzeug raise.
OF_HTTP = {400, 404, 405, 406, 413, *_STATUSES.values()}


def made() -> dict[str, int]:
    """Return the types that the code has, with their statuses."""
    found = {
        name: int(status)
        for path in sorted((ROOT / "app").rglob("*.py"))
        for status, name in MADE.findall(path.read_text())
    }
    return found | {http_problem(status).slug: status for status in OF_HTTP}


def test_every_type_that_the_code_makes_is_in_the_table_and_no_other() -> None:
    assert made() == {name: kind.status for name, kind in TYPES.items()}


def test_titles_are_those_of_the_code() -> None:
    http = {problem.slug: problem.title for problem in map(http_problem, OF_HTTP - {404})}
    assert http == {name: TYPES[name].title for name in http}
    sources = [path for path in sorted((ROOT / "app").rglob("*.py")) if path.name != "problem_types.py"]
    code = "".join(path.read_text() for path in sources)
    own = {name: kind.title for name, kind in TYPES.items() if name not in http}
    assert [name for name, title in own.items() if f'"{name}", "{title}"' not in code] == []


def test_the_page_has_a_section_for_each() -> None:
    page = (ROOT / "docs" / "problems.md").read_text()
    assert page == in_markdown(), "python -m app.openapi.problem_types > docs/problems.md"
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == list(TYPES)
    html = in_html()
    assert [name for name in TYPES if f'<h2 id="{name}">' not in html] == []
    assert TYPE_PREFIX in page and TYPE_PREFIX in html


def test_every_type_is_one_that_an_operation_has() -> None:
    named = {name for family in FAMILIES for each in family.operations.values() for name in each.problems}
    # Of a URL without a route, or a method that it lacks, no operation is to blame.
    assert {*named, *EVERYWHERE, "unauthorized", "forbidden", "method-not-allowed"} == set(TYPES)
