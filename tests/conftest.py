"""What every test may use: real servers, fresh repositories, markers by folder, and a loud list of what was skipped."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from app.service.services import Services
from app.stack import servers as stack_servers
from app.stack.processes import Supervisor
from app.stack.stack import Stack
from benchmarks.toxiproxy import Proxy
from storage.base.collector import collect_rarely
from storage.base.settings import Settings
from storage.coordination import Reporter
from storage.metrics.counts import Counts
from storage.queue import pace
from tests.support.servers import MISSING, REQUIRED, Servers, require, seaweedfs

pytest_plugins = ["tests.support.celery_nodes"]

FOLDERS = ("compat", "faults", "acceptance")
HERE = Path(__file__).parent
# Tests that run on every kind of S3 server, since the answers of the server itself are what they are about: the bucket,
# races for the next entry, listing and deleting, servers that are slow or away, and the whole stack. All others see a
# bucket that keeps this contract, and run on SeaweedFS alone; `--each-s3` and CI run them on the other kinds as well.
S3_CONTRACTS = (
    "storage/backends/test_bucket.py",
    "storage/backends/test_deadline.py",
    "storage/maintenance/test_checkpoints.py",
    "storage/maintenance/test_garbage.py",
    "faults/test_drills.py",
    "faults/test_dying_workers.py",
    "faults/test_harness.py",
    "faults/test_races.py",
    "faults/test_slow_servers.py",
    "faults/test_stopping_api.py",
    "app/admin/test_backup.py",
    "app/stack/test_servers.py",
    "acceptance/",
)
# Tests that take ten seconds to two minutes each, those that take longest first. Each process begins with some of them,
# so that what is left in the end is short.
LONG = (
    "faults/test_harness.py",
    "faults/test_drills.py",
    "faults/test_checker.py",
    "acceptance/test_stack.py",
    "acceptance/",
    "faults/",
    "tasks/webhooks/test_delivery.py",
    "tasks/test_celery_nodes.py",
    "tasks/node/test_heartbeat.py",
    "storage/maintenance/test_compaction.py",
    "compat/test_merge_oracle.py",
    "compat/test_patterns_oracle.py",
    "app/service/test_slow_clients.py",
    "storage/backends/test_primary.py",
)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "compat: Git is the judge (tests/compat)")
    config.addinivalue_line("markers", "faults: something is broken on purpose (tests/faults)")
    config.addinivalue_line("markers", "acceptance: the whole stack, as a user sees it (tests/acceptance)")
    config.addinivalue_line("markers", "servers: needs a real Redis or S3 server (from its fixtures)")
    config.addinivalue_line("markers", "long: seconds of computing, or of waiting; left out of `make check`")
    if os.environ.get("CI") and "PYTEST_XDIST_WORKER" not in os.environ:
        config.pluginmanager.register(AtOnce(config.pluginmanager))
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # Who starts the tests in the background of a shell has it ignored, and every process that a test interrupts.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    # Each process has ports of its own: between a choice and its use, another could choose the same.
    stack_servers._PORTS = stack_servers._PORTS[int(worker) % count :: count]
    # A busy machine may make any example slow, and no test is about time.
    slow = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile("sluice", hypothesis.settings(), deadline=None, suppress_health_check=slow)
    hypothesis.settings.load_profile("sluice")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--each-s3", action="store_true", help="run every test that needs S3 on each kind of server")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Thousands of items stay to the end: Python's collector does not look at them while they are made, nor again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        collect_rarely()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The folder and the fixtures say what a test costs; what is no contract of S3 runs on one kind of it."""
    if not config.getoption("each_s3") and not REQUIRED:
        spared = [item for item in items if _repeats(item)]
        config.hook.pytest_deselected(items=spared)
        items[:] = [item for item in items if not _repeats(item)]
    for item in items:
        top = item.path.relative_to(HERE).parts[0] if item.path.is_relative_to(HERE) else ""
        if top in FOLDERS:
            item.add_marker(top)
        if "servers" in getattr(item, "fixturenames", ()):
            item.add_marker("servers")
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if processes > 1:
        items[:] = _long_first(items, processes)


def _long_first(items: list[pytest.Item], processes: int) -> list[pytest.Item]:
    """Order tests for pytest-xdist's `worksteal`, which gives each process an equal part of the list at first."""

    def rank(item: pytest.Item) -> int:
        name = item.nodeid.removeprefix("tests/")
        return next((number for number, beginning in enumerate(LONG) if name.startswith(beginning)), len(LONG))

    long = sorted((item for item in items if rank(item) < len(LONG)), key=rank)
    short = [item for item in items if rank(item) == len(LONG)]
    ordered: list[pytest.Item] = []
    for process in range(processes):
        size = (len(items) - len(ordered)) // (processes - process)
        part = long[process::processes]
        more = max(0, size - len(part))
        ordered += part + short[:more]
        short = short[more:]
    return ordered + short


def _repeats(item: pytest.Item) -> bool:
    """Return whether the test runs on another kind of S3 server as well, and needs to run on one only."""
    callspec = getattr(item, "callspec", None)
    if callspec is None or callspec.params.get("s3_kind", "seaweedfs") == "seaweedfs":
        return False
    return not item.path.relative_to(HERE).as_posix().startswith(S3_CONTRACTS)


class AtOnce:
    """Prints what failed when it fails: a run that is ended from outside never prints its summary."""

    def __init__(self, plugins: pytest.PytestPluginManager) -> None:
        self._plugins = plugins

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            reporter: Any = self._plugins.getplugin("terminalreporter")
            reporter.ensure_newline()
            reporter.write_line(f"FAILED {report.nodeid} ({report.when})\n{report.longreprtext}")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    missing: dict[str, list[str]] = {}
    for report in terminalreporter.getreports("skipped"):
        _, _, reason = report.longrepr
        if MISSING in reason:
            missing.setdefault(reason.removeprefix("Skipped: "), []).append(report.nodeid)
    for advice, tests in missing.items():
        terminalreporter.section("NOT TESTED ON THIS MACHINE", sep="!", red=True, bold=True)
        terminalreporter.line(advice)
        terminalreporter.line(f"{len(tests)} tests skipped, the first: {tests[0]}")


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """No app of a test outlives it: its threads would log, and call servers that are gone, during other tests."""
    running: list[Services] = []
    start, stop = Services.start, Services.stop

    def started(services: Services) -> None:
        running.append(services)
        start(services)

    def stopped(services: Services) -> None:
        running[:] = [each for each in running if each is not services]
        stop(services)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Services, "start", started)
        patch.setattr(Services, "stop", stopped)
        yield
    for services in list(running):
        stop(services)
        # All tests' connections would be too many.
        services.repo.redis.connection_pool.disconnect()
        services.repo.bucket.s3.http.clear()


@pytest.fixture
def only_this_test_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep threads that earlier tests have left, as those of their APIs, from counting, and from reporting counts."""
    left = {*threading.enumerate()} - {threading.current_thread()}

    def of_this_test(call: Callable[..., None]) -> Callable[..., None]:
        return lambda *args, **more: None if threading.current_thread() in left else call(*args, **more)

    for kind, name in ((Counts, "add"), (Counts, "observe"), (Reporter, "report")):
        monkeypatch.setattr(kind, name, of_this_test(getattr(kind, name)))


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The run's servers; a test asks for `redis_url`, `s3` or `settings` instead."""
    folder = tmp_path_factory.mktemp("servers")
    with Supervisor(folder / "logs", restart=False, abrupt=True) as supervisor:
        yield Servers(folder, supervisor)


@pytest.fixture(scope="session", autouse=True)
def near_store() -> Iterator[None]:
    """In the tests' own process no store counts as far because the machine is busy; those of far ones say otherwise."""
    with pytest.MonkeyPatch.context() as always:
        always.setattr(pace, "FAR", math.inf)
        yield


@pytest.fixture
def repository() -> str:
    """A name that no other test has."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def redis_url(servers: Servers) -> str:
    """A real Redis, shared by all tests: only keys under `repository` are the test's own."""
    return servers.redis()["redis_url"]


@pytest.fixture(params=["seaweedfs", "minio"])
def s3_kind(request: pytest.FixtureRequest) -> str:
    """The kind of S3 server; a test of S3_CONTRACTS runs once on each."""
    if request.param == "minio":
        require("minio", request)
    return request.param


@pytest.fixture
def s3_program(s3_kind: str, request: pytest.FixtureRequest) -> str:
    """The S3 server's program."""
    return require("minio", request) if s3_kind == "minio" else seaweedfs()


@pytest.fixture
def s3(servers: Servers, s3_kind: str, s3_program: str) -> dict[str, str]:
    """The settings (endpoints and keys) of a real S3 server, shared by all tests of a run."""
    return servers.s3(s3_kind, s3_program)


@pytest.fixture
def redis_settings(redis_url: str, repository: str) -> Settings:
    """Settings of a fresh repository for tests that need Redis and no bucket."""
    return Settings(repository=repository, redis_url=redis_url)


@pytest.fixture
def s3_settings(s3: dict[str, str], repository: str) -> Settings:
    """Settings of a fresh repository for tests that need a bucket and no Redis."""
    return Settings(repository=repository, **s3)


@pytest.fixture
def settings(redis_url: str, s3: dict[str, str], repository: str) -> Settings:
    """Settings of a fresh repository on a real Redis and a real S3 server."""
    return Settings(repository=repository, redis_url=redis_url, **s3)


@pytest.fixture
def new_stack(servers: Servers, s3_kind: str, s3_program: str, tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """Start whole stacks of the test's own (keyword arguments as Stack's); stopped at its end."""
    with contextlib.ExitStack() as stacks:

        def start(settings: dict[str, Any] | None = None, **options: Any) -> Stack:
            options.setdefault("data", tmp_path / f"stack-{uuid.uuid4().hex[:6]}")
            options.setdefault("abrupt", True)
            stack = Stack(settings=settings, s3=s3_kind, s3_program=s3_program, **options)
            return stacks.enter_context(stack)

        yield start


@pytest.fixture
def new_proxy(servers: Servers, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Proxy]]:
    """Put a toxiproxy in front of an address (host:port); removed at the test's end."""
    toxiproxy = servers.toxiproxy(require("toxiproxy", request))
    with contextlib.ExitStack() as proxies:

        def start(upstream: str) -> Proxy:
            proxy = toxiproxy.proxy(f"p{uuid.uuid4().hex[:8]}", upstream)
            proxies.callback(proxy.remove)
            return proxy

        yield start
