"""The product's API and Celery application for a rig's nodes: the same, but every step of their work can be stopped at.

Imported by nodes alone: `celery -A tests.harness.stoppable` and `gunicorn 'tests.harness.stoppable:create_app()'`; the
gateway's application is in stoppable_gateway.py. What is wrapped stands in two tables. A scope is a run of something: a
batch, a merge, a collection. A step is a function of a scope, or any call of the bucket or of Redis in it; what a step
calls in its turn is part of it.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from app.api import create_app
from tasks.celery import app
from tests.harness.failpoints import ENVIRON, Failpoints

__all__ = ["app", "create_app"]

SCOPES = {
    "commit": ["tasks.commits:commit_batch"],
    "merge": ["tasks.merges:merge_batch"],
    "upkeep": ["tasks.upkeep:keep_up"],
    "load": ["tasks.upkeep:load", "storage.repository:load"],
    "recover": ["storage.queue.recovery:Inbox.recover"],
    "checkpoint": ["tasks.upkeep:checkpoint"],
    "compact": ["tasks.compaction:compact"],
    "collect": ["tasks.upkeep:collect"],
    "intake": ["app.intake.intake:Intake._store"],
    "release": ["storage.operations.lifecycle:append_directly"],
    "push": ["app.gateway.receive.taking:Taking.take"],
    "follow": ["storage.clones.catch_up:CatchUp.run"],
}
"""Runs of something, by the functions that are one; the innermost gives its name."""

STEPS = {
    "prepare": "storage.commit.batch:prepare",
    "ticket": "storage.queue.append_lock:AppendLock.take",
    "link": "storage.commit.link:Linker.run",
    "prove": "storage.commit.batch:prove",
}
"""Steps that are more, or less, than one call of a server."""

# The narrow waists that every call of a server goes through. A script is named by itself, a call of the bucket by the
# folder that it is about.
_BUCKET = {name: f"storage.backends.bucket:Bucket.{name}" for name in ("create", "get", "get_range", "delete", "now")}
_SCRIPT, _REDIS = "storage.backends.scripts:Scripts.__call__", "redis:Redis.execute_command"

_scope: ContextVar[str] = ContextVar("scope", default="")
_in_step: ContextVar[bool] = ContextVar("in_step", default=False)


def install(failpoints: Failpoints) -> None:
    """Wrap everything in the tables. Fails where something of them is no more."""
    for scope, targets in SCOPES.items():
        for target in targets:
            _wrap(target, _Scoped(failpoints, scope))
    for step, target in STEPS.items():
        _wrap(target, _Stepped(failpoints, lambda *args, step=step: step))
    for verb, target in _BUCKET.items():
        _wrap(target, _Stepped(failpoints, lambda self, *args, verb=verb: "-".join([verb, *_folder(args)])))
    _wrap(_SCRIPT, _Stepped(failpoints, lambda self, name, *args: name))
    _wrap(_REDIS, _Stepped(failpoints, lambda self, command, *args: f"redis-{command.lower().replace(' ', '-')}"))


Call = Callable[..., Any]


def find(target: str) -> tuple[Any, str]:
    """Return what a function hangs on, a module or a class, and its name there. Raises AttributeError."""
    module, _, path = target.partition(":")
    *owners, name = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    getattr(owner, name)
    return owner, name


def _wrap(target: str, wrapper: Callable[[Call], Call]) -> None:
    owner, name = find(target)
    call = getattr(owner, name)
    setattr(owner, name, functools.wraps(call)(wrapper(call)))


class _Scoped:
    """Makes a function a run of a scope; its beginning and its end are failpoints too."""

    def __init__(self, failpoints: Failpoints, scope: str) -> None:
        self._failpoints = failpoints
        self._name = scope

    def __call__(self, call: Call) -> Call:
        def scoped(*args: Any, **more: Any) -> Any:
            with _set(_scope, self._name):
                return self._failpoints.around(f"{self._name}.run", call, *args, **more)

        return scoped


class _Stepped:
    """Makes a function a step of whatever scope it is called in; `name` says from its arguments which."""

    def __init__(self, failpoints: Failpoints, name: Callable[..., str]) -> None:
        self._failpoints = failpoints
        self._name = name

    def __call__(self, call: Call) -> Call:
        def stepped(*args: Any, **more: Any) -> Any:
            scope = _scope.get()
            if not scope or _in_step.get():
                return call(*args, **more)
            with _set(_in_step, True):
                return self._failpoints.around(f"{scope}.{self._name(*args)}", call, *args, **more)

        return stepped


def _folder(args: Sequence[Any]) -> list[str]:
    return [args[0].partition("/")[0]] if args else []


@contextmanager
def _set(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


if ENVIRON in os.environ:
    install(Failpoints(Path(os.environ[ENVIRON])))
