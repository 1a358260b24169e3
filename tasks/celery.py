"""The Celery application that workers, beat, Flower and the API share; celeryconfig.py is all of its configuration."""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.signals import celeryd_init, worker_ready

from storage import logs
from tasks import broker

broker.install()
app = Celery("sluice", include=["tasks.commits", "tasks.merges", "tasks.upkeep"])
app.config_from_object("celeryconfig")


@celeryd_init.connect
def log_events(sender: str, **_: Any) -> None:
    """Log as JSON lines under the node's name; the children of the node inherit it."""
    logs.configure(sender.split("@")[0])


@worker_ready.connect
def begin_with_upkeep(sender: Any, **_: Any) -> None:
    """Ask for upkeep when a node that does it comes up, so that a new view is loaded now and not at the first tick."""
    if "upkeep" in sender.app.amqp.queues.consume_from:
        sender.app.send_task("sluice.upkeep")
