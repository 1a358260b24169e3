"""Retrying to queue changesets that are durable, after Redis did not answer in time or had no room.

If Redis itself lost nothing, it still counts as recovered, and a changeset in none of its queues would wait until
upkeep finds it in the inbox. So this process keeps trying. Meanwhile it is not reported as unknown: see `Inbox.holds`.
"""

import threading

import structlog

from storage.backends.bucket import Missing
from storage.backends.redis_client import UNAVAILABLE
from storage.base.batched import batched
from storage.base.ids import PackId
from storage.log import manifest
from storage.queue import read_pack
from storage.repository import Repository
from tasks.notify import ask_for_commit
from tasks.report import because

log = structlog.get_logger()

MAX_PACKS = 1000  # left at once; with as many the intake takes nothing more
SHORTEST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
_AT_ONCE = 200


class Requeue:
    """The submission packs of this process that are not queued yet, by name alone, and a thread that queues them."""

    def __init__(self, repo: Repository) -> None:
        self._repo = repo
        self._packs: dict[PackId, None] = {}
        self._stopping = False
        self._some = threading.Condition()  # packs, or the end
        self._thread = threading.Thread(target=self._run, name="requeue", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; returns when it has ended. What is not queued by then upkeep finds in the inbox."""
        with self._some:
            self._stopping = True
            self._some.notify()
        self._thread.join()

    def __len__(self) -> int:
        with self._some:
            return len(self._packs)

    def add(self, pack: PackId) -> None:
        """Queue a stored pack as soon as possible; called before the writers of its changesets are answered."""
        with self._some:
            self._packs[pack] = None
            self._some.notify()

    def rest(self, seconds: float) -> None:
        """Wait before the next try, or until the end."""
        with self._some:
            self._some.wait_for(lambda: self._stopping, seconds)

    def _run(self) -> None:
        pause = SHORTEST_PAUSE
        while True:
            with self._some:
                self._some.wait_for(lambda: self._packs or self._stopping)
                if self._stopping:
                    return
                pack = next(iter(self._packs))
            try:
                self._enqueue(pack)
                pause = SHORTEST_PAUSE
            except Exception as error:  # whatever it was, what is accepted must be queued
                unknown = not isinstance(error, UNAVAILABLE)
                log.warning(
                    "not_enqueued_again", pack=pack, left=len(self), pause=pause, reason=str(error), exc_info=unknown
                )
                self.rest(pause)
                with self._some:
                    if pack in self._packs:  # behind the others, since it may cause the failure itself
                        self._packs[pack] = self._packs.pop(pack)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _enqueue(self, pack: PackId) -> None:
        try:
            changesets = read_pack(self._repo.archive, pack)
        except Missing:
            changesets = []  # collected, since upkeep found it and all in it is decided
        for part in batched(changesets, _AT_ONCE):
            self._repo.queue.enqueue([(changeset, manifest.encode(changeset)) for changeset in part])
        with self._some:
            del self._packs[pack]
        log.info("enqueued_again", pack=pack, changesets=len(changesets), left=len(self))
        with because("a submission that had to be queued again"):
            ask_for_commit(self._repo)
