"""Every error of ours says by its class what a caller does about it."""

from __future__ import annotations

import ast
import builtins

from storage.base.errors import Refused, Unavailable, ViewAbsent
from tests.support.sources import PRODUCT, ROOT, modules, statements


def is_exception(name: str) -> bool:
    found = getattr(builtins, name, None)
    return isinstance(found, type) and issubclass(found, BaseException)


def test_every_error_grows_on_a_branch():
    roots = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}"
        for path in modules(*PRODUCT)
        for node in statements(path)
        if isinstance(node, ast.ClassDef)
        if any(isinstance(base, ast.Name) and is_exception(base.id) for base in node.bases)
    ]
    assert [root.rpartition(" ")[2] for root in roots] == ["SluiceError"], roots


def test_an_error_without_words_says_what_its_class_does():
    assert str(ViewAbsent()) == "Redis has no view of the log: it was flushed, or is being loaded"
    assert str(ViewAbsent("gone")) == "gone"
    assert issubclass(ViewAbsent, Unavailable) and not issubclass(ViewAbsent, Refused)
