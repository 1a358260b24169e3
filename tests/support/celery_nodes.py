"""pytest-celery's nodes: containers where there is a Docker engine, real processes of this machine where there is none.

pytest-celery's nodes wrap containers, and its containers wrap the engine's. `ProcessContainer` stands in for the
engine's: it has the same names, and a process behind them. So everything above is pytest-celery's own, a test says
`celery_setup.worker.kill()`, and it runs on either.

In containers the workers run the image of this repository's Dockerfile, on the host's network: the bucket is a server
of the host either way.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib.util
import signal
import socket
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import celery
import docker
import psutil
import pytest
from docker.errors import DockerException
from pytest_celery import (
    CeleryBrokerCluster,
    CeleryTestBroker,
    CeleryTestSetup,
    CeleryTestWorker,
    CeleryWorkerCluster,
    CeleryWorkerContainer,
    RedisContainer,
    RedisTestBroker,
)

from app.stack import commands
from app.stack.processes import Command, Supervisor
from app.stack.servers import redis_server
from storage.base.settings import Settings, dump, environment

ROOT = Path(__file__).parents[2]
IMAGE = "sluice:test"
CHILDREN = 2
"""Of each node, as a deployment has them."""


@functools.cache
def docker_engine() -> docker.DockerClient | None:
    """The Docker engine, if one answers."""
    try:
        return docker.from_env(version="auto", timeout=5)  # asks the engine for its version
    except DockerException:
        pass
    # The client leaves its socket open when it finds nobody. It is collected here and now, where the warning about it
    # can be distinguished from one about ours.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    return None


class ProcessContainer:
    """A process under the names of docker.models.containers.Container: what pytest-celery uses of them."""

    def __init__(self, supervisor: Supervisor, command: Command) -> None:
        self.name = command.name
        self.id = command.name
        supervisor.start(command)
        self._process = supervisor.processes[command.name]
        self.reload()

    @property
    def status(self) -> str:
        return "running" if self._process.running else "exited"

    def reload(self) -> None:
        self.attrs = {
            "State": {"Pid": self._process.pid or 0},
            "NetworkSettings": {"Networks": {}, "Ports": {}},
            "HostConfig": {"PortBindings": {}},
        }

    def kill(self, sent: str | int | None = None) -> None:
        """Send a signal. Like `docker kill`, return at once, but for SIGKILL, which leaves nothing to wait for."""
        number = signal.Signals[sent] if isinstance(sent, str) else signal.Signals(sent or signal.SIGKILL)
        pid = self._process.send(number)
        if number == signal.SIGKILL:
            assert self._process.await_end(pid, timeout=60)

    def restart(self, timeout: float = 10) -> None:
        self._process.stop()
        self._process.start()
        self._process.await_ready()

    def logs(self) -> bytes:
        """What was logged since the last start: what an earlier life logged would pass for this one's."""
        return self._process.logs().encode()


class ProcessRedisContainer(RedisContainer):
    """The broker where there is no engine: its port is the host's own."""

    url_of_process: str

    def __init__(self, raw: ProcessContainer, url: str) -> None:
        super().__init__(raw)
        self.url_of_process = url

    @property
    def hostname(self) -> str:
        return "127.0.0.1"

    @property
    def port(self) -> int:
        return int(self.url_of_process.rsplit(":", 1)[1].split("/")[0])

    @property
    def url(self) -> str:
        return self.url_of_process

    @property
    def host_url(self) -> str:
        return self.url_of_process


class SluiceWorkerContainer(CeleryWorkerContainer):
    """A worker node of Sluice, in a container or not."""

    queue: str

    @classmethod
    def version(cls) -> str:
        return celery.__version__

    @classmethod
    def worker_name(cls) -> str:
        return cls.__name__.removesuffix("Container").lower()

    @classmethod
    def worker_queue(cls) -> str:
        return cls.queue


class CommitsContainer(SluiceWorkerContainer):
    """The node that commits."""

    queue = "commits"


class MergesContainer(SluiceWorkerContainer):
    """The node that merges and keeps up."""

    queue = "merges,upkeep"


class SluiceWorker(CeleryTestWorker):
    """A worker node; its Celery name ends in the container's name."""

    def hostname(self) -> str:
        return f"{self.worker_name}@{self.container.name}"

    def get_running_processes_info(
        self, columns: list[str] | None = None, filters: dict[str, str] | None = None
    ) -> list[dict]:
        """The node's processes as the host sees them: neither way has pytest-celery's helper inside."""
        self.container.reload()
        pid = self.container.attrs["State"]["Pid"]
        if not pid:
            return []
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        rows = []
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):  # a child that has ended meanwhile
                rows.append(process.as_dict(columns or ["pid", "name", "cmdline"]))
        return [row for row in rows if all(row.get(key) == value for key, value in (filters or {}).items())]

    def those_that_stay(self) -> list[int]:
        """The ids of the node and its children, when what a child forks for a moment is not there."""
        until = time.monotonic() + 60
        while True:
            rows = self.get_running_processes_info(["pid", "status"])
            pids = [row["pid"] for row in rows if row["status"] != psutil.STATUS_ZOMBIE]
            if len(pids) == 1 + CHILDREN or time.monotonic() > until:
                return pids
            time.sleep(0.05)


class SluiceSetup(CeleryTestSetup):
    """Broker and workers; no result backend, as nothing reads results."""

    @classmethod
    def name(cls) -> str:
        return "sluice"


@pytest.fixture
def celery_setup_cls() -> type[CeleryTestSetup]:
    return SluiceSetup


@pytest.fixture
def celery_backend_cluster() -> None:
    return None


@pytest.fixture
def celery_processes(tmp_path: Path) -> Iterator[Supervisor]:
    """What keeps the nodes that are processes; not restarted, as containers are not."""
    with Supervisor(tmp_path / "nodes", restart=False, abrupt=True) as supervisor:
        yield supervisor


@pytest.fixture
def celery_broker(request: pytest.FixtureRequest, tmp_path: Path) -> CeleryTestBroker:
    """A Redis of the test's own, for the broker and everything else that Sluice keeps in Redis."""
    if docker_engine():
        return request.getfixturevalue("celery_redis_broker")
    supervisor = request.getfixturevalue("celery_processes")
    server = redis_server(tmp_path / "broker", name=f"redis-{uuid.uuid4().hex[:12]}")
    container = ProcessContainer(supervisor, server.command)
    return RedisTestBroker(ProcessRedisContainer(container, server.settings["redis_url"]))


@pytest.fixture
def celery_settings(celery_broker_cluster: CeleryBrokerCluster, s3: dict[str, str], repository: str) -> Settings:
    """The settings of the nodes; a test that wants others overrides this."""
    [url] = celery_broker_cluster.config()["host_urls"]
    return Settings(repository=repository, redis_url=url, **s3)


@pytest.fixture
def celery_setup_app(celery_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> celery.Celery:
    """An application with the repository's own celeryconfig.py, for the test to send with."""
    for name, text in dump(celery_settings).items():
        monkeypatch.setenv(name, text)
    spec = importlib.util.spec_from_file_location("celeryconfig_of_test", ROOT / "celeryconfig.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    app = celery.Celery("sluice", set_as_current=False)
    app.config_from_object(module, force=True)
    return app


@pytest.fixture(scope="session")
def celery_image() -> str:
    """The image of the Dockerfile; only where there is an engine."""
    engine = docker_engine()
    assert engine
    engine.images.build(path=str(ROOT), tag=IMAGE, rm=True)
    return IMAGE


@pytest.fixture
def celery_node(
    request: pytest.FixtureRequest, celery_settings: Settings, celery_setup_app: celery.Celery
) -> Iterator[Callable[..., SluiceWorker]]:
    """Start a worker node: `celery_node(CommitsContainer)`; `environ` is added to its environment."""
    with contextlib.ExitStack() as nodes:

        def start(kind: type[SluiceWorkerContainer], **environ: str) -> SluiceWorker:
            name = f"{kind.worker_name()}-{uuid.uuid4().hex[:12]}"
            argv = commands.worker(celery_settings.commit_workers) if kind is CommitsContainer else commands.merger()
            argv = [part.replace("%h", name) for part in argv]
            run = _in_container if docker_engine() else _as_process
            container = kind(run(request, nodes, name, argv, celery_settings, environ))
            return SluiceWorker(container, celery_setup_app)

        yield start


@pytest.fixture
def celery_worker(celery_worker_cluster: CeleryWorkerCluster) -> SluiceWorker:
    """The node that commits."""
    return celery_worker_cluster[0]


@pytest.fixture
def celery_worker_cluster(celery_node: Callable[..., SluiceWorker]) -> Iterator[CeleryWorkerCluster]:
    """The two kinds of node that a deployment has: the one that commits, and the one that merges and keeps up."""
    cluster = CeleryWorkerCluster(celery_node(CommitsContainer), celery_node(MergesContainer))
    assert cluster.ready()
    yield cluster
    cluster.teardown()


def _as_process(
    request: pytest.FixtureRequest,
    nodes: contextlib.ExitStack,
    name: str,
    argv: list[str],
    settings: Settings,
    environ: dict[str, str],
) -> ProcessContainer:
    supervisor: Supervisor = request.getfixturevalue("celery_processes")
    folder = request.getfixturevalue("tmp_path") / name
    folder.mkdir()
    more = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environ}

    def ready() -> bool:
        return "ready." in supervisor.processes[name].logs()

    command = Command(name, commands.runnable(argv), environment(settings, more), folder, ready)
    return ProcessContainer(supervisor, command)


def _in_container(
    request: pytest.FixtureRequest,
    nodes: contextlib.ExitStack,
    name: str,
    argv: list[str],
    settings: Settings,
    environ: dict[str, str],
) -> Any:
    engine = docker_engine()
    assert engine
    raw = engine.containers.run(
        request.getfixturevalue("celery_image"),
        argv,
        name=name,
        hostname=socket.gethostname(),
        environment={**dump(settings), **environ},
        network_mode="host",
        detach=True,
    )
    nodes.callback(raw.remove, force=True)
    return raw
