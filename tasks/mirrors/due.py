"""Which mirrors have to be looked at now."""

from __future__ import annotations

import time

from storage.mirrors.records import Direction, Mirror
from storage.queue import MirrorProgress
from storage.repository import Repository
from storage.view.mirrors import read_mirrors
from storage.view.snapshot import Head

# Seconds in which a message reaches a sender.
_EARLY = 0.5


def due(repo: Repository) -> list[str]:
    """Return the names of mirrors for which a run has something to do now, and no message is on its way.

    Raises ViewAbsent and RedisError.
    """
    there = [each for each in read_mirrors(repo.view) if is_pushed(each)] if repo.settings.mirror_folder else []
    if not there:
        return []
    head, now = repo.view.head(), time.time()
    names = [mirror.name for mirror in there]
    known = repo.mirrors.progress(names)
    found = [name for name, progress in zip(names, known, strict=True) if is_due(repo, progress, head, now)]
    return [name for name in found if repo.mirrors.ask(name)]


def is_pushed(mirror: Mirror) -> bool:
    """Tell whether what lands goes to a mirror now."""
    return mirror.direction == Direction.OUT and mirror.stopped is None


def is_due(repo: Repository, progress: MirrorProgress | None, head: Head, now: float) -> bool:
    """Tell whether a mirror is to be looked at: its wait is over, and it is behind, or was not asked for long."""
    if progress is None:
        return True
    if wait(progress, now) > ahead(repo):
        return False
    return bool(progress.applied != head.applied or progress.behind or progress.failed or is_old(repo, progress, now))


def wait(progress: MirrorProgress, now: float) -> float:
    """Return the seconds until a mirror may be pushed to again."""
    return max(0.0, progress.due - now)


def ahead(repo: Repository) -> float:
    """Return how many seconds before that a run begins: it catches up meanwhile, so that the push is not later."""
    return repo.settings.mirror_look + _EARLY


def is_old(repo: Repository, progress: MirrorProgress, now: float) -> bool:
    """Tell whether a mirror's server was not asked for so long that somebody may have changed it."""
    return now - progress.looked >= repo.settings.mirror_check
