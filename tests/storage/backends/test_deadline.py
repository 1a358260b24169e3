"""Budgets: the calls of one request or batch take no longer together than one setting says, however slow each is."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
import redis

from benchmarks.toxiproxy import Proxy
from storage.backends import deadline
from storage.backends.bucket import Bucket, BucketError
from storage.backends.deadline import Spent
from storage.backends.redis_client import connect
from storage.base.settings import Settings

NewProxy = Callable[[str], Proxy]
# What a hung call may take beyond its budget on a busy machine; without budgets, the calls here take over 100 seconds.
SLACK = 60.0
PATIENT = {"redis_timeout": 120.0, "s3_timeout": 960.0}


@pytest.fixture
def slow_redis(redis_settings: Settings, new_proxy: NewProxy) -> tuple[redis.Redis, Proxy]:
    url = urlsplit(redis_settings.redis_url)
    proxy = new_proxy(f"{url.hostname}:{url.port}")
    behind = url._replace(netloc=proxy.address).geturl()
    return connect(replace(redis_settings, redis_url=behind, **PATIENT)), proxy


@pytest.fixture
def slow_bucket(s3_settings: Settings, new_proxy: NewProxy) -> tuple[Bucket, Proxy]:
    Bucket(s3_settings).ensure()
    proxy = new_proxy(urlsplit(s3_settings.endpoints[0]).netloc)
    return Bucket(replace(s3_settings, s3_endpoints=f"http://{proxy.address}", **PATIENT)), proxy


def repeat(call: Callable[[], object]) -> None:
    for _ in range(1000):
        call()


def test_a_budget_begins_with_the_first_call_and_a_wait_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(deadline, "time", SimpleNamespace(monotonic=lambda: clock.now))
    with deadline.budget("request_budget", 5.0):
        clock.now += 10.0  # a slow client's body
        assert deadline.left(10.0) == 5.0
        with deadline.waiting():
            clock.now += 10.0
        assert deadline.left(10.0) == 5.0
        assert deadline.left(1.0) == 1.0
        clock.now += 4.0
        assert deadline.left(10.0) == 1.0
        clock.now += 2.0
        with deadline.budget("batch_budget", 9.0):
            assert deadline.left() == 9.0, "what gives back has its own"
        with pytest.raises(Spent, match="request_budget"):
            deadline.left()
    assert deadline.left(3.0) == 3.0


@pytest.mark.parametrize("warm", [False, True], ids=["a-new-connection", "one-of-the-pool"])
def test_a_redis_that_does_not_answer_takes_no_more_than_the_budget(
    slow_redis: tuple[redis.Redis, Proxy], warm: bool
) -> None:
    client, proxy = slow_redis
    if warm:
        client.ping()
    proxy.add("timeout", timeout=0)
    started = time.monotonic()
    with deadline.budget("request_budget", 0.5), pytest.raises(redis.RedisError):
        repeat(client.ping)
    assert time.monotonic() - started < SLACK
    proxy.heal()
    assert client.ping(), "and with another budget, or none, it goes on"


def test_slow_answers_of_redis_add_up_to_the_budget(slow_redis: tuple[redis.Redis, Proxy]) -> None:
    client, proxy = slow_redis
    proxy.add("latency", latency=200)
    started = time.monotonic()
    with deadline.budget("request_budget", 1.0), pytest.raises(redis.RedisError):
        repeat(client.ping)
    assert time.monotonic() - started < SLACK


def test_a_connection_that_broke_is_made_again(slow_redis: tuple[redis.Redis, Proxy]) -> None:
    client, proxy = slow_redis
    client.ping()
    proxy.add("reset_peer", timeout=0)
    with pytest.raises(redis.ConnectionError):
        client.ping()
    proxy.heal()
    client.connection_pool.disconnect(inuse_connections=True)
    assert client.ping()


@pytest.mark.parametrize("toxic", [("timeout", {"timeout": 0}), ("bandwidth", {"rate": 1})], ids=["mute", "a-trickle"])
def test_a_bucket_that_does_not_answer_takes_no_more_than_the_budget(
    slow_bucket: tuple[Bucket, Proxy], toxic: tuple[str, dict[str, int]]
) -> None:
    bucket, proxy = slow_bucket
    data = bytes(256 << 10)
    assert bucket.create("large", data).stored
    for stream in ("downstream", "upstream"):
        proxy.add(toxic[0], stream=stream, **toxic[1])
    calls: list[Callable[[], object]] = [
        lambda: bucket.create("another", data),
        lambda: bucket.get("large"),
        lambda: bucket.get_many([f"x{i}" for i in range(32)]),
        lambda: list(bucket.list_keys("large")) and repeat(lambda: bucket.get("large")),
    ]
    for call in calls:
        started = time.monotonic()
        with deadline.budget("request_budget", 0.5), pytest.raises(BucketError):
            call()
        assert time.monotonic() - started < SLACK
    proxy.heal()
    assert bucket.get("large") == data


class Forgetful(socketserver.ThreadingTCPServer):
    """A proxy whose first connection is taken and never answered, as by a store that is just coming up."""

    daemon_threads, block_on_close = True, False

    def __init__(self, upstream: str) -> None:
        host, _, port = upstream.partition(":")
        self.upstream = host, int(port)
        self.forgotten = threading.Event()
        super().__init__(("127.0.0.1", 0), _Relay)


class _Relay(socketserver.BaseRequestHandler):
    server: Forgetful

    def handle(self) -> None:
        if not self.server.forgotten.is_set():
            self.server.forgotten.set()
            while self.request.recv(1 << 16):
                pass
            return
        with socket.create_connection(self.server.upstream) as upstream:
            threading.Thread(target=relay, args=(self.request, upstream), daemon=True).start()
            relay(upstream, self.request)


def relay(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)


@pytest.mark.parametrize("call", ["create", "get", "list_keys"])
def test_a_call_that_a_store_never_answers_is_repeated_within_the_time(s3_settings: Settings, call: str) -> None:
    direct = Bucket(s3_settings)
    direct.ensure()
    direct.create("x", b"1")
    with Forgetful(urlsplit(s3_settings.endpoints[0]).netloc) as proxy:
        threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        # One try of the whole s3_timeout would take more than all calls together may.
        endpoint = f"http://127.0.0.1:{proxy.server_address[1]}"
        bucket = Bucket(replace(s3_settings, s3_endpoints=endpoint, s3_timeout=24.0))
        with deadline.budget("request_budget", 20.0):
            if call == "create":
                assert bucket.create("y", b"2").stored
            elif call == "get":
                assert bucket.get("x") == b"1"
            else:
                assert "x" in list(bucket.list_keys(""))
        assert proxy.forgotten.is_set()
        proxy.shutdown()


def test_a_put_that_broke_is_sent_again_and_its_own_bytes_are_no_winner(slow_bucket: tuple[Bucket, Proxy]) -> None:
    bucket, proxy = slow_bucket
    proxy.add("reset_peer", toxicity=0.5, timeout=0)
    stored = 0
    for i in range(8):
        try:
            bucket.create(f"x{i}", b"%d" % i)
            stored += 1
        except BucketError:
            continue  # four resets in a row
    assert stored > 4
    proxy.heal()
    assert all(found in (b"%d" % i, None) for i, found in enumerate(bucket.get_many([f"x{i}" for i in range(8)])))
