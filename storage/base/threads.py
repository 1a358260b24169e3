"""Threads for work that is begun while something else waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from storage.base.errors import Unavailable


class NoThread(Unavailable):
    """No more threads can be started at the moment."""


def start_thread(name: str, call: Callable[..., object], *arguments: object) -> None:
    """Have a thread call something; it ends with the process. Raises NoThread: a container has only so many."""
    try:
        threading.Thread(target=call, args=arguments, name=name, daemon=True).start()
    except RuntimeError as error:
        raise NoThread from error
