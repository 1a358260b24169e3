"""Mirrors on a whole stack: what lands under load is there soon, whatever dies meanwhile, and no secret is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
import redis

from app.client import mirror_calls
from app.client.api_client import Client
from app.stack.stack import Stack
from tests.support.git_server import PASSWORD, credentials, git_server
from tests.support.waiting import await_true

pytestmark = pytest.mark.parametrize("s3_kind", ["seaweedfs"], indirect=True)


def land(client: Client, name: str) -> str:
    base = client.head()["tip"]["commit"]
    change = {"op": "put", "path": name, "content": name}
    made = client.submit("all", {"base": base, "message": f"Make {name}", "changes": [change]})
    landed = client.changeset(made["id"], 60, "landed")
    assert landed["status"] == "landed"
    return str(landed["commit"])


def test_what_lands_is_at_the_mirror_soon_whatever_dies_and_no_secret_is_left(
    new_stack: Callable[..., Stack], tmp_path: Path
) -> None:
    with git_server(tmp_path / "host") as server:
        settings = {
            "mirror_private_targets": True,
            "mirror_credentials": str(credentials(tmp_path, server)),
            "mirror_look": 0.5,
            "mirror_wait": 5.0,
        }
        stack = new_stack(settings=settings, with_flower=False, with_tokens=True, with_webhooks=True)
        client = Client(stack.url, token=stack.token)
        client.create_slice("all", ["/"])
        first = land(client, "begin")
        mirror_calls.create(client, "host", server.url, "refs/heads/main")
        await_true(lambda: server.at() == first)

        # Under load: each commit that lands is at the mirror within the promised time.
        stopping, landed = threading.Event(), []

        def write(writer: int) -> None:
            own = Client(stack.url, token=stack.token)
            number = 0
            while not stopping.is_set():
                landed.append((land(own, f"w{writer}/{number}"), time.time()))
                number += 1

        writers = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
        pushes = len(pushed(server))
        for writer in writers:
            writer.start()
        lags = []
        try:
            for _ in range(3):
                count = len(landed)
                await_true(lambda count=count: len(landed) > count)
                commit, when = landed[-1]
                await_true(lambda commit=commit: contains(server, commit))
                lags.append(time.time() - when)
        finally:
            stopping.set()
            for writer in writers:
                writer.join()
        print(f"landed {len(landed)}, at the mirror after {[round(lag, 1) for lag in lags]} s")
        tip = client.head()["tip"]["commit"]
        await_true(lambda: server.at() == tip)
        times = pushed(server)[pushes:]
        apart = [later - earlier for earlier, later in pairwise(times)]
        assert apart and min(apart) > stack.settings.mirror_interval / 2, apart  # as the server answered them
        assert client.health()["healthy"]

        # The sender is killed in the middle of a push, and Redis is flushed.
        server.behave(hold_push=True)
        later = land(client, "later")
        await_true(lambda: any("receive-pack" in each["path"] and not each["status"] for each in server.requests()))
        told = [text for each in processes(stack) for text in (*each.cmdline(), *each.environ().values())]
        stack.kill("sender")
        with redis.Redis.from_url(stack.settings.redis_url) as client_of_redis:
            client_of_redis.flushall()
        server.behave()
        await_true(lambda: server.at() == later)
        server.git("fsck", "--strict")
        log = server.git("log", "--format=%H %s", "main").splitlines()
        assert log[0] == f"{later} Make later" and len(log) == len(landed) + 3

        # Somebody else pushes: it stops, is shown, and goes on when that is mended.
        theirs = server.push_over({"theirs": "1"}, parent=later)
        ours = land(client, "ours")
        await_true(lambda: mirror_calls.show(client, "host")["stopped"] == "diverged")
        assert server.at() == theirs
        server.git("update-ref", "refs/heads/main", later)
        mirror_calls.resume(client, "host")
        await_true(lambda: server.at() == ours)
        await_true(lambda: mirror_calls.show(client, "host")["state"] == "current")
    stack.stop()
    files = [path for path in stack.data.rglob("*") if path.is_file()]
    found = [path for path in files if PASSWORD.encode() in path.read_bytes()]
    assert found == [] and not [text for text in told if PASSWORD in text]
    assert any("mirror_pushed" in path.read_text(errors="replace") for path in files if path.suffix == ".log")


def pushed(server) -> list[float]:
    return [
        each["time"] for each in server.requests()
        if each["method"] == "POST" and "receive-pack" in each["path"] and each["status"] == 200
    ]  # fmt: skip


def contains(server, commit: str) -> bool:
    return commit in server.git("rev-list", "main").split()


def processes(stack: Stack) -> list[psutil.Process]:
    own = psutil.Process()
    return [each for each in own.children(recursive=True) if each.is_running()]
