"""Loads the Lua scripts of storage/*/lua and calls them by name.

The first line of each says when Redis may run it. A script with `flags=no-writes` only reads, and runs even while Redis
is full (`maxmemory`), is a replica, or cannot write to its disk. One with `flags=allow-oom` may write while Redis is
full: it makes room, ends what was begun, or sets one key of a fixed name, and its writes are bounded by the work that
had already begun. All other scripts may add something, and Redis then refuses them as a whole.
"""

import re
from functools import cache
from importlib import resources
from typing import Any

import redis
from redis.commands.core import Script

from storage.base.errors import LogForked, Paused, Recovering, ViewAbsent, ViewLoading, ViewStale

_ERRORS: dict[str, type[Exception]] = {
    "ABSENT": ViewAbsent,
    "BEGUN": ViewLoading,
    "STALE": ViewStale,
    "GAP": ViewStale,
    "FORKED": LogForked,
    "RECOVERING": Recovering,
    "PAUSED": Paused,
}


_INCLUDE = re.compile("^--include ([a-z_]+)$", re.MULTILINE)


# Scripts stand beside the modules that call them; those of backends are only included.
_FOLDERS = (
    *("backends/lua", "view/lua", "coordination/lua", "claims/lua"),
    *("queue/lua", "queue/lua/messages", "queue/lua/turns"),
)


@cache
def _source(name: str) -> str:
    files = (resources.files("storage") / folder / f"{name}.lua" for folder in _FOLDERS)
    text = next(file for file in files if file.is_file()).read_text()
    return _INCLUDE.sub(lambda match: _source(match[1]), text)


class Scripts:
    """The scripts on one Redis. Every call passes the epoch pointer as its only key: all keys share a hash slot."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self.client = client
        self.prefix = prefix
        self._scripts: dict[str, Script] = {}

    def __call__(self, name: str, *args: Any, pipeline: Any = None) -> Any:
        """Run script `name` with the prefix and `args`; with a pipeline, only add it to that.

        Raises the error that the script's first word names: ViewAbsent, ViewStale, Recovering, Paused, LogForked.
        """
        script = self._scripts.get(name)
        if script is None:
            script = self._scripts[name] = self.client.register_script(_source(name))
        try:
            return script(keys=[self.prefix + "epoch"], args=[self.prefix, *args], client=pipeline)
        except redis.exceptions.ResponseError as error:
            word, _, detail = str(error).partition(" ")
            if word in _ERRORS:
                raise _ERRORS[word](detail) from error
            raise
