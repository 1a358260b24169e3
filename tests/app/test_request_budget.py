"""How many requests to Redis and to the bucket a change may cost, from POST to landed: they limit the rate.

A script is one request, and so is a pipeline. The messages of Celery are not counted.
"""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import ExitStack
from typing import Any

import pytest
import redis
import urllib3

from storage.backends.scripts import Scripts
from storage.commit import commit_batch, merge_batch
from tests.support.api import Api

Requests = Counter[str]
MOST = 21  # requests to Redis
# Threads whose requests are as many as the change takes seconds.
BY_TIME = {"pulse", "counts", "rates"}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Requests:
    """The requests that this process makes: `redis` and `s3`, and each kind of them."""
    counted: Requests = Counter()
    urlopen, send = urllib3.HTTPConnectionPool.urlopen, redis.Connection.send_packed_command

    def to_bucket(pool: Any, method: str, *args: Any, **options: Any) -> Any:
        counted.update(["s3", f"s3 {method}"])
        return urlopen(pool, method, *args, **options)

    def to_redis(connection: Any, command: Any, *args: Any, **options: Any) -> Any:
        if threading.current_thread().name not in BY_TIME:
            words = command[0].split(b"\r\n")
            counted.update(["redis", f"redis {words[2].decode()}"])
        return send(connection, command, *args, **options)

    monkeypatch.setattr(urllib3.HTTPConnectionPool, "urlopen", to_bucket)
    monkeypatch.setattr(redis.Connection, "send_packed_command", to_redis)
    return counted


def land(api: Api) -> int:
    """Commit and merge all that is queued; return how many landed."""
    landed = 0
    while count := land_batch(api):
        landed += count
    return landed


def land_batch(api: Api) -> int:
    """Commit a batch with its global commit, as the task does; return how many landed."""
    with ExitStack() as appending:
        batch = commit_batch(api.world.repo, appending=appending)
        if batch.merge:
            merge_batch(api.world.repo, batch.merge, locked=batch.locked)
    return batch.changesets


@pytest.fixture
def warm(api: Api) -> Api:
    """A deployment that has landed something: its caches know the tip."""
    api.put("d/f", "0")
    land(api)
    return api


def test_a_lone_change_costs_few_requests(warm: Api, made: Requests) -> None:
    tip = warm.tip
    made.clear()
    warm.put("d/g", "1", base=tip)
    land_batch(warm)
    spent = made.copy()
    assert warm.get("/head")["pending"] == 0
    assert spent["s3"] == spent["s3 PUT"] == 4, spent
    assert spent["redis"] <= MOST, spent


def test_a_batch_costs_no_more_requests_than_one_change(warm: Api, made: Requests) -> None:
    changes = [[{"op": "put", "path": f"d/f{i}", "content": "x"}] for i in range(64)]
    items = [{"slice": "all", "base": warm.tip, "message": "m", "changes": each} for each in changes]
    made.clear()
    warm.post("/changesets", {"changesets": items}, 202)
    landed = land_batch(warm)
    spent = made.copy()
    assert landed == 64 and warm.get("/head")["pending"] == 0
    assert spent["s3"] == spent["s3 PUT"] == 4, spent
    assert spent["redis"] <= MOST, spent


def test_advisory_claims_cost_a_submission_nothing_where_there_are_none(
    warm: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    call = Scripts.__call__

    def counted(self: Scripts, name: str, *args: Any, **options: Any) -> Any:
        if threading.current_thread() is threading.main_thread():  # others store, queue and announce
            called.append(name)
        return call(self, name, *args, **options)

    def spent(path: str) -> list[str]:
        called.clear()
        warm.put(path, "1", base=tip)
        return [name for name in called if name != "snapshot"]  # of tokens and policy, for all requests of a while

    tip = warm.tip
    monkeypatch.setattr(Scripts, "__call__", counted)
    assert spent("d/a") == ["admit"]
    claim = warm.post("/claims", {"paths": ["e/"], "intent": "x"}, 201).get_json(force=True)
    assert spent("d/b") == ["admit", "advisory_claims_at"]
    assert spent("e/a") == ["admit", "advisory_claims_at", "advisory_claims_by_id"]
    warm.http.delete(f"/v1/claims/{claim['id']}")
    assert spent("d/c") == ["admit"]
