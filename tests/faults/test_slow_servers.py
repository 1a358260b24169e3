"""Servers that answer slowly or not at all: the API says 503 within `request_budget`, and workers give back."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.stack import commands
from app.stack.processes import Command, Supervisor
from app.stack.servers import free_ports
from benchmarks.toxiproxy import Proxy
from storage.backends.redis_client import UNAVAILABLE
from storage.base.settings import Settings, environment
from storage.commit.batch import commit_batch
from storage.coordination import new_owner
from storage.queue.states import Claimed
from storage.repository import Repository
from tests.support.waiting import await_true
from tests.support.world import World, item

ROOT = Path(__file__).parents[2]
BUDGET = 1.5
# Without a budget, a request makes its server's many calls wait for half a minute each.
PATIENCE = BUDGET + 25.0
CLIENTS = 40

Ask = Callable[..., tuple[int, dict[str, str]]]


@pytest.fixture
def proxies(settings: Settings, new_proxy: Callable[[str], Proxy]) -> dict[str, Proxy]:
    redis = urlsplit(settings.redis_url)
    return {
        "redis": new_proxy(f"{redis.hostname}:{redis.port}"),
        "s3": new_proxy(urlsplit(settings.endpoints[0]).netloc),
    }


@pytest.fixture
def behind(settings: Settings, proxies: dict[str, Proxy]) -> Settings:
    """Settings that lead through the proxies."""
    url = urlsplit(settings.redis_url)._replace(netloc=proxies["redis"].address).geturl()
    return replace(settings, redis_url=url, s3_endpoints=f"http://{proxies['s3'].address}", request_budget=BUDGET)


@pytest.fixture
def world(settings: Settings) -> World:
    return World(Repository(settings))


@pytest.fixture
def ask(world: World, behind: Settings, tmp_path: Path) -> Iterator[Ask]:
    """Ask an API of its own: one process of gunicorn and gevent, as in any deployment, behind the proxies."""
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}"

    def call(path: str, body: object = None, timeout: float = PATIENCE) -> tuple[int, dict[str, str]]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, dict(answer.headers)
        except urllib.error.HTTPError as refusal:
            refusal.close()
            return refusal.code, dict(refusal.headers)

    def ready() -> bool:
        try:
            return call("/readyz", timeout=2.0)[0] in {200, 503}
        except OSError:
            return False

    argv = commands.runnable(commands.api(f"127.0.0.1:{port}"))
    more = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    command = Command("api", argv, environment(behind, more), tmp_path, ready)
    with Supervisor(tmp_path / "logs", restart=False, abrupt=True) as supervisor:
        supervisor.start(command)
        yield call


def submission(number: int) -> dict[str, object]:
    changes = [{"op": "put", "path": f"f{number}", "content": "x", "base": None}]
    return {"author": {"name": "Ada", "email": "ada@example.org"}, "message": "m", "changes": changes}


def accepted(ask: Ask, number: int) -> None:
    """Submit until it is accepted: the budget is short, for servers that are well as for those that are not."""
    until = time.monotonic() + 60
    while (status := ask("/v1/slices/all/changesets", submission(number))[0]) != 202:
        assert status == 503 and time.monotonic() < until, status


TOXICS = {
    "mute": ("timeout", {"timeout": 0}),
    "slow": ("latency", {"latency": 60_000}),
    "a-trickle": ("bandwidth", {"rate": 0}),
}


@pytest.mark.parametrize("toxic", TOXICS)
@pytest.mark.parametrize("which", ["redis", "s3"])
def test_the_api_answers_503_within_its_budget_and_comes_back(
    ask: Ask, proxies: dict[str, Proxy], which: str, toxic: str
) -> None:
    path = "/v1/slices/all/changesets"
    accepted(ask, 0)
    kind, attributes = TOXICS[toxic]
    proxies[which].add(kind, **attributes)
    for _ in range(2):  # the second time, tokens and policy have to be looked up again first
        with ThreadPoolExecutor(CLIENTS) as pool:
            answers = list(pool.map(lambda i: ask(path, submission(i)), range(1, CLIENTS)))
        assert {status for status, _ in answers} == {503}
        assert all(int(headers["Retry-After"]) >= 1 for _, headers in answers)
    proxies[which].heal()

    def comes_loose() -> bool:
        with ThreadPoolExecutor(CLIENTS) as pool:
            statuses = {status for status, _ in pool.map(lambda i: ask(path, submission(100 + i)), range(CLIENTS))}
        assert statuses <= {202, 503}
        return 202 in statuses

    await_true(comes_loose)  # what hung; on a busy machine not all of the first crowd in so short a budget
    accepted(ask, 200)


@pytest.mark.parametrize("which", ["redis", "s3"])
def test_a_worker_gives_its_batch_back_within_its_budget(
    world: World, behind: Settings, proxies: dict[str, Proxy], which: str
) -> None:
    ids = world.submit(*[item(world.all, {f"f{i}": b"x"}, world.tip) for i in range(20)])
    # A budget that a busy machine does not spend before a server is asked for anything.
    worker = Repository(replace(behind, batch_budget=8.0, redis_timeout=1.0, lock_ttl=3600.0))
    claim = worker.queue.claim

    def claim_and_lose(*args: Any) -> list[Claimed]:
        claimed = claim(*args)
        proxies[which].add("timeout", timeout=0)
        return claimed

    worker.queue.claim = claim_and_lose  # type: ignore[method-assign]
    with pytest.raises(UNAVAILABLE):
        commit_batch(worker)
    proxies[which].heal()
    worker.queue.claim = claim  # type: ignore[method-assign]
    worker.settings = replace(worker.settings, batch_budget=60.0)
    done: list[int] = []

    def commits() -> bool:
        with suppress(UNAVAILABLE):  # a busy Redis may need more than so short a time-out
            done.append(commit_batch(worker).changesets)
        return bool(done)

    await_true(commits)
    assert done == [20], "all at once: what could not be given back was, and nobody is suspected"
    assert [world.status(each) for each in ids] == ["committed"] * 20


def test_a_store_slower_than_a_lease_loses_none(settings: Settings, proxies: dict[str, Proxy]) -> None:
    # The heartbeat is in this process: where that stalls for half a lease, a lost one shows nothing.
    for number in range(10):
        run = settings.repository + str(number)
        at_store = replace(settings, repository=run, s3_endpoints=f"http://{proxies['s3'].address}", s3_timeout=80.0)
        if loses_no_lease(World(Repository(replace(settings, repository=run))), Repository(at_store), proxies["s3"]):
            return
    pytest.fail("this machine stalls all the time")


def loses_no_lease(world: World, worker: Repository, proxy: Proxy) -> bool:
    """Have the worker commit at a store that answers later than a lease lives; no if this process stalled."""
    ids = world.submit(*[item(world.all, {f"f{i}": b"x"}, world.tip) for i in range(20)])
    proxy.add("latency", latency=int(1.2 * worker.settings.lock_ttl * 1000))
    redis, prefix = world.repo.redis, world.repo.view.prefix
    seen, lost, taken, gaps = set(), [], [], [0.0]
    with ThreadPoolExecutor(1) as pool:
        looked = time.monotonic()
        batch = pool.submit(commit_batch, worker)
        await_true(lambda: bool(world.repo.queue.claimants()) or batch.done())
        while not batch.done():
            ticket = redis.get(prefix + "ticket")
            owner = (ticket or b"").decode().partition(" ")[0]
            still, lease = redis.pipeline().get(prefix + "ticket").exists(f"{prefix}lease:{owner}").execute()
            if ticket and ticket == still:
                seen.add(owner)
                lost += [owner] * (not lease)
            taken += world.repo.queue.claim(new_owner())
            gaps.append(time.monotonic() - looked)
            looked += gaps[-1]
    proxy.heal()
    if max(gaps) > worker.settings.lock_ttl / 2:
        return False
    assert batch.result().changesets == 20 and len(seen) == 1 and (lost, taken) == ([], [])
    assert [world.status(each) for each in ids] == ["committed"] * 20
    return True
