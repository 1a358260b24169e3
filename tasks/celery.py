"""The Celery application that workers, beat, Flower and the API share; celeryconfig.py is all of its configuration."""

from __future__ import annotations

import threading
from typing import Any

import structlog
from billiard import active_children
from celery import Celery
from celery.signals import celeryd_init, worker_ready, worker_shutting_down

from storage import logs, settings
from tasks import broker
from tasks.base import send
from tasks.memory import keep_little
from tasks.watch import Watch

log = structlog.get_logger()

broker.install()
app = Celery("sluice", include=["tasks.commits", "tasks.merges", "tasks.upkeep", "tasks.compaction"])
app.config_from_object("celeryconfig")


@celeryd_init.connect
def prepare_node(sender: str, **_: Any) -> None:
    """Log as JSON lines under the node's name, and keep little memory, as the children do; watch how full Redis is."""
    logs.configure(sender.split("@")[0])
    keep_little()
    # Not when the node is ready: with a broker that is full it may never be, unless room is made.
    Watch().start()


@worker_ready.connect
def begin_with_upkeep(sender: Any, **_: Any) -> None:
    """Ask for upkeep when a node that does it comes up, so that a new view is loaded now and not at the first tick."""
    if "upkeep" in sender.app.amqp.queues.consume_from:
        send(sender.app, "sluice.upkeep")


@worker_shutting_down.connect
def stop_in_time(how: str, **_: Any) -> None:
    """Bound Celery's warm shutdown, which waits for what runs: after `stop_grace` it is told to give back."""
    if how == "Warm":
        timer = threading.Timer(settings.load().stop_grace, _end_runs)
        timer.daemon = True
        timer.start()


def _end_runs() -> None:
    # In a child SIGTERM raises SystemExit wherever it is, so that `finally` gives back what it holds.
    children = active_children()
    log.warning("runs_cut_short", children=len(children))
    for child in children:
        child.terminate()
