"""Which nodes are at work: those that said so within seconds, by the clock of Redis."""

from __future__ import annotations

import pytest
import redis

from storage.backends.redis_client import connect
from storage.base.settings import Settings
from storage.coordination import nodes
from storage.coordination.nodes import Node, Nodes, missing
from storage.view.view import View

WORKER, MERGER = Node("commits@a", ("commits", "upkeep"), 7), Node("merges@a", ("merges", "upkeep"), 8)
BEAT = Node("beat@a", ("beat",), 9)


@pytest.fixture
def known(redis_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """Nodes that do not fall silent because the machine is busy."""
    monkeypatch.setattr(nodes, "SILENCE", 50.0)
    return Nodes(View(redis_settings, connect(redis_settings)))


def test_a_node_is_at_work_from_when_it_says_so_until_it_ends(known: Nodes) -> None:
    assert known.at_work() == []
    for node in (MERGER, WORKER, BEAT):
        known.say(node)
        known.say(node)
    assert known.at_work() == [BEAT, WORKER, MERGER]
    known.say(MERGER, at_work=False)
    assert known.at_work() == [BEAT, WORKER]


def test_a_node_that_falls_silent_is_gone_after_some_seconds(known: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    known.say(WORKER)
    monkeypatch.setattr(nodes, "SILENCE", -1.0)
    assert known.at_work() == []


def test_of_two_under_one_name_the_end_of_one_says_nothing_of_the_other(known: Nodes) -> None:
    known.say(BEAT)
    known.say(Node("beat@a", ("beat",), 10))
    known.say(BEAT, at_work=False)
    assert [node.pid for node in known.at_work()] == [10]


def test_a_full_redis_still_hears_that_a_node_is_at_work(known: Nodes, redis_settings: Settings) -> None:
    with redis.Redis.from_url(redis_settings.redis_url) as server:
        before = server.config_get("maxmemory")["maxmemory"]
        server.config_set("maxmemory", 1)
        try:
            known.say(WORKER)
            assert known.at_work() == [WORKER]
        finally:
            server.config_set("maxmemory", before)


@pytest.mark.parametrize(
    ("there", "gone"),
    [
        ([WORKER, MERGER, BEAT], []),
        ([WORKER, BEAT], ["merges"]),
        ([MERGER], ["commits", "beat"]),
        ([Node("all@a", ("commits", "merges", "upkeep"), 1), BEAT], []),
        ([], ["commits", "merges", "upkeep", "beat"]),
    ],
)
def test_what_nobody_does_is_named(there: list[Node], gone: list[str]) -> None:
    assert missing(there) == gone
