"""The dashboard shows what was done, in words, to those who have its password; and nothing where nothing was done."""

from __future__ import annotations

import ast
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
import urllib3

from app.client.api_client import Client
from app.stack.stack import FLOWER_USER, Stack
from tests.support.logs import logged
from tests.support.waiting import await_true

PATIENCE = 60.0
TICKS = 5

pytestmark = pytest.mark.parametrize("s3_kind", ["seaweedfs"], indirect=True)


class Dashboard:
    """Flower, as somebody with its password reads it."""

    def __init__(self, stack: Stack) -> None:
        self._http = urllib3.PoolManager()
        self._url = f"{stack.flower_url}/api/tasks"
        self._headers = urllib3.make_headers(basic_auth=f"{FLOWER_USER}:{stack.flower_password}")

    def rows(self) -> list[dict[str, Any]]:
        """The rows of runs that began while Flower listened: of one that was under way, it has only the end."""
        rows = self._http.request("GET", self._url, headers=self._headers).json().values()
        return [row for row in rows if row["received"]]

    def await_listening(self, client: Client) -> None:
        """Land changes until one is a row: Flower answers before it listens to the nodes."""

        def has_heard() -> bool:
            warm_up = submit(client, client.head()["tip"]["commit"], f"{time.monotonic()}", "warm-up")
            assert client.changeset(warm_up, 30, "landed")["status"] == "landed"
            return any(row["name"] == "sluice.commit" for row in self.rows())

        await_true(has_heard, PATIENCE)

    def refuses_others(self) -> bool:
        return self._http.request("GET", self._url).status == 401

    def results(self, task: str) -> list[str]:
        """What the runs of a task did, as the rows say; those that have ended."""
        return [ast.literal_eval(row["result"]) for row in self.rows() if row["name"] == task and row["result"]]

    def await_results(self, task: str, wanted: set[str]) -> None:
        await_true(lambda: wanted <= set(self.results(task)), PATIENCE)


def submit(client: Client, base: str, content: str, path: str = "f") -> str:
    change = {"op": "put", "path": path, "content": content}
    return str(client.submit("all", {"base": base, "message": "m", "changes": [change]})["id"])


def await_ticks(stack: Stack, name: str, task: str) -> None:
    """Wait until ticks have had a node run a task, and it found nothing to do: at `debug` the node says so."""
    until = time.monotonic() + PATIENCE
    while True:
        events = logged(stack.processes[name].logs())
        idle = [each for each in events if each.get("task") == task and each.get("result") == "nothing to do"]
        if sum(each["reason"] == "tick" for each in idle) >= TICKS:
            return
        assert time.monotonic() < until, events
        time.sleep(0.1)


def test_a_row_says_what_its_run_did_and_why_it_was_asked_for(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack({"merge_interval": 1.0, "upkeep_interval": 1.0}, with_flower=True)
    dashboard = Dashboard(stack)
    assert dashboard.refuses_others()
    client = Client(stack.url)
    client.create_slice("all", ["/"])
    dashboard.await_listening(client)
    base = client.head()["tip"]["commit"]

    def merges_what_it_commits() -> bool:
        landed = client.changeset(submit(client, client.head()["tip"]["commit"], f"{time.monotonic()}\n"), 30, "landed")
        assert landed["status"] == "landed"
        entry = f"entry {landed['seq']}"
        await_true(lambda: any(each.endswith(entry) for each in dashboard.results("sluice.commit")), PATIENCE)
        return f"committed 1, merged 1, {entry}" in dashboard.results("sluice.commit")

    await_true(merges_what_it_commits, PATIENCE)  # something else may be in the log at that moment
    second = client.changeset(submit(client, base, "y\n"), 30, "landed")
    assert second["status"] == "conflicted"
    dashboard.await_results("sluice.commit", {f"conflicted 1, entry {second['seq']}"})
    with redis.Redis.from_url(stack.settings.redis_url) as known:
        # The broker's keys stay: without them Flower listens to nobody for a while.
        known.delete(*known.scan_iter("sluice:{*"))
    await_true(lambda: any("view loaded" in result for result in dashboard.results("sluice.upkeep")), PATIENCE)
    for row in dashboard.rows():
        assert len(ast.literal_eval(row["kwargs"])["reason"]) > 3, row
        assert row["state"] != "SUCCESS" or (row["received"] and row["started"] and row["succeeded"]), row
    reasons = {ast.literal_eval(row["kwargs"])["reason"] for row in dashboard.rows() if row["name"] == "sluice.commit"}
    assert "a submission" in reasons


def test_ticks_that_find_nothing_to_do_are_no_rows(new_stack: Callable[..., Stack]) -> None:
    settings = {"merge_interval": 0.5, "upkeep_interval": 0.5, "log_level": "debug"}
    stack = new_stack(settings, with_flower=True)
    dashboard = Dashboard(stack)
    client = Client(stack.url)
    client.create_slice("all", ["/"])
    dashboard.await_listening(client)
    change = {"op": "put", "path": "held", "content": "x"}
    held = {"base": client.head()["tip"]["commit"], "message": "m", "changes": [change], "hold": True}
    waiting = {"base": client.submit("all", held)["id"], "message": "m", "changes": [change]}
    client.submit("all", waiting)  # it cannot be committed yet, and each tick asks whether it can
    for name, task in (("merger", "sluice.merge"), ("worker", "sluice.commit")):
        await_ticks(stack, name, task)
    landed = client.changeset(submit(client, client.head()["tip"]["commit"], "x\n"), 30, "landed")
    await_true(
        lambda: any(row.endswith(f"entry {landed['seq']}") for row in dashboard.results("sluice.commit")),
        PATIENCE,
    )

    def of_ticks() -> list[dict[str, Any]]:
        return [row for row in dashboard.rows() if ast.literal_eval(row["kwargs"])["reason"] == "tick"]

    # Events come in order: what happened before has been heard of.
    await_true(lambda: all(row["result"] for row in of_ticks()), PATIENCE)
    assert [row for row in of_ticks() if "nothing" in (row["result"] or "")] == []
