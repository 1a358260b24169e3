"""Readiness of this process, and health of the deployment.

Readiness is `/readyz`: this process, Redis, the bucket, and a recovered view. Backlog and missing workers are the same
for every process, and a balancer that dropped all processes because of a backlog would cause an outage. So these are
the deployment's health, `GET /v1/health`.
"""

import time
from collections.abc import Callable
from typing import Any

from app.service.git.mirror_status import Standing, standings
from storage.backends.redis_client import UNAVAILABLE
from storage.base.ids import ulid_seconds
from storage.coordination import MIRRORS, WEBHOOKS, WORK, missing, read_sums
from storage.log.log import name_of
from storage.mirrors.records import Direction
from storage.repository import Repository
from storage.view.mirrors import read_mirrors
from storage.view.webhooks import count_webhooks

_MAX_LAG = 1000
_PROBE = "probe/ready"

Check = dict[str, Any]


def checks(repo: Repository) -> dict[str, Check]:
    """Return the result of each check that serving needs; `ok` tells whether it passed."""
    return {
        "redis": _checked(lambda: _redis(repo)),
        "bucket": _checked(lambda: _bucket(repo)),
        "conditional_writes": _checked(lambda: _conditional_writes(repo)),
        "view": _checked(lambda: _view(repo)),
    }


def work_checks(repo: Repository, checked: dict[str, Check]) -> dict[str, Check]:
    """Return the checks of the work: the view's lag, the age of the oldest waiting changeset, living nodes, gateways.

    `checked` is the result of `checks` from just now.
    """
    view = checked["view"]
    return {
        "view": {**view, "ok": view["ok"] and view["lag"] < _MAX_LAG},
        "queue": _checked(lambda: _queue(repo)),
        "workers": _checked(lambda: _workers(repo)),
        **({"gateway": _checked(lambda: _gateways(repo))} if repo.settings.git_url else {}),
        "mirrors": _checked(lambda: _mirrors(repo)),
    }


def fit(checked: dict[str, Check]) -> bool:
    """Tell whether all checks are."""
    return all(check["ok"] for check in checked.values())


def _checked(check: Callable[[], Check]) -> Check:
    try:
        return check()
    except UNAVAILABLE as error:
        return {"ok": False, "detail": str(error) or type(error).__name__}


def _redis(repo: Repository) -> Check:
    repo.redis.ping()
    return {"ok": True, "detail": "answers"}


def _bucket(repo: Repository) -> Check:
    has_log = repo.log.read(1) is not None
    return {"ok": has_log, "detail": "answers" if has_log else "has no log"}


def _conditional_writes(repo: Repository) -> Check:
    # At most the very first of these may win; a store that ignores the condition lets every one.
    won = all(repo.bucket.create(_PROBE, b"").stored for _ in range(2))
    return {"ok": not won, "detail": "a name is given once" if not won else "a name was given twice"}


def _view(repo: Repository) -> Check:
    # Without a view, or one that may be older than what was answered before, nearly every request is a 503.
    applied = repo.view.head().applied
    lag = sum(1 for _ in repo.bucket.list_keys("log/", name_of(applied), _MAX_LAG))
    recovered = repo.queue.recovered_state()
    detail = f"applied {applied}, {lag} behind" + ("" if recovered else "; the inbox is being listed")
    return {"ok": recovered is not None, "detail": detail, "applied": applied, "lag": lag}


def _queue(repo: Repository) -> Check:
    oldest = repo.queue.oldest()
    age = max(0.0, time.time() - ulid_seconds(oldest)) if oldest else 0.0
    limit = repo.settings.max_queue_age
    return {
        "ok": age <= limit,
        "detail": f"the oldest that could be committed waits {age:.1f} s (limit {limit:.0f} s)",
        "oldest": round(age, 3),
    }


def _gateways(repo: Repository) -> Check:
    found = [process for process in read_sums(repo.view).processes if process.process == "gateway"]
    requests = sum(process.levels.get("git_requests", 0) for process in found)
    detail = (
        f"{len(found)} at work, with {requests} requests" if found else f"none is at work at {repo.settings.git_url}"
    )
    return {"ok": bool(found), "detail": detail, "requests": requests}


def needed_work(repo: Repository) -> dict[str, str]:
    """Return the kinds of work that somebody has to do, with their processes; some only if there is any."""
    webhooks = WEBHOOKS if repo.settings.webhook_key and count_webhooks(repo.view) else {}
    pushed = repo.settings.mirror_folder and any(each.direction == Direction.OUT for each in read_mirrors(repo.view))
    return {**WORK, **webhooks, **(MIRRORS if pushed else {})}


def _mirrors(repo: Repository) -> Check:
    # Never a reason for a 503: who waits for that (a rolling restart) cannot mend somebody else's server.
    found = standings(repo)
    limit = repo.settings.max_mirror_lag
    wrong = [f"{each.mirror.name}: {word}" for each in found if (word := _trouble(each, limit))]
    detail = ", ".join(wrong) or (f"{len(found)} are current" if found else "there are none")
    return {"ok": True, "detail": detail, "mirrors": {each.mirror.name: each.as_json() for each in found}}


def _trouble(standing: Standing, limit: float) -> str:
    if standing.mirror.stopped:
        return f"stopped ({standing.mirror.stopped})"
    if standing.lags(limit):
        return f"behind for {standing.seconds:.0f} s" + (f" ({standing.progress.error})" if standing.progress else "")
    return ""


def degraded(repo: Repository) -> list[str]:
    """Return what is wrong though this process can serve; without names, since nobody has to say who asks."""
    try:
        found = standings(repo)
    except UNAVAILABLE:
        return []
    reasons = [str(each.mirror.stopped) for each in found if each.mirror.stopped]
    notes = [f"mirrors stopped: {reasons.count(reason)} ({reason})" for reason in sorted(set(reasons))]
    late = sum(not each.mirror.stopped and each.lags(repo.settings.max_mirror_lag) for each in found)
    return [*notes, *([f"mirrors behind: {late}"] if late else [])]


def _workers(repo: Repository) -> Check:
    nodes = repo.nodes.at_work()
    needed = needed_work(repo)
    gone = missing(nodes, needed)
    at_work = {work: [node.name for node in nodes if work in node.work] for work in needed}
    detail = "no answer from " + ", ".join(f"{work} ({needed[work]})" for work in gone) if gone else "all answer"
    return {"ok": not gone, "detail": detail, "missing": gone, "nodes": at_work}
