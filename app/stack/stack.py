"""A whole Sluice on this machine: Redis, an S3 server, the API, the workers, beat and Flower.

The processes are those of any deployment (app/stack/commands.py) and know nothing of this class: it gives them
`SLUICE_*` settings, as compose.yaml does.
"""

from __future__ import annotations

import dataclasses
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

from kombu import Connection
from kombu.exceptions import OperationalError
from kombu.pidbox import Mailbox

import app
from app.stack import commands, state
from app.stack.commands import SERVERS
from app.stack.environment import save_environment
from app.stack.fronts import Front
from app.stack.health import answers, ask_health, is_at_work
from app.stack.log_files import Rotation
from app.stack.processes import Command, NotReady, Process, ProcessFailed, Supervisor
from app.stack.servers import (
    S3_PORTS,
    Server,
    find_redis,
    find_s3,
    free_ports,
    redis_server,
    reserved,
    s3_server,
)  # fmt: skip
from storage.access.tokens import hash_of
from storage.base.settings import Settings, environment

_ASK_TIMEOUT = 2.0
# Seconds within which all is well again after one process was restarted, and between two looks whether it is.
_FIT_PATIENCE, _FIT_EVERY = 90.0, 0.1
FLOWER_USER = "sluice"
PORTS = 4 + S3_PORTS
"""Ports of a stack: the API's, Flower's, Redis' and the gateway's, and those of the S3 server."""


class Stack:
    """Everything, started by `start` or `with`, and stopped by `stop` or at the end of the `with`.

    Processes are named redis, s3, api, gateway, worker (commits), merger (merges and upkeep), sender (webhooks and
    mirrors), beat and flower.
    """

    def __init__(
        self,
        data: Path | None = None,
        settings: Mapping[str, Any] | None = None,
        *,
        s3: str = "auto",
        s3_program: str | None = None,
        host: str = "127.0.0.1",
        api_port: int = 0,
        flower_port: int = 0,
        workers: int = 2,
        with_flower: bool = True,
        flower_tasks: int = commands.FLOWER_TASKS,
        with_beat: bool = True,
        restart: bool = True,
        abrupt: bool = False,
        environ: Mapping[str, str] | None = None,
        with_tokens: bool = False,
        with_webhooks: bool = False,
        with_gateway: bool = False,
        git_port: int = 0,
    ) -> None:
        """Describe a stack; nothing runs yet.

        `data` is kept (None: a temporary folder, removed with the stack); `settings` are fields of Settings
        other than those of the servers; port 0 is any free one; `host` is for the API alone, everything else stays
        on the loopback; `environ` is given to the processes in addition to their settings;
        `abrupt` stops with SIGKILL, as a stack with a temporary folder is always stopped; `with_tokens` gives it a root
        token, without which nobody is let in who has no other one, and Redis a password; `with_webhooks` gives it a key
        for webhooks, a folder for mirrors, and a process that calls and pushes; `with_gateway` gives it a gateway, at
        the API's address.
        """
        self._data = data
        self._overrides = dict(settings or {})
        self._s3 = s3
        self._s3_program = s3_program
        self._host = host
        self._api_port, self._flower_port = api_port, flower_port
        self._workers = workers
        self._with_flower, self._with_beat = with_flower, with_beat
        self._flower_tasks = flower_tasks
        self._restart = restart
        self._abrupt = abrupt or data is None
        self._environ = dict(environ or {})
        self._with_tokens = with_tokens
        self._with_webhooks = with_webhooks
        self._with_gateway, self._git_port = with_gateway, git_port
        self._webhook_key = ""
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._lock: IO[str] | None = None
        self._supervisor: Supervisor | None = None
        self._fronts: dict[str, Front] = {}  # of the processes that clients reach
        self.data = data or Path()
        self.settings = Settings()
        self.flower_password = ""
        self.token: str | None = None  # the root token, where it has one
        self.s3_kind = ""
        # Whether the data folder was empty before this start.
        self.fresh = True

    @property
    def url(self) -> str:
        """Where the API answers."""
        return f"http://{_reachable(self._host)}:{self._api_port}"

    @property
    def git_url(self) -> str:
        """Where the gateway answers."""
        return f"http://{_reachable(self._host)}:{self._git_port}"

    @property
    def flower_url(self) -> str:
        """Where Flower answers, to FLOWER_USER and `flower_password`."""
        return f"http://127.0.0.1:{self._flower_port}"

    @property
    def processes(self) -> dict[str, Process]:
        """The processes by name."""
        return self._supervisor.processes if self._supervisor else {}

    def start(self) -> Stack:
        """Start everything and wait until all of it answers. On failure, what was started is stopped."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop everything, first the processes that write, and unlock the data folder (a temporary one is removed)."""
        for front in self._fronts.values():
            front.close()
        if self._supervisor:
            running = self._supervisor.processes
            self._supervisor.stop(*[name for name in reversed(running) if name not in SERVERS])
            self._supervisor.stop(*[name for name in SERVERS if name in running])
            self._supervisor.end()
        if self._lock:
            self._lock.close()
            self._lock = None
        if self._temporary:
            self._temporary.cleanup()
            self._temporary = None

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to a process and return its id. With `restart` the stack starts it again when it has ended."""
        return self.processes[name].send(number)

    def halt(self, name: str) -> None:
        """Stop one process and leave it stopped, until `resume`."""
        self.processes[name].stop()

    def resume(self, name: str) -> None:
        """Start a process again that was halted, or killed with `restart` off; waits until it answers."""
        self.processes[name].start()
        self.processes[name].await_ready()

    def restart(self, *names: str) -> Iterator[tuple[str, float]]:
        """Restart processes (all of them, in the order of their start), and yield each with the seconds that it took.

        Requests fail only with a 503, and most wait or notice nothing: a new API process accepts connections before
        the old one stops, and /v1/health has to be healthy again before the next process is stopped.
        Raises ProcessFailed if one does not come back.
        """
        assert self._supervisor
        for name in names or list(self.processes):
            began = time.monotonic()
            if front := self._fronts.get(name):
                front.replace(partial(self._front_command, name), self._supervisor.replace)
            else:
                self.halt(name)
                self.resume(name)
            self.await_health(f"{name} was restarted")
            yield name, time.monotonic() - began

    def await_health(self, event: str) -> None:
        """Wait until /v1/health is healthy again after an event. Raises ProcessFailed if it stays unhealthy."""
        until = time.monotonic() + _FIT_PATIENCE
        while True:
            try:
                ask_health(self.url, "beat" in self.processes, self.token)
                return
            except NotReady as answer:
                if time.monotonic() > until:
                    late = f"{_FIT_PATIENCE:g} seconds after {event}"
                    raise ProcessFailed(f"the deployment is not healthy {late} ({answer})") from None
            time.sleep(_FIT_EVERY)

    def __enter__(self) -> Stack:
        """Start it."""
        return self.start()

    def __exit__(self, *exc: object) -> None:
        """Stop it."""
        self.stop()

    def _start(self) -> None:
        self._check()
        flower_port = self._flower_port if self._with_flower else 0
        git_port = self._git_port if self._with_gateway else 0
        with reserved(
            ("the API", self._host, self._api_port),
            ("the gateway", self._host, git_port),
            ("Flower", "127.0.0.1", flower_port),
        ):
            redis, s3 = self._prepare()
        assert self._supervisor
        self._supervisor.start(redis.command, s3.command)
        own: dict[str, Any] = {"api_url": self.url, "commit_workers": self._workers}
        if self._with_tokens:
            self.token = state.root_token(self.data)
            own["root_token_sha256"] = hash_of(self.token)
        if self._with_webhooks:
            own["webhook_key"] = self._webhook_key
            own["mirror_folder"] = str(self.data.absolute() / "mirrors")
        if self._with_gateway:
            own |= {"git_url": self.git_url, "gateway_folder": str(self.data / "gateway")}
        self.settings = Settings(**{**redis.settings, **s3.settings, **own, **self._overrides})
        save_environment(self.data, self.settings)
        self._fronts["api"] = Front("the API", self._host, self._api_port, commands.api)
        if self._with_gateway:
            argv = partial(commands.gateway, self.settings.gateway_workers, self.settings.gateway_threads)
            self._fronts["gateway"] = Front("the gateway", self._host, self._git_port, argv)
        self._supervisor.start(*self._own_commands())

    def _check(self) -> None:
        """Raise an error for what would prevent the start, before anything is created."""
        if self._data is not None and state.holder(self._data) is not None:
            raise state.FolderInUse(f"another stack runs on {self._data}")
        find_redis()
        if not self._s3_program:
            find_s3(self._s3)

    def _prepare(self) -> tuple[Server, Server]:
        """Make the folder, choose the ports, and return the servers to start."""
        if self._data is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="sluice-")
            self.data = Path(self._temporary.name)
        self.data = self.data.resolve()
        self._lock = state.lock(self.data)
        self.fresh = not state.known(self.data)
        known = self._remembered()
        self.s3_kind, self.flower_password = known.s3, known.flower_password
        chosen = Settings(**self._overrides)
        rotation = Rotation(chosen.log_file_bytes, chosen.log_files)
        self._supervisor = Supervisor(self.data / "logs", self._restart, self._abrupt, rotation)

        if self._with_tokens and not known.redis_password:
            known = dataclasses.replace(known, redis_password=state.new_redis_password())
        if self._with_webhooks and not known.webhook_key:
            known = dataclasses.replace(known, webhook_key=state.new_webhook_key())
        self._webhook_key = known.webhook_key
        ports = free_ports(PORTS, known.ports)
        state.save(self.data, dataclasses.replace(known, ports=ports))
        self._api_port, self._flower_port = self._api_port or ports[0], self._flower_port or ports[1]
        self._git_port = self._git_port or ports[3 + S3_PORTS]
        redis = redis_server(self.data / "redis", ports[2], password=known.redis_password if self._with_tokens else "")
        s3 = s3_server(
            self.data / f"s3-{known.s3}", known.s3, known.credentials, ports[3 : 3 + S3_PORTS], program=self._s3_program
        )
        return redis, s3

    def _remembered(self) -> state.State:
        """The folder's state. A folder can only be used with the kind of S3 server whose files it has."""
        kind = self._s3 if self._s3_program else find_s3(self._s3)[0]
        known = state.load(self.data, kind)
        if known.s3 == kind:
            return known
        if self._s3 != "auto":
            kept = f"{self.data} holds the files of {known.s3}"
            raise state.OtherServer(f"{kept}: start it with that, or give another folder")
        find_s3(known.s3)
        return known

    def _own_commands(self) -> list[Command]:
        workers = commands.worker(self.settings.commit_workers)
        grace = commands.grace(self.settings)
        own = [
            *map(self._front_command, self._fronts),
            self._command("worker", workers, lambda: _node_answers(self.settings, "commits"), grace),
            self._command("merger", commands.merger(), lambda: _node_answers(self.settings, "merges"), grace),
        ]
        if self._with_webhooks:
            argv = commands.sender(self.settings.webhook_senders)
            own.append(self._command("sender", argv, lambda: _node_answers(self.settings, "webhooks"), grace))
        if self._with_beat:
            own.append(self._command("beat", commands.beat(), lambda: is_at_work(self.settings, "beat")))
        if self._with_flower:
            argv = commands.flower("127.0.0.1", self._flower_port, self._flower_tasks)
            own.append(self._command("flower", argv, lambda: answers(f"{self.flower_url}/healthcheck")))
        return own

    def _front_command(self, name: str) -> Command:
        """Return the command of a process that clients reach."""
        grace = commands.api_grace() if name == "api" else commands.gateway_grace()
        return self._fronts[name].command(lambda argv, ready: self._command(name, argv, ready, grace))

    def _command(
        self, name: str, argv: list[str], ready: Callable[[], bool] | None = None, grace: float = 20.0
    ) -> Command:
        folder = self.data / "run"
        folder.mkdir(exist_ok=True)
        more = {
            # Run from a checkout, the packages stand beside this one; the working folder holds no modules of its own.
            "PYTHONPATH": str(Path(app.__file__).parents[1]),
            "PYTHONUNBUFFERED": "1",
            **self._environ,
        }
        if name == "flower":
            more["FLOWER_BASIC_AUTH"] = f"{FLOWER_USER}:{self.flower_password}"
        return Command(name, commands.runnable(argv), environment(self.settings, more), folder, ready, grace=grace)


def _node_answers(settings: Settings, node: str) -> bool:
    """Whether the Celery node on this machine consumes: a ping through the broker.

    By kombu, on a connection of its own: Celery's pools are shared by the whole process and keep connections by
    address, those to an earlier Redis on the same port among them.
    """
    options = {
        "global_keyprefix": f"{settings.repository}:celery:",
        "socket_timeout": _ASK_TIMEOUT,
        "socket_connect_timeout": _ASK_TIMEOUT,
    }
    with Connection(settings.broker, transport_options=options) as connection:
        try:
            mailbox = Mailbox("celery", type="fanout", accept=["json"], serializer="json")(connection)
            return bool(mailbox.call([f"{node}@{socket.gethostname()}"], "ping", timeout=0.5))
        except (OperationalError, *connection.recoverable_connection_errors):  # the broker is not back yet
            return False


def _reachable(host: str) -> str:
    """The address at which a server bound to `host` is reached from here."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)
