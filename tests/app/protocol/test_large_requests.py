"""A request that is large, right or wrong, is answered within bounds, and everybody else is answered meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storage.base.settings import Settings
from storage.repository import Repository
from tests.support.api_server import Answer, Server, serving
from tests.support.world import World

MIB = 1 << 20
BULK = "/v1/changesets"


@pytest.fixture
def server(settings: Settings, tmp_path: Path) -> Iterator[Server]:
    World(Repository(settings))
    # A busy machine may take its time.
    calm = replace(settings, max_request_changes=20_000, request_budget=300.0, body_timeout=300.0)
    with serving(calm, tmp_path) as running:
        yield running


def answered_meanwhile(server: Server, asked: Future[Answer]) -> int:
    """Return how often others were answered until `asked` was."""
    count = 0
    while not asked.done():
        assert server.get("/healthz").status == 200
        count += 1
    return count


def await_others(enough: int, asked: Callable[[], int]) -> None:
    """Ask again until others were answered so often meanwhile: what asks for them may stand still itself."""
    counts: list[int] = []
    while not counts or counts[-1] < enough:
        assert len(counts) < 5, counts
        counts.append(asked())


def changes(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"op": "put", "path": f"d{i % 97}/f{i}", "content": f"{i}\n", "base": None, **more} for i in range(count)]


def item(label: str, some: list[dict[str, Any]]) -> dict[str, Any]:
    return {"slice": "all", "message": label, "changes": some}


def test_a_body_of_millions_of_empty_objects_is_refused_without_memory(server: Server) -> None:
    body = b'{"changesets":[' + b"{}," * (21 * MIB) + b"{}]}"
    before = server.memory()

    def asked() -> int:
        with ThreadPoolExecutor(3) as pool:
            posted = [pool.submit(server.post, BULK, body) for _ in range(3)]
            meanwhile = answered_meanwhile(server, posted[0])
            for each in posted:
                assert each.result().status == 422 and each.result().problem["errors"]
        return meanwhile

    await_others(3, asked)
    assert server.memory() - before < 600 * MIB


def beside_others(server: Server, changesets: list[dict[str, Any]]) -> int:
    """Submit changesets, and return how often others were answered meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.post, BULK, json.dumps({"changesets": changesets}).encode())
        meanwhile = answered_meanwhile(server, asked)
        assert asked.result().status == 202
    return meanwhile


def test_a_request_has_as_many_changes_as_allowed_and_no_more(server: Server) -> None:
    too_many = [item(str(i), changes(10_000)) for i in range(3)]
    refused = server.post(BULK, json.dumps({"changesets": too_many}).encode())
    assert refused.status == 422 and "max_request_changes" in str(refused.problem["detail"])
    most = [item(str(i), changes(5_000)) for i in range(4)]
    # It takes seconds, and nobody waits for all of them.
    await_others(5, lambda: beside_others(server, most))


def test_contents_of_many_megabytes_are_taken_beside_others(server: Server) -> None:
    large = item("m", [{"op": "put", "path": "large", "content": "ab\n" * (10 * MIB), "base": None}])
    await_others(3, lambda: beside_others(server, [large]))


def test_a_wrong_body_of_many_megabytes_has_an_answer_of_few_bytes(server: Server) -> None:
    unknown = {f"unknown-{i}": i for i in range(100_000)}
    wrong = {
        "unknown fields": item("m", [{**unknown, "op": "put"}]),
        "fields of a changeset": {**item("m", []), **unknown},
        "no paths": item("m", [{"op": "put"}] * 10_000),
        "long paths": item("m", [{"op": "put", "path": "/" * 5000, "content": ""}] * 500),
        "paths in each other's way": item("m", [{"op": "put", "path": "a", "content": "", "base": None}] * 10_000),
    }
    for name, each in wrong.items():
        answer = server.post(BULK, json.dumps({"changesets": [each] * 3}).encode())
        assert answer.status == 422 and len(answer.body) < 100_000, name


def test_a_large_body_that_is_refused_leaves_nothing_of_itself_in_the_log(server: Server) -> None:
    for body in (b'{"changesets":["MARK"' + b",{}" * MIB + b"]}", b'["MARK' + b"x" * MIB, b'{"MARK":' + b"[" * MIB):
        assert server.post(BULK, body).status in (400, 422)
    logs = server.process.logs()
    assert "MARK" not in logs and "Traceback" not in logs and len(logs) < 100_000
