"""Logs are events: one JSON line each on standard error, with a fixed name, and ids and numbers as fields.

`configure` is called once by each entry point. Fields that every event of a request or a task should have (`request`,
`task`) are bound with `bound`, through context variables, which belong to a thread or greenlet. In the processes of a
deployment, logs of libraries and fatal errors become such lines too: storage/base/log_streams.py.
"""

import logging
import re
import sys
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from functools import lru_cache
from typing import Any

import structlog
from structlog.contextvars import bind_contextvars, bound_contextvars, clear_contextvars

from storage.base.batched import batched

__all__ = ["bind", "bound", "clear", "configure", "in_lines", "level", "line", "log", "output", "process"]

HIDDEN = "(hidden)"
# Ids in one line; more of them follow in lines of their own, so that each can be searched for.
MAX_IDS = 100
# Shorter secrets are only hidden by their names: their text may stand anywhere by chance.
_SHORTEST_SECRET = 6

# The id of a token is none: it says which one, to who may revoke it.
_SECRET_NAMES = re.compile(r"password|secret|token(?!_id$)|authorization|cookie|credential|access_key", re.IGNORECASE)
# To the last @: an unescaped one may stand in a password.
_TOKENS = re.compile(r"slc_[0-9A-Za-z]{8,}", re.ASCII)
_CREDENTIALS = re.compile(r"(?<=://)[^/\s]*@")

log = structlog.get_logger()
bind, bound, clear = bind_contextvars, bound_contextvars, clear_contextvars

_Event = MutableMapping[str, Any]
# What `configure` was given: of the whole process, as standard error is.
_chosen: dict[str, Any] = {"process": "", "level": logging.INFO, "secrets": ()}


def configure(process: str, least: str = "info", secrets: Iterable[str] = ()) -> None:
    """Write events from level `least` up to standard error as JSON lines of `process`, with `secrets` hidden."""
    hidden = sorted({secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}, key=len, reverse=True)
    _chosen.update(process=process, level=logging.getLevelName(least.upper()), secrets=tuple(hidden))
    structlog.configure(
        processors=PROCESSORS,
        wrapper_class=structlog.make_filtering_bound_logger(_chosen["level"]),
        # Looked up at each first use, so that a test's standard error is found. It writes a line and its end at once,
        # so that none of another process comes in between.
        logger_factory=lambda *_: output(),
        cache_logger_on_first_use=False,
    )


def level() -> int:
    """Return the least level of events that are written."""
    return int(_chosen["level"])


def process() -> str:
    """Return the name of this process in its events."""
    return str(_chosen["process"])


def output() -> structlog.WriteLogger:
    """Return the stream of the real standard error, even if log_streams.py has replaced `sys.stderr`."""
    return structlog.WriteLogger(getattr(sys.stderr, "behind", sys.stderr))


def line(event: str, severity: str = "info", **fields: Any) -> str:
    """Return an event as a line, for a caller that writes it by other means."""
    rendered: Any = {"event": event, **fields}
    for processor in PROCESSORS:
        rendered = processor(None, severity, rendered)
    return str(rendered)


def in_lines(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield ids in groups that fit into one log line each."""
    return batched(ids, MAX_IDS)


def _name_process(_logger: Any, _method: str, event: _Event) -> _Event:
    event["process"] = _chosen["process"]
    return event


def hide_secrets(_logger: Any, _method: str, event: _Event) -> _Event:
    """Hide, however deep: values with secret names, credentials inside URLs, and what `configure` was given."""
    for name, value in event.items():
        event[name] = _hidden(name, value)
    return event


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return _SECRET_NAMES.search(name) is not None


def _hidden(name: str, value: Any) -> Any:
    if _is_secret(name):
        return HIDDEN
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {str(key): _hidden(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_hidden("", item) for item in value]
    return _hidden_in_text(value if isinstance(value, str) else str(value))


def _hidden_in_text(text: str) -> str:
    if "://" in text:
        text = _CREDENTIALS.sub(f"{HIDDEN}@", text)
    if "slc_" in text:  # somebody may have sent one where an id belongs
        text = _TOKENS.sub(HIDDEN, text)
    for secret in _chosen["secrets"]:
        if secret in text:
            text = text.replace(secret, HIDDEN)
    return text


PROCESSORS: list[Any] = [
    structlog.contextvars.merge_contextvars,
    _name_process,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
    hide_secrets,
    structlog.processors.JSONRenderer(default=str),
]
