"""The tasks of webhooks: one that looks who has to be told something, and one that delivers to one webhook."""

import threading
from functools import cache

import structlog
from celery.signals import worker_shutting_down

from storage.backends.redis_client import UNAVAILABLE
from tasks.base import SluiceTask, repository
from tasks.celery import app
from tasks.notify import ask_for_delivery
from tasks.report import because, did
from tasks.webhooks.delivery import deliver
from tasks.webhooks.due import due, note_positions
from tasks.webhooks.told import Source

log = structlog.get_logger()

_stopping = threading.Event()


@cache
def _source() -> Source:
    return Source(repository())


@app.task(name="sluice.webhooks", base=SluiceTask, ignore_result=True, acks_late=True)
def look(reason: str = "") -> None:
    """Send a message for each webhook that has to be told something. `reason` is for people."""
    repo = repository()
    try:
        for webhook_id in due(repo):
            ask_for_delivery(webhook_id)
        noted = note_positions(repo)
    except UNAVAILABLE as error:
        log.info("webhooks_wait", reason=type(error).__name__, detail=str(error))
        return
    did(f"noted {noted} positions" if noted else "")


@app.task(name="sluice.deliver", base=SluiceTask, ignore_result=True, acks_late=True)
def run(webhook: str, reason: str = "") -> None:
    """Deliver to a webhook; if more is to be told, send the next message. `reason` is for people."""
    repo = repository()
    try:
        delivered, failed, more = deliver(repo, webhook, _source(), _stopping)
    except UNAVAILABLE as error:
        log.info("delivery_waits", webhook=webhook, reason=type(error).__name__, detail=str(error))
        did(f"waits: {type(error).__name__}")
        return
    did(f"delivered {delivered}" if delivered else "")
    did(f"failed {failed}" if failed else "")
    if more and not _stopping.is_set():
        with because("more events"):
            ask_for_delivery(webhook)


@worker_shutting_down.connect
def stop(**_: object) -> None:
    """End the runs of this node behind the delivery that each is at."""
    _stopping.set()
