"""The Celery application that workers, beat, Flower and the API share; celeryconfig.py is all of its configuration."""

from __future__ import annotations

import logging

from celery import Celery
from celery.signals import setup_logging, worker_init

from storage import logs, settings
from storage.repository import Repository

app = Celery("sluice", include=["tasks.commits", "tasks.merges", "tasks.upkeep"])
app.config_from_object("celeryconfig")


@worker_init.connect
def check_before_work(**_: object) -> None:
    """Refuse to work where the guarantees have nothing to stand on; runs before the worker forks.

    Raises RedisUnsafe, BucketUnsafe, BucketError and redis.RedisError.
    """
    # Closed again: children must not share their parent's connections.
    repo = Repository(settings.load())
    repo.check()
    repo.prepare()
    repo.redis.close()


@setup_logging.connect
def configure_logs(**_: object) -> None:
    """Write our events as JSON lines, and Celery's own beside them."""
    logs.configure("worker")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
