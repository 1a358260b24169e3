"""The whole of Sluice on one machine without Docker: servers, processes, and the two together as a `Stack`."""

from app.stack.environment import limits
from app.stack.processes import ProcessFailed, Supervisor
from app.stack.servers import Server, ServerMissing, redis_server, s3_server
from app.stack.stack import Stack

__all__ = ["ProcessFailed", "Server", "ServerMissing", "Stack", "Supervisor", "limits", "redis_server", "s3_server"]
