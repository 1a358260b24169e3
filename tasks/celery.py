"""The Celery application that workers, beat, Flower and the API share; celeryconfig.py is all of its configuration."""

from __future__ import annotations

from celery import Celery

app = Celery("sluice", include=["tasks.commits", "tasks.merges", "tasks.upkeep"])
app.config_from_object("celeryconfig")
