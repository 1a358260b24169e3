"""Redis fails over: one address leads to the new primary, and connections to the demoted server are left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from storage.backends import primary
from storage.backends.redis_client import connect
from storage.base.settings import Settings
from storage.coordination import Heartbeat
from storage.queue.append_lock import AppendLock
from storage.queue.queue import Queue
from storage.view.view import View
from tests.harness.replica import Pair
from tests.support.own_redis import own_pair
from tests.support.queue_bench import QueueBench


@pytest.fixture(scope="module")
def pair_of_module(tmp_path_factory: pytest.TempPathFactory, servers: object) -> Iterator[Pair]:
    with own_pair(tmp_path_factory.mktemp("pair")) as made:
        yield made


@pytest.fixture
def pair(pair_of_module: Pair) -> Iterator[Pair]:
    yield pair_of_module
    pair_of_module.fail_back()
    pair_of_module.begin()


@pytest.fixture
def client(pair: Pair) -> Iterator[redis.Redis]:
    with connect(Settings(redis_url=pair.address.url)) as made:
        made.set("a", 1)
        yield made


def await_(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def port_of(client: redis.Redis) -> int:
    return int(client.config_get("port")["port"])


def test_a_write_that_a_demoted_server_refuses_is_done_on_the_new_primary(pair: Pair, client: redis.Redis) -> None:
    pair.fail_over()
    assert client.set("b", 2)
    assert port_of(client) == pair.second


def test_a_pipeline_refused_by_a_demoted_server_is_done_on_the_new_primary(pair: Pair, client: redis.Redis) -> None:
    for transaction in (True, False):
        pipeline = client.pipeline(transaction=transaction)
        pipeline.get("a")
        pipeline.set("b", 2)
        if transaction:
            pair.fail_over()
        assert pipeline.execute()[1]
    assert port_of(client) == pair.second


def test_who_only_reads_leaves_a_demoted_server_within_seconds(
    pair: Pair, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert port_of(client) == pair.first
    pair.fail_over()
    monkeypatch.setattr(primary, "_ROLE_EVERY", 0.0)
    for connection in client.connection_pool._connections:
        connection._next_role = 0.0  # the seconds are over
    assert port_of(client) == pair.second


def test_what_one_connection_met_all_others_of_the_process_leave_too(pair: Pair, client: redis.Redis) -> None:
    pool = client.connection_pool
    several = [pool.get_connection() for _ in range(3)]
    for connection in several:
        pool.release(connection)
    pair.fail_over()
    client.set("b", 2)
    again = [pool.get_connection() for _ in range(3)]
    for connection in again:
        connection.send_command("CONFIG", "GET", "port")
        assert connection.read_response() == {b"port": str(pair.second).encode()}
        pool.release(connection)


def test_a_subscription_is_made_anew_on_the_new_primary(pair: Pair, client: redis.Redis) -> None:
    with client.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe("news")
        await_(lambda: dict(client.pubsub_numsub("news")) == {b"news": 1})
        assert channel.get_message(timeout=0.1) is None
        client.set("b", 1)  # on a connection of its own
        pair.fail_over()
        client.set("b", 2)

        def subscribed() -> bool:
            assert channel.get_message(timeout=0.1) is None
            return dict(client.pubsub_numsub("news")) == {b"news": 1}

        await_(subscribed)
        client.publish("news", "it goes on")
        heard: list[bytes] = []

        def heard_it() -> bool:
            message = channel.get_message(timeout=0.1)  # none where it is that of the subscription
            heard.extend([message["data"]] if message else [])
            return bool(heard)

        await_(heard_it)
        assert heard == [b"it goes on"]


def test_a_lone_replica_answers_reads_and_refuses_writes_with_the_reason(pair: Pair) -> None:
    client = connect(Settings(redis_url=f"redis://127.0.0.1:{pair.second}/0"))
    assert client.get("nothing") is None
    with pytest.raises(primary.NotPrimary) as refused:
        client.set("a", 1)
    assert "replica" in primary.why(refused.value)
    client.close()


def test_neither_a_replica_nor_a_promoted_server_counts_as_recovered(pair: Pair, repository: str) -> None:
    def queue_at(port: int) -> Queue:
        settings = Settings(repository=repository, redis_url=f"redis://127.0.0.1:{port}/0")
        return Queue(settings, View(settings, connect(settings)), None)  # type: ignore[arg-type]

    bench = QueueBench(Settings(repository=repository, redis_url=pair.address.url))
    assert bench.queue.recovered_state() and bench.queue.states([])[0]
    await_(lambda: bench.view.redis.wait(1, 1000) == 1)  # the replica has it
    replica = queue_at(pair.second)
    assert replica.recovered_state() is None and not replica.states([])[0]
    pair.fail_over()
    for port in (pair.first, pair.second):
        queue = queue_at(port)
        assert queue.recovered_state() is None and not queue.states([])[0]
    pair.fail_back()
    queue = queue_at(pair.first)  # the same run as at first, and what it has may have been taken back meanwhile
    assert queue.recovered_state() is None and not queue.states([])[0]
    pair.begin()
    pair.fail_over()


def test_a_server_demoted_and_promoted_again_counts_as_another_run(tmp_path: Path, servers: object) -> None:
    with own_pair(tmp_path) as pair, redis.Redis(port=pair.first) as first, redis.Redis(port=pair.second) as second:
        second.replicaof("NO", "ONE")

        def run() -> bytes:
            settings = Settings(redis_url=f"redis://127.0.0.1:{pair.second}/0")
            with connect(settings) as client:
                return Queue(settings, View(settings, client), None).run()  # type: ignore[arg-type]

        runs = [run()]
        second.replicaof("127.0.0.1", "1")
        second.replicaof("NO", "ONE")
        runs.append(run())
        # A new backlog takes away the one sign that there was a promotion, which is the second replication id.
        second.config_set("repl-diskless-sync-delay", 0)
        second.config_set("repl-backlog-ttl", 1)
        await_(lambda: not second.info("replication")["repl_backlog_active"])
        runs.append(run())
        first.replicaof("127.0.0.1", pair.second)
        await_(lambda: first.info("replication")["master_link_status"] == "up")
        assert not int(second.info("replication")["master_replid2"])
        runs.append(run())
        assert len(set(runs)) == len(runs)


def test_locks_claims_and_messages_of_before_hold_nobody_up(pair: Pair, repository: str) -> None:
    bench = QueueBench(Settings(repository=repository, redis_url=pair.address.url))
    [changeset] = bench.put("S1", "f")
    ticket = AppendLock(bench.settings, bench.view, Heartbeat(bench.settings))
    assert ticket.take("who died", 0.0)
    assert [each.id for each in bench.queue.claim("who died")] == [changeset]
    await_(lambda: bench.view.redis.wait(1, 1000) == 1)
    pair.fail_over()
    assert ticket.take("another", 0.0)
    bench.queue.begin_anew()
    bench.queue.mark_recovered("E", bench.queue.run())
    assert [each.id for each in bench.queue.claim("another")] == [changeset]


def test_a_connection_that_is_being_made_is_not_left_in_the_middle_of_it(pair: Pair, client: redis.Redis) -> None:
    connection = client.connection_pool.get_connection()
    connection.disconnect()
    greet = connection.on_connect_check_health

    def met_by_another(*args: object, **options: object) -> None:
        connection.departure.at = connection._connected_at + 1.0
        greet(*args, **options)

    connection.on_connect_check_health = met_by_another
    connection.connect()
    sock = connection._sock
    connection.send_command("PING")  # only now
    assert connection.read_response() in {b"PONG", "PONG"} and connection._sock is not sock
    connection.departure.at = 0.0
    client.connection_pool.release(connection)
