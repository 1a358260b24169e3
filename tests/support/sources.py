"""The code as tests read it: in one process, each file is read and parsed once, however many tests ask."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRODUCT = ("app", "tasks", "storage")
# Fields of a statement that hold others: blocks, and what has blocks itself.
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")


def modules(*tops: str) -> list[Path]:
    """Return the modules in folders of the code base, in order; a name with `.py` is one module."""
    return [path for top in tops for path in ([ROOT / top] if top.endswith(".py") else _below(ROOT / top))]


@cache
def _below(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


@cache
def nodes(path: Path) -> list[ast.AST]:
    """Return every node of a module's syntax tree. It is kept, so ask for those of `PRODUCT` alone."""
    return list(ast.walk(ast.parse(path.read_text(), path.name)))


def statements(path: Path) -> Iterator[ast.AST]:
    """Yield the statements of a module, those in functions and other blocks too: a tenth of all nodes."""
    todo: list[ast.AST] = [ast.parse(path.read_text(), path.name)]
    while todo:
        node = todo.pop()
        yield node
        for block in _BLOCKS:
            inner = getattr(node, block, None)
            todo += inner if isinstance(inner, list) else []
