"""Logs are events: one JSON line each on standard error, with a fixed name, and ids and numbers as fields.

`configure` is called once by each entry point. What every event of a request or a task should carry (`request`,
`task`) is bound with `bound`, through context variables: they follow a thread and a greenlet alike.
"""

from __future__ import annotations

import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.contextvars import bind_contextvars, bound_contextvars, clear_contextvars

__all__ = ["bind", "bound", "clear", "configure", "log"]

HIDDEN = "(hidden)"

_SECRET_NAMES = re.compile(r"password|secret|token|authorization|cookie|credential|access_key", re.IGNORECASE)
# To the last @: an unescaped one may stand in a password.
_CREDENTIALS = re.compile(r"(?<=://)[^/\s]*@")

log = structlog.get_logger()
bind, bound, clear = bind_contextvars, bound_contextvars, clear_contextvars


def configure(process: str) -> None:
    """Send events to standard error as JSON lines, naming `process` (api, worker, beat, …)."""

    def name_process(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["process"] = process
        return event

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            name_process,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            hide_secrets,
            structlog.processors.JSONRenderer(default=str),
        ],
        # Looked up at each first use, so that a test's standard error is found. It writes a line and its end at once,
        # so that none of another process comes in between.
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def hide_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Take out values whose names say that they are secret, and credentials inside URLs, however deep they stand."""
    for name, value in event.items():
        event[name] = _hidden(name, value)
    return event


def _hidden(name: str, value: Any) -> Any:
    if _SECRET_NAMES.search(name):
        return HIDDEN
    if isinstance(value, str):
        return _CREDENTIALS.sub(f"{HIDDEN}@", value) if "://" in value else value
    if isinstance(value, dict):
        return {key: _hidden(str(key), each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden("", each) for each in value]
    return value
