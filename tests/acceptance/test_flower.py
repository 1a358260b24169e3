"""The dashboard shows the tasks by name, to those who have its password."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import urllib3

from app.client import Client
from app.stack import Stack
from app.stack.stack import FLOWER_USER

PATIENCE = 60.0


@pytest.mark.parametrize("s3_kind", ["seaweedfs"], indirect=True)
def test_commits_merges_and_the_beats_ticks_appear_by_name(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack({"merge_interval": 1.0, "upkeep_interval": 1.0}, with_flower=True)
    client = Client(stack.url)
    client.create_slice("all", ["/"])
    change = {"op": "put", "path": "f", "content": "x"}
    made = client.submit("all", {"base": client.head()["tip"]["commit"], "message": "m", "changes": [change]})
    assert client.changeset(made["id"], 30, "landed")["status"] == "landed"

    http = urllib3.PoolManager()
    headers = urllib3.make_headers(basic_auth=f"{FLOWER_USER}:{stack.flower_password}")
    assert http.request("GET", f"{stack.flower_url}/api/tasks").status == 401
    wanted = {"sluice.commit", "sluice.merge", "sluice.upkeep"}
    until = time.monotonic() + PATIENCE
    named: dict[str, int] = {}
    while not (wanted <= named.keys() and named["sluice.merge"] > 2) and time.monotonic() < until:
        tasks = http.request("GET", f"{stack.flower_url}/api/tasks", headers=headers).json()
        named = {}
        for task in tasks.values():
            named[task["name"]] = named.get(task["name"], 0) + 1
    assert wanted <= named.keys()
    assert named["sluice.merge"] > 2, "more than the changeset asked for: the beat's ticks"
