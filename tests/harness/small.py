"""The product in one process: the API's application and threads that work, so that a test can break its code.

Servers are real, and the API asks for tokens. There is no Celery: each worker does in a loop what its tasks would do,
and a run that fails is forgotten, as a task is.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from app.admin.verify import verify
from app.api import create_app
from storage.access.new_secret import new_secret
from storage.access.tokens import hash_of
from storage.base.settings import Settings
from storage.commit.batch import commit_batch
from storage.commit.global_merge import merge_batch
from storage.maintenance.garbage import collect
from storage.repository import Repository
from tasks.compaction import run as compact
from tasks.upkeep import run as run_upkeep
from tests.harness.wire import InProcess

EVERY = 0.2  # seconds between two upkeeps
_COMMITTERS = 3
# Compaction has something to do within the seconds of a test.
_FORGETS: dict[str, Any] = {
    "upkeep_interval": EVERY, "history_age": 1.0, "checkpoint_entries": 4, "compact_entries": 8, "late_put": 3.0,
    "inbox_margin": 4.0,
}  # fmt: skip

# Each is one instant, as a snapshot of Redis is: a copy key by key would be of no state that ever was.
_COPY = """#!lua
local copy = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  table.insert(copy, key)
  table.insert(copy, redis.call('PTTL', key))
  table.insert(copy, redis.call('DUMP', key))
end
return copy
"""
_PUT_BACK = """#!lua
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('UNLINK', key) end
for i = 3, #ARGV, 3 do redis.call('RESTORE', ARGV[i], math.max(0, tonumber(ARGV[i + 1])), ARGV[i + 2]) end
if ARGV[2] ~= '' then redis.call('SET', ARGV[2], 'the id of an earlier run') end
return #ARGV
"""


class Small:
    """A whole Sluice; works from `with` on. Locks are off, so that nothing but the log keeps writers apart."""

    def __init__(self, settings: Settings, gc_grace: float = 0.0) -> None:
        """Describe it. After `gc_grace` seconds what is retired is deleted, whoever may be reading it still."""
        token = self.token = new_secret()  # the root token
        settings = replace(settings, root_token_sha256=hash_of(token))
        self.settings = replace(
            settings, use_locks=False, commit_changesets=4, lock_ttl=1.0, gc_grace=gc_grace, **_FORGETS
        )
        self.repo = Repository(self.settings)
        self.wire = InProcess(create_app(self.settings, check=False), token)
        self._over = threading.Event()
        self._looks = threading.Lock()
        self._threads = [
            threading.Thread(target=self._work, args=(task, EVERY), daemon=True)
            for task in (self._upkeep, collect, compact)
        ]
        self._threads += [
            threading.Thread(target=self._work, args=(task, 0.0), daemon=True)
            for task in (lambda repo: commit_batch(repo).changesets, lambda repo: merge_batch(repo).changesets)
            for _ in range(_COMMITTERS)
        ]

    def flush(self) -> None:
        """Take everything of this repository out of Redis, as FLUSHALL would."""
        self.repo.redis.eval(_PUT_BACK, 0, self._pattern(), "")

    @contextlib.contextmanager
    def rolled_back(self) -> Iterator[None]:
        """Let Redis come back, at the end, as it was at the beginning; as another run of it, like after a restart."""
        client, pattern = self.repo.redis, self._pattern()
        copy = client.eval(_COPY, 0, pattern)
        yield
        # A Redis that was started anew is another run, by which a look at the inbox that began before is known to say
        # nothing of it; here it stays the same run, so no look may be under way.
        with self._looks:
            client.eval(_PUT_BACK, 0, pattern, self.repo.view.prefix + "recovered", *copy)

    def differences(self) -> list[str]:
        """What `verify` finds."""
        try:
            return verify(Repository(self.settings)).differences
        except Exception as error:  # noqa: BLE001 - that it cannot be verified is a finding too
            return [f"{type(error).__name__}: {error}"]

    def __enter__(self) -> Small:
        """Begin to work."""
        for thread in self._threads:
            thread.start()
        return self

    def rest(self) -> None:
        """Stop working; the API goes on."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def __exit__(self, *exc: object) -> None:
        """Stop working."""
        self.rest()

    def _pattern(self) -> str:
        return self.repo.view.prefix.replace("{", "[{]").replace("}", "[}]") + "*"

    def _work(self, run: Callable[[Repository], object], every: float) -> None:
        repo = Repository(self.settings)
        while not self._over.is_set():
            done: object = 0
            with contextlib.suppress(Exception):
                done = run(repo)
            self._over.wait(0.0 if done and not every else every or 0.02)

    def _upkeep(self, repo: Repository) -> None:
        with self._looks:
            run_upkeep(repo)
