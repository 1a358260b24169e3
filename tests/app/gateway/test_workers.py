"""The workers of a gateway serve one folder together, and none of them is needed."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from app.gateway.wire.pkt_lines import pkt
from app.stack.processes import Supervisor
from storage.base.settings import Settings
from tests.harness.address import Address
from tests.support.gateway import WHOLE, Gateway, git, serving
from tests.support.principals import ROOT_TOKEN
from tests.support.waiting import await_true
from tests.support.world import World

REFS = pkt(b"command=ls-refs") + b"0000"


def workers(gateway: Gateway) -> set[int]:
    assert gateway.process.pid
    found = psutil.Process(gateway.process.pid).children()
    return {each.pid for each in found if "GatewayWorker" in " ".join(each.cmdline())}


def test_clones_and_pushes_by_several_workers_are_those_of_one(
    with_tokens: Settings, world: World, tmp_path: Path
) -> None:
    world.put({f"d{number}/f": b"x" * number for number in range(20)})
    world.work()
    with serving(with_tokens, tmp_path / "g", token=ROOT_TOKEN, workers=2) as gateway:
        assert len(workers(gateway)) == 2

        def clone_and_push(number: int) -> None:
            clone = tmp_path / str(number)
            gateway.clone(clone)
            git(clone, "fsck", "--strict")
            (clone / f"new{number}").write_text("1")
            git(clone, "add", ".")
            git(clone, "commit", "-qm", f"push {number}")
            git(clone, "push", "-q", "-o", "wait=no", "origin", "HEAD:refs/for/main")

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(clone_and_push, range(12)))
        world.work()
        assert {f"new{number}" for number in range(12)} <= world.files().keys()
        heads = {gateway.ask_git(WHOLE, REFS).body for _ in range(20)}
        assert len(heads) == 1 and world.tip.hex().encode() in heads.pop()


def test_while_one_worker_is_dead_the_other_serves(with_tokens: Settings, world: World, tmp_path: Path) -> None:
    world.put({"d/f": b"x"})
    world.work()
    with serving(with_tokens, tmp_path / "g", token=ROOT_TOKEN, workers=2) as gateway:
        gateway.clone(tmp_path / "before")
        killed, other = workers(gateway)
        os.kill(killed, signal.SIGKILL)
        for number in range(5):
            world.put({f"d/f{number}": b"x"})
            world.work()
            assert world.tip.hex().encode() in gateway.ask_git(WHOLE, REFS).body
        await_true(lambda: len(workers(gateway)) == 2)
        assert other in workers(gateway) and killed not in workers(gateway)
        gateway.clone(tmp_path / "after")
        git(tmp_path / "after", "fsck", "--strict")


def test_a_worker_that_dies_while_redis_is_away_takes_no_other_with_it(
    with_tokens: Settings, world: World, tmp_path: Path
) -> None:
    world.put({"d/f": b"x"})
    world.work()
    with Supervisor(tmp_path / "logs", restart=False, abrupt=True) as supervisor:
        address, redis = Address(supervisor, tmp_path), urlsplit(with_tokens.redis_url).port or 6379
        address.lead_to(redis)
        settings = replace(with_tokens, redis_url=address.url)
        with serving(settings, tmp_path / "g", token=ROOT_TOKEN, workers=2) as gateway:
            # Each takes a number once it has read all that it needs to start.
            await_true(lambda: len(list((gateway.folder / "answers").glob("*.lock"))) == 2)
            gateway.clone(tmp_path / "before")
            killed, other = workers(gateway)
            address.lead_to(0)
            os.kill(killed, signal.SIGKILL)
            log = tmp_path / "g" / "logs" / "gateway.log"
            await_true(lambda: log.read_text().count("A worker cannot start yet") > 1)
            assert other in workers(gateway)
            address.lead_to(redis)
            assert gateway.process.starts == 1
            gateway.clone(tmp_path / "after")
            git(tmp_path / "after", "fsck", "--strict")
