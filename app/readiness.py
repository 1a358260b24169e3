"""Whether this deployment can do its work, judged by what it needs and by its progress."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import redis

from storage.bucket import BucketError
from storage.ids import ulid_seconds
from storage.log import name_of
from storage.repository import Repository
from storage.scripts import ViewAbsent

_MOST_LAG = 1000
_PROBE = "probe/ready"

Check = dict[str, Any]


def checks(repo: Repository) -> dict[str, Check]:
    """Return what was found of each thing that is needed; `ok` says whether it is fit."""
    return {
        "redis": _checked(lambda: _redis(repo)),
        "bucket": _checked(lambda: _bucket(repo)),
        "conditional_writes": _checked(lambda: _conditional_writes(repo)),
        "view": _checked(lambda: _view(repo)),
        "queue": _checked(lambda: _queue(repo)),
    }


def _checked(check: Callable[[], Check]) -> Check:
    try:
        return check()
    except (redis.RedisError, BucketError, ViewAbsent) as error:
        return {"ok": False, "detail": str(error) or type(error).__name__}


def _redis(repo: Repository) -> Check:
    repo.redis.ping()
    return {"ok": True, "detail": "answers"}


def _bucket(repo: Repository) -> Check:
    found = repo.log.read(1) is not None
    return {"ok": found, "detail": "answers" if found else "has no log"}


def _conditional_writes(repo: Repository) -> Check:
    # At most the very first of these may win; a store that ignores the condition lets every one.
    won = repo.bucket.create(_PROBE, b"") and repo.bucket.create(_PROBE, b"")
    return {"ok": not won, "detail": "a name is given once" if not won else "a name was given twice"}


def _view(repo: Repository) -> Check:
    applied = repo.view.head().applied
    lag = sum(1 for _ in repo.bucket.names("log/", name_of(applied), _MOST_LAG))
    vouched = repo.queue.vouched()
    detail = f"applied {applied}, {lag} behind" + ("" if vouched else "; the inbox is being listed")
    return {"ok": vouched is not None and lag < _MOST_LAG, "detail": detail, "applied": applied, "lag": lag}


def _queue(repo: Repository) -> Check:
    oldest = repo.queue.oldest()
    age = max(0.0, time.time() - ulid_seconds(oldest)) if oldest else 0.0
    limit = repo.settings.max_queue_age
    return {
        "ok": age <= limit,
        "detail": f"the oldest that could be committed waits {age:.1f} s (limit {limit:.0f} s)",
        "oldest": round(age, 3),
    }
