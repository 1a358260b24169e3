"""The whole of Sluice on one machine without Docker: servers, processes, and the two together as a `Stack`.

The names are imported when they are used, since most commands run no stack.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.stack.processes import ProcessFailed, Supervisor
    from app.stack.servers import Server, ServerMissing, redis_server, s3_server
    from app.stack.stack import Stack

__all__ = ["ProcessFailed", "Server", "ServerMissing", "Stack", "Supervisor", "redis_server", "s3_server"]

_MODULES = {
    "ProcessFailed": "processes", "Supervisor": "processes",
    "Server": "servers", "ServerMissing": "servers", "redis_server": "servers", "s3_server": "servers",
    "Stack": "stack",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
