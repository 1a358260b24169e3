"""Celery's programs (worker, beat, Flower) as processes of Sluice: from the start on they write only JSON lines.

Celery emits a signal before it sets up its own logging, and a receiver here prevents that. `--quiet` hides the banner.
"""

import os
import sys
from pathlib import Path
from typing import Any

from celery.apps import worker as worker_program
from celery.signals import setup_logging

from storage.base import log_streams, logging_setup, settings
from storage.base.settings import Settings, SettingsError

_PROGRAMS = ("worker", "beat", "flower")


def begin() -> None:
    """Turn this process's output into JSON lines if it is one of Celery's programs; by the settings, if valid."""
    program = running_program(sys.argv)
    if program:
        try:
            name(program)
        except SettingsError:  # it is reported when the program's configuration reads them
            logging_setup.configure(program)
        log_streams.take_over()
        worker_program.safe_say = _say_in_handler


def running_program(argv: list[str]) -> str | None:
    """Return which of Celery's programs a command line runs; None for Celery's other commands and other programs."""
    started = Path(argv[0])
    is_celery = started.stem == "celery" or (started.stem == "__main__" and started.parent.name == "celery")
    return next((word for word in argv[1:] if word in _PROGRAMS), None) if is_celery else None


def name(process: str, chosen: Settings | None = None) -> None:
    """Log under a node's name, at the level of the settings. Raises SettingsError."""
    chosen = chosen or settings.load()
    logging_setup.configure(process, chosen.log_level, chosen.secrets)


def named() -> str:
    """Return the name under which this process logs."""
    return logging_setup.process()


@setup_logging.connect
def keep_logging(**_: Any) -> None:
    """Receive Celery's signal; a receiver prevents Celery from setting up its own logging."""
    log_streams.take_over()


def _say_in_handler(message: str, _stream: Any = None) -> None:
    # Celery says so inside a signal handler: whoever was interrupted may hold the lock of the stream.
    os.write(2, (logging_setup.line(str(message)) + "\n").encode())
