"""A broker that is full, or was demoted, or hears of nothing makes no node deaf, and no sender fail for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from kombu import Connection
from kombu.transport import redis as transport

from app.stack import commands
from app.stack.processes import Command, Supervisor
from storage.base.settings import Settings, environment
from tasks.node import kombu_fixes
from tests.support.own_redis import own_pair, own_redis, url_of


def test_a_lost_acknowledgement_gives_its_place_free(redis_url: str, repository: str, monkeypatch) -> None:
    monkeypatch.setattr(transport.Transport, "Channel", transport.Transport.Channel)
    kombu_fixes.install()
    with Connection(redis_url, transport_options={"global_keyprefix": repository}) as connection:
        queue = connection.SimpleQueue("hints")
        queue.consumer.qos(prefetch_count=1)
        queue.put({"hint": 1})
        message = queue.get(timeout=60)
        counting = queue.channel.qos
        assert not counting.can_consume()

        def broken(*args: object) -> None:
            raise redis.ConnectionError

        monkeypatch.setattr(counting, "_remove_from_indices", broken)
        with pytest.raises(redis.ConnectionError):
            message.ack()
        assert counting.can_consume()
        queue.close()


def test_a_message_that_redis_has_no_room_to_remember_is_worked_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, servers: object
) -> None:
    monkeypatch.setattr(transport.Transport, "Channel", transport.Transport.Channel)
    kombu_fixes.install()
    with own_redis(tmp_path) as server, Connection(url_of(server)) as connection:
        queue = connection.SimpleQueue("hints")
        queue.put({"hint": 1})
        server.config_set("maxmemory", 1)
        message = queue.get(timeout=60)
        assert message.payload == {"hint": 1}
        message.ack()
        assert queue.channel.qos.can_consume()
        with pytest.raises(redis.ResponseError):
            queue.put({"hint": 2})
        server.config_set("maxmemory", 0)
        queue.put({"hint": 3})
        assert queue.get(timeout=60).payload == {"hint": 3}
        queue.close()


def test_consumer_and_sender_leave_a_demoted_broker_for_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, servers: object
) -> None:
    monkeypatch.setattr(transport.Transport, "Channel", transport.Transport.Channel)
    kombu_fixes.install()
    with own_pair(tmp_path) as pair, Connection(pair.address.url) as sender, Connection(pair.address.url) as consumer:
        producer, queue = sender.Producer(serializer="json"), consumer.SimpleQueue("hints")
        producer.publish({"hint": 1}, routing_key="hints", retry=True)
        assert queue.get(timeout=60).payload == {"hint": 1}
        pair.fail_over()
        producer.publish({"hint": 2}, routing_key="hints", retry=True, retry_policy={"max_retries": 3})
        with pytest.raises(consumer.connection_errors):
            queue.get(timeout=60)
        with Connection(pair.address.url) as anew:
            assert anew.SimpleQueue("hints").get(timeout=60).payload == {"hint": 2}


def test_a_node_and_a_beat_started_on_a_full_broker_wait_and_then_work(tmp_path: Path, servers: object) -> None:
    with own_redis(tmp_path) as server, Supervisor(tmp_path / "nodes", restart=False, abrupt=True) as nodes:
        server.config_set("maxmemory", 1)
        # No bucket: that a task is taken is all that is asked.
        settings = Settings(redis_url=url_of(server), s3_endpoints="http://127.0.0.1:1", merge_interval=0.5)
        environ = environment(settings, {"PYTHONPATH": str(Path(kombu_fixes.__file__).parents[2])})
        for name, argv in (("merger", commands.merger()), ("beat", commands.beat())):
            nodes.start(Command(name, commands.runnable(argv), environ, tmp_path))
        merger, beat = nodes.processes["merger"], nodes.processes["beat"]
        await_(lambda: merger.logs().count("maxmemory") > 2 and "maxmemory" in beat.logs())
        server.config_set("maxmemory", 0)
        await_(lambda: '"task": "sluice.merge"' in merger.logs())
        assert merger.running and beat.running and (merger.starts, beat.starts) == (1, 1)


def await_(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)
