"""The Celery application that workers, beat, Flower and the API share; celeryconfig.py is all of its configuration."""

import threading
from typing import Any

import structlog
from billiard import active_children
from celery import Celery
from celery.signals import (
    beat_init,
    celeryd_init,
    task_received,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutting_down,
)

from storage.base import settings
from storage.base.collector import collect_rarely
from tasks import tracing
from tasks.base import send
from tasks.flower_rows import RowRequest
from tasks.node import SaysAlive, Watch, counting, keep_little, kombu_fixes, program
from tasks.report import because

log = structlog.get_logger()

program.begin()
kombu_fixes.install()
app = Celery(
    "sluice",
    include=["tasks.commits", "tasks.merges", "tasks.upkeep", "tasks.compaction", "tasks.mirrors.tasks",
             "tasks.webhooks.tasks"],
)  # fmt: skip
app.config_from_object("celeryconfig")
app.steps["consumer"].add(SaysAlive)


@celeryd_init.connect
def prepare_node(sender: str, instance: Any = None, **_: Any) -> None:
    """Log under the node's name, return freed memory to the system, and watch how full Redis is."""
    program.name(sender.split("@")[0])
    if instance is not None:
        instance.quiet = True  # no banner, whatever the command line says
    keep_little()
    # Not when the node is ready: with a broker that is full it may never be, unless room is made.
    Watch().start()


@worker_process_init.connect
def prepare_process(**_: Any) -> None:
    """Begin a process that runs tasks."""
    collect_rarely()
    counting.begin(f"{program.named()}-tasks")
    tracing.start(settings.load(), program.named())


@worker_process_shutdown.connect
def end_process(**_: Any) -> None:
    """End a process that runs tasks."""
    tracing.stop()
    counting.end()


@beat_init.connect
def prepare_beat(sender: Any, **_: Any) -> None:
    """Log as beat, without a line for each tick that is sent: the nodes log what a tick did."""
    program.name("beat")
    sender.app.conf.task_send_sent_event = False
    counting.begin("beat")
    log.info("beat_started")


@task_received.connect
def begin_row(request: Any, **_: Any) -> None:
    """Begin the row in Flower of a message that a node has taken."""
    if isinstance(request, RowRequest):
        request.say_received()


@worker_ready.connect
def begin_counting(**_: Any) -> None:
    """Report what this node counts itself.

    Not before it has forked its first children: one that is forked while a thread imports something has half of that.
    """
    counting.begin(program.named())


@worker_ready.connect
def begin_with_upkeep(sender: Any, **_: Any) -> None:
    """Ask for upkeep when a node that does it comes up, so that a new view is loaded now and not at the first tick."""
    if "upkeep" in sender.app.amqp.queues.consume_from:
        with because(f"{sender.hostname} has started"):
            send(sender.app, "sluice.upkeep")


@worker_shutting_down.connect
def stop_in_time(how: str, **_: Any) -> None:
    """Bound Celery's warm shutdown, which waits for what runs: after `stop_grace` it has to release what it claimed."""
    if how == "Warm":
        timer = threading.Timer(settings.load().stop_grace, _end_runs)
        timer.daemon = True
        timer.start()


def _end_runs() -> None:
    # In a child SIGTERM raises SystemExit wherever it is, so that `finally` gives back what it holds.
    children = active_children()
    log.warning("tasks_terminated", children=len(children))
    for child in children:
        child.terminate()
