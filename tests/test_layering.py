"""Imports point one way, the core is pure, and the environment is read where it is written down here.

Every module is read as a syntax tree, imports inside functions too. A failure names file, line and rule.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.sources import PRODUCT, ROOT, modules, nodes

PACKAGES = PRODUCT

# What a package must not import.
FORBIDDEN = {
    "storage": {
        "app",
        "tasks",
        "celeryconfig",
        "flask",
        "werkzeug",
        "celery",
        "kombu",
        "marshmallow",
        "click",
        "gevent",
    },
    "tasks": {"app", "flask", "werkzeug", "marshmallow", "click", "gevent"},
    "app": {"tests", "benchmarks"},
}

# Our packages from the ground up, each with the earlier ones that it may import and does; "git" is storage.git.
_TABLE = {
    "storage.base": "",
    "storage.metrics": "",
    "storage.backends": "base metrics",
    "storage.git": "base",
    "storage.access": "git",
    "storage.webhooks": "access",
    "storage.mirrors": "base git webhooks",
    "storage.log": "base metrics backends git access webhooks mirrors",
    "storage.projection": "base git log",
    "storage.view": "base backends git log access webhooks mirrors",
    "storage.coordination": "base metrics backends log view",
    "storage.claims": "base git view",
    "storage.lookup": "base backends git log view",
    "storage.queue": "base backends git log view coordination lookup",
    "storage.repository": "base backends git access log view coordination claims lookup queue",
    "storage.clones": "base backends git log projection view lookup repository",
    "storage.moves": "base git log view lookup repository",
    "storage.commit": "access base metrics backends git log view coordination lookup queue repository moves",
    "storage.operations": "access base backends git log view queue repository commit webhooks moves lookup mirrors",
    "storage.maintenance": "base backends git log view lookup queue repository clones commit coordination",
    "storage.importing": "base git log view coordination lookup repository commit",
    "tasks.node": "base backends view coordination repository",
    "tasks": "base metrics backends log view coordination queue repository commit operations maintenance tasks.node",
    "tasks.mirrors": "base metrics backends git clones view coordination queue repository operations mirrors tasks",
    "tasks.webhooks": "access base metrics backends log view coordination queue repository operations webhooks tasks",
    "app.client": "base git",
    "app.protocol": "base backends git log queue webhooks mirrors",
    "app.judge": "base git",
    "app.access": "base backends git access log view claims queue repository app.protocol",
    "app.shares": "base backends access app.access",
    "app.folder": "base git app.client app.judge",
    "app.follow": "base git mirrors app.client app.folder",
    "app.tracing": "tasks",
    "app.downloads": "base backends git lookup repository",
    "app.intake": (
        "base metrics backends git access log view lookup queue repository moves commit operations tasks app.protocol "
        "app.access app.shares app.tracing"
    ),
    "app.service": (
        "base metrics backends log view coordination claims queue repository mirrors app.protocol app.access "
        "app.shares app.intake"
    ),
    "app.listening": "",
    "app.guard": "backends access app.access app.shares app.service",
    "app.gateway": (
        "access base metrics backends git log projection view coordination queue repository operations clones "
        "app.protocol app.access app.shares app.intake app.service app.listening"
    ),
    "app.openapi": "access base git webhooks log app.protocol app.access app.guard mirrors",
    "app.routes": (
        "base backends git access webhooks mirrors log view coordination claims lookup queue operations tasks "
        "app.protocol app.access app.shares app.downloads app.intake app.service app.guard app.openapi"
    ),
    "app.admin": (
        "base backends git log view lookup queue repository moves commit operations webhooks mirrors maintenance "
        "app.judge"
    ),
    "app.stack": "access base backends view coordination",
    "app.demo": "base git app.client app.protocol app.judge app.admin",
    "app.console": "base app.client app.stack",
    "app.commands": (
        "access base git repository maintenance importing mirrors app.client app.judge app.folder app.follow app.admin "
        "app.stack app.demo app.console"
    ),
    "app.api": (
        "base backends git coordination lookup repository commit operations tasks app.protocol app.access "
        "app.shares app.tracing app.intake app.service app.guard app.routes"
    ),
    "app.serving": "base backends tasks app.protocol app.service app.listening",
    "app.cli": "app.console",
    "app.main": "app.cli",
}  # fmt: skip
MAY_IMPORT = {
    step: {other if "." in other or other == "tasks" else f"storage.{other}" for other in others.split()}
    for step, others in _TABLE.items()
}
# Modules in the folders of packages that are steps of their own.
ENTRY_POINTS = {
    "storage.repository",
    "app.api",
    "app.guard",
    "app.listening",
    "app.tracing",
    "app.serving",
    "app.cli",
    "app.main",
}
MOST_FILES = 14
LONGEST = 400

# The pure core: values in, values out.
PURE = {
    "app.admin.submitters",
    "app.gateway.receive.commits",
    "app.gateway.receive.small.complete",
    "app.gateway.receive.small.pack",
    "app.shares.bucket",
    "app.protocol.changesets.submissions",
    "storage.access.covering",
    "storage.access.identities",
    "storage.access.policy",
    "storage.access.rights",
    "storage.access.tokens",
    "storage.base.batched",
    "storage.base.errors",
    "storage.commit.base_resolver",
    "storage.commit.decide",
    "storage.commit.footprint",
    "storage.commit.link",
    "storage.commit.merged_blobs",
    "storage.commit.prove",
    "storage.commit.records",
    "storage.git.imported.deltas",
    "storage.git.fsck",
    "storage.git.gitmodules",
    "storage.git.objects",
    "storage.git.packs",
    "storage.git.paths",
    "storage.git.threeway",
    "storage.git.trailers",
    "storage.git.tree_editor",
    "storage.git.trees",
    "storage.log.entry",
    "storage.log.entry_bundles",
    "storage.log.events",
    "storage.log.facts",
    "storage.log.kinds.base",
    "storage.log.kinds.git",
    "storage.log.manifest",
    "storage.log.records",
    "storage.metrics.definitions",
    "storage.projection.commits",
    "storage.projection.follow",
    "storage.projection.simplify",
    "storage.projection.slice_trees",
    "storage.view.rows",
    "storage.view.snapshot",
    "storage.lookup.tables",
    "storage.moves.trail",
    "storage.mirrors.plan",
    "storage.mirrors.records",
    "storage.mirrors.remotes",
    "storage.webhooks.records",
    "storage.webhooks.signing",
    "storage.webhooks.targets",
}  # fmt: skip
# What it must not touch: servers, clocks, chance, processes, the environment.
IMPURE = {
    "asyncio", "concurrent", "datetime", "gevent", "logging", "minio", "os", "pathlib", "random", "redis", "requests",
    "secrets", "select", "socket", "structlog", "subprocess", "threading", "time", "ulid", "urllib3", "uuid",
}  # fmt: skip
# Names of impure functions that a pure module could import from one that it may.
CHANCE = {"new_ulid"}

# Who may read the environment, and what for. Settings are read in one place; the others hand it on to a child process
# or choose between it and a folder.
ENVIRONMENT = {
    "storage/base/settings.py": "the settings",
    "app/console/options.py": "the settings of a stack's folder, where the environment names no deployment",
    "storage/git/run_git.py": "git's environment",
}

# Where keys of Redis are spelled. All others ask for what stands there, and send no command that takes a key.
KEYED = {
    "storage.backends",
    "storage.view",
    "storage.coordination",
    "storage.claims",
    "storage.queue",
    "storage.lookup.shared_cache",
}
KEYLESS = {"ping", "config_get", "pubsub"}


@dataclass(frozen=True)
class Source:
    """A module of ours."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def module(self) -> str:
        return self.name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def step(self) -> str:
        """The name under which MAY_IMPORT has this module."""
        return step_of(self.module)

    @property
    def package(self) -> str:
        return self.name.split("/")[0]

    @property
    def nodes(self) -> list[ast.AST]:
        """Every node of its syntax tree."""
        return nodes(self.path)

    def imports(self) -> Iterator[tuple[int, str, set[str]]]:
        """Line, module, and the names taken from it."""
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name, set()) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name}:{node.lineno}: imports are absolute"
                yield node.lineno, node.module or "", {alias.name for alias in node.names}


def step_of(module: str) -> str:
    if module in ENTRY_POINTS:
        return module
    top = ".".join(module.split(".")[:2])
    return top if (ROOT / top.replace(".", "/")).is_dir() else module.split(".")[0]


SOURCES = [Source(path) for path in modules(*PACKAGES)]
MODULES = {source.module for source in SOURCES}
CORE = [source for source in SOURCES if source.module in PURE]


def of_each(sources: list[Source]) -> Callable[[Callable[[Source], list[str]]], Callable[[], None]]:
    """Make a rule, which lists what one module breaks, a test of all these modules."""

    def made(rule: Callable[[Source], list[str]]) -> Callable[[], None]:
        def test() -> None:
            assert [line for source in sources for line in rule(source)] == []

        test.__name__ = rule.__name__
        return test

    return made


@of_each(SOURCES)
def test_imports_point_from_app_to_tasks_to_storage(source: Source) -> list[str]:
    return [
        f"{source.name}:{line}: {source.package} must not import {module}"
        for line, module, _ in source.imports()
        if module.split(".")[0] in FORBIDDEN[source.package]
    ]


def ours_in(source: Source) -> Iterator[tuple[int, str]]:
    """Line and module of each import of a module of ours from another step."""
    for line, module, names in source.imports():
        for each in sorted({f"{module}.{name}" for name in names} & MODULES) or [module]:
            if each in MODULES and step_of(each) != source.step:
                yield line, each


@of_each(SOURCES)
def test_each_package_imports_those_that_are_named_beside_it(source: Source) -> list[str]:
    allowed = MAY_IMPORT.get(source.step, set())
    return [
        f"{source.name}:{line}: {source.step} must not import {module}"
        for line, module in ours_in(source)
        if step_of(module) not in allowed and module not in PACKAGES
    ]


def test_packages_are_named_from_the_ground_up_and_only_as_they_import():
    steps = list(MAY_IMPORT)
    for position, (step, others) in enumerate(MAY_IMPORT.items()):
        assert others <= set(steps[:position]), f"{step} comes before what it imports"
    found: dict[str, set[str]] = {step: set() for step in steps}
    for source in SOURCES:
        if source.step in found:
            found[source.step] |= {step_of(module) for _, module in ours_in(source)} - {"app", "storage"}
    assert found == MAY_IMPORT


def exports_of(source: Source) -> set[str]:
    """The names in a package's __all__."""
    for node in source.nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


# Packages that others use by the names they export; the rest are entered module by module (decision 0043).
EXPORTS = {
    source.module: names for source in SOURCES if source.path.name == "__init__.py" and (names := exports_of(source))
}


@of_each(SOURCES)
def test_packages_that_export_names_are_used_by_them(source: Source) -> list[str]:
    wrong = []
    for line, module, names in source.imports():
        package, _, last = module.rpartition(".")
        # A function may have its module's name: then the package cannot export it.
        if package in EXPORTS and source.step != step_of(module) and names != {last}:
            wrong.append(f"{source.name}:{line}: {module}: import from {package}, which exports its public names")
    return wrong


def test_every_exported_name_is_used_outside_of_its_package():
    used = {
        (module, name)
        for source in SOURCES
        for _, module, names in source.imports()
        if module in EXPORTS and source.step != step_of(module)
        for name in names
    }
    assert {(module, name) for module, names in EXPORTS.items() for name in names} - used == set()


def test_folders_and_modules_are_small():
    folders = sorted({source.path.parent for source in SOURCES} | set(ROOT.glob("storage/*/lua")))
    wrong = [
        f"{folder.relative_to(ROOT)}: {count} files, {MOST_FILES} at most"
        for folder in folders
        if (count := sum(path.is_file() for path in folder.iterdir())) > MOST_FILES
    ]
    wrong += [
        f"{source.name}: {count} lines, {LONGEST} at most"
        for source in SOURCES
        if (count := len(source.path.read_text().splitlines())) > LONGEST
    ]
    assert wrong == []


@of_each(CORE)
def test_the_core_takes_values_and_returns_values(source: Source) -> list[str]:
    wrong = []
    for line, module, names in source.imports():
        ours = {f"{module}.{name}" for name in names} & MODULES or {module} & MODULES
        wrong += [f"{source.name}:{line}: {other} is not pure" for other in sorted(ours - PURE - {"storage.base.ids"})]
        wrong += [f"{source.name}:{line}: {name} is chance" for name in names & CHANCE]
        if module.split(".")[0] in IMPURE:
            wrong.append(f"{source.name}:{line}: a pure module must not import {module}")
    return wrong


def test_every_module_of_the_core_is_there():
    assert {source.module for source in CORE} == PURE


@of_each(SOURCES)
def test_the_environment_is_read_in_few_places(source: Source) -> list[str]:
    wrong = [
        f"{source.name}:{node.lineno}: {node.attr}: settings come from storage.base.settings.load"
        for node in source.nodes
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv", "putenv"}
        if isinstance(node.value, ast.Name) and node.value.id == "os"
    ]
    wrong += [
        f"{source.name}:{line}: settings come from storage.base.settings.load"
        for line, module, names in source.imports()
        if module == "os" and names & {"environ", "environb", "getenv"}
    ]
    return [] if source.name in ENVIRONMENT else wrong


def test_no_test_module_is_imported():
    wrong = [
        f"{path.relative_to(ROOT)}:{text[: found.start()].count(chr(10)) + 1}: what tests share stands in tests/support"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for text in [path.read_text()]
        for found in re.finditer(r"^ *(from|import) tests[\w.]*(\.| import (\([^)]*?|[^(\n]*?)\b)test_", text, re.M)
    ]
    assert wrong == []


def spelled_keys(source: Source) -> Iterator[tuple[int, str]]:
    """Line and text of each access by which a module reaches the view's keys, or Redis beside the view."""
    for node in source.nodes:
        if not isinstance(node, ast.Attribute):
            continue
        owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
        of_view = owner in {"view", "_view"} and (node.attr in {"key", "prefix", "scripts"} or node.attr[0] == "_")
        raw = owner in {"redis", "_redis"} and isinstance(node.value, ast.Attribute) and node.attr not in KEYLESS
        if of_view or raw:
            yield node.lineno, f"{owner}.{node.attr}"


@of_each(SOURCES)
def test_keys_of_redis_are_spelled_by_the_view_and_the_queues_alone(source: Source) -> list[str]:
    wrong = [
        f"{source.name}:{line}: {text}: a method of the view or the queue names what stands under a key"
        for line, text in spelled_keys(source)
    ]
    return [] if source.step in KEYED or source.module in KEYED else wrong


UNTYPED = re.compile(r"\bJson\b|\b(dict|Mapping|MutableMapping)\[str, (Any|object)\]")
# Public functions of storage that take or return untyped records all the same, and why.
MAY_BE_UNTYPED = {
    "storage/access/identities.py:principal": "claims, of which an issuer may make any; only texts and numbers count",
    "storage/base/settings.py:given": "fields of Settings by name, which Settings itself checks",
}


@of_each([source for source in SOURCES if source.package == "storage"])
def test_no_untyped_record_crosses_a_border_of_storage(source: Source) -> list[str]:
    wrong = []
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name == "__init__"):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            texts = [ast.unparse(note) for note in [*(a.annotation for a in arguments), node.returns] if note]
            if f"{source.name}:{node.name}" not in MAY_BE_UNTYPED:
                wrong += [
                    f"{source.name}:{node.lineno}: {text}: a record of storage/log"
                    for text in texts
                    if UNTYPED.search(text)
                ]
    return wrong
