"""Whether a node of this machine is at work: `python -m tasks.alive commits` (or merges, beat), for health checks.

It exits with 0 if the node has sent a heartbeat within the last seconds, and with 1 if it has not, or if Redis does not
answer. It is far cheaper than `celery inspect ping`, and needs no host name.
"""

import socket
import sys
from dataclasses import replace

import redis

from storage.backends.redis_client import connect
from storage.base import settings
from storage.coordination import Nodes
from storage.view.view import View


def main(argv: list[str]) -> int:
    """Check the node that `argv` names, with or without its host."""
    if len(argv) != 1:
        _say("usage: python -m tasks.alive commits|merges|beat|NAME@HOST")
        return 2
    name = argv[0] if "@" in argv[0] else f"{argv[0]}@{socket.gethostname()}"
    chosen = replace(settings.load(), redis_timeout=3.0)
    try:
        at_work = any(node.name == name for node in Nodes(View(chosen, connect(chosen))).at_work())
    except redis.RedisError as error:
        _say(f"Redis does not answer: {type(error).__name__}")
        return 1
    _say(f"{name} is at work" if at_work else f"{name} has not reported for some seconds")
    return 0 if at_work else 1


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
