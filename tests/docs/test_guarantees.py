"""docs/guarantees.md names a test for each promise; here it is held to that."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.harness.report import HEADING
from tests.support.sources import ROOT, statements

PAGE = (ROOT / "docs" / "guarantees.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)


@cache
def functions(file: str) -> set[str]:
    return {node.name for node in statements(ROOT / file) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED)), ids=lambda each: each.rpartition("/")[2])
def test_a_test_that_is_named_exists(file: str, name: str) -> None:
    assert not name or name in functions(file)


def test_every_row_names_a_test() -> None:
    promises, _, _ = PAGE.partition(HEADING)  # behind it are the harness's figures
    rows = [
        line for line in promises.splitlines() if line.startswith("| ") and not line.startswith(("| answer", "| part"))
    ]
    assert len(rows) > 15
    assert [row for row in rows if "`tests/" not in row] == []
