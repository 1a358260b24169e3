"""An API process that is asked to stop while clients are at work: each is answered, and sent to another process."""

from __future__ import annotations

import http.client
import json
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.stack import commands
from app.stack.processes import Command, Process, Supervisor
from app.stack.servers import free_ports
from benchmarks.toxiproxy import Proxy
from storage.base.settings import Settings, environment
from storage.repository import Repository
from tests.support.waiting import await_true
from tests.support.world import World

ROOT = Path(__file__).parents[2]
# For answers on a busy machine; none of them is waited for so long.
PATIENCE = 60.0
WAIT = 50  # seconds of a long poll that nothing answers

Connect = Callable[[], http.client.HTTPConnection]
Api = tuple[Process, Connect]


@pytest.fixture
def proxy(settings: Settings, new_proxy: Callable[[str], Proxy]) -> Proxy:
    """What the API has before its S3 server."""
    return new_proxy(urlsplit(settings.endpoints[0]).netloc)


@pytest.fixture
def redis_proxy(settings: Settings, new_proxy: Callable[[str], Proxy]) -> Proxy:
    """What the API has before its Redis."""
    return new_proxy(urlsplit(settings.redis_url).netloc)


@pytest.fixture
def api(settings: Settings, proxy: Proxy, redis_proxy: Proxy, tmp_path: Path) -> Iterator[Api]:
    """A process of its own, and connections to it."""
    World(Repository(settings))
    [port] = free_ports(1)

    opened: list[http.client.HTTPConnection] = []

    def connect() -> http.client.HTTPConnection:
        opened.append(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE))
        return opened[-1]

    def ready() -> bool:
        asked = connect()
        try:
            return get(asked, "/readyz")[0] == 200
        except OSError:
            return False
        finally:
            asked.close()

    argv = commands.runnable(commands.api(f"127.0.0.1:{port}"))
    behind = replace(
        settings,
        s3_endpoints=f"http://{proxy.address}",
        redis_url=f"redis://{redis_proxy.address}/0",
        redis_timeout=5.0,
    )
    environ = environment(behind, {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"})
    with Supervisor(tmp_path / "logs", restart=False) as supervisor:
        supervisor.start(Command("api", argv, environ, tmp_path, ready, grace=commands.api_grace()))
        yield supervisor.processes["api"], connect
        for each in opened:
            each.close()


def get(connection: http.client.HTTPConnection, path: str, body: object = None) -> tuple[int, str, bytes]:
    """Send one request and return the status, what the answer says of the connection, and its body."""
    data = None if body is None else json.dumps(body)
    connection.request("GET" if body is None else "POST", path, data, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, answer.headers["Connection"], answer.read()


def submission(path: str, **more: object) -> dict[str, object]:
    return {"message": "m", "changes": [{"op": "put", "path": path, "content": "x", "base": None}], **more}


def stopped(process: Process, connection: http.client.HTTPConnection) -> None:
    """Ask the process to stop; return when it no longer takes new work from a connection that is busy."""
    process.send(signal.SIGTERM)
    while get(connection, "/healthz")[1] != "close":
        pass


def test_a_connection_on_which_nobody_asked_is_answered_once_more(api: Api) -> None:
    process, connect = api
    busy, idle, new = connect(), connect(), connect()
    assert get(idle, "/healthz")[:2] == (200, "keep-alive")
    new.connect()
    assert get(busy, "/healthz")[0] == 200, "connections are accepted in order"
    pid = process.pid
    stopped(process, busy)
    assert get(idle, "/healthz")[:2] == (200, "close")
    assert get(new, "/healthz")[:2] == (200, "close")
    assert pid and process.await_end(pid, PATIENCE)
    assert process.status == 0 and "Exception in worker process" not in process.logs(), process.logs()


def test_an_idle_connection_is_closed_and_does_not_hold_the_process(api: Api) -> None:
    process, connect = api
    busy, idle = connect(), connect()
    assert get(idle, "/healthz")[:2] == (200, "keep-alive")
    pid = process.pid
    stopped(process, busy)
    assert idle.sock.recv(1) == b"", "closed in order, not reset"
    assert pid and process.await_end(pid, PATIENCE)
    assert process.status == 0, process.logs()


def test_long_polls_and_streams_end_in_order_and_with_what_is_known(api: Api) -> None:
    process, connect = api
    status, _, body = get(connect(), "/v1/slices/all/changesets", submission("a", hold=True))
    assert status == 202
    held = json.loads(body)["id"]
    stream = connect()
    stream.request("GET", "/v1/events")
    events = stream.getresponse()
    first = [events.readline() for _ in range(3)]
    assert first[0].startswith(b"retry: ")
    busy, poll = connect(), connect()
    for each in (busy, poll):
        assert get(each, "/healthz")[0] == 200, "it is accepted"
    poll.request("GET", f"/v1/changesets/{held}?wait={WAIT}")
    with ThreadPoolExecutor() as pool:
        rest = pool.submit(events.read)  # raises where the stream is cut
        stopped(process, busy)
        answer = poll.getresponse()
        assert (answer.status, answer.headers["Connection"]) == (200, "close")
        assert json.load(answer)["status"] == "held"
        assert rest.result().endswith(first[1] + b"\n"), "and says where to go on"


def test_a_submission_under_way_is_accepted(api: Api, proxy: Proxy, settings: Settings) -> None:
    process, connect = api
    busy = connect()
    assert get(busy, "/healthz")[0] == 200
    proxy.add("bandwidth", rate=0)  # no answer of the store arrives
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(get, connect(), "/v1/slices/all/changesets", submission("slow"))
        while not any(True for _ in Repository(settings).bucket.list_keys("inbox/")) and not slow.done():
            get(busy, "/healthz")  # until the store has its pack
        stopped(process, busy)
        proxy.heal()
        assert slow.result()[:2] == (202, "close")
        changeset = json.loads(slow.result()[2])["id"]
    queue = Repository(settings).queue
    await_true(lambda: queue.states([changeset])[1][0].slice is not None)  # at once, or once Redis has answered


def test_what_could_not_be_queued_is_queued_before_the_process_ends(
    api: Api, proxy: Proxy, redis_proxy: Proxy, settings: Settings
) -> None:
    process, connect = api
    busy, pid = connect(), process.pid
    proxy.add("bandwidth", rate=0)
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(get, connect(), "/v1/slices/all/changesets", submission("slow"))
        while not any(True for _ in Repository(settings).bucket.list_keys("inbox/")) and not slow.done():
            get(busy, "/healthz")
        redis_proxy.add("bandwidth", stream="upstream", rate=0)  # Redis is asked nothing from now on
        proxy.heal()
        assert slow.result()[0] == 202
        changeset = json.loads(slow.result()[2])["id"]
    stopped(process, busy)
    assert pid and not process.await_end(pid, 8.0), "it waits, longer than idle connections do"
    _, [state] = Repository(settings).queue.states([changeset])
    assert state.slice is None, "nobody has queued it"
    redis_proxy.heal()
    assert process.await_end(pid, PATIENCE)
    assert process.status == 0 and "Exception in worker process" not in process.logs(), process.logs()
    _, [state] = Repository(settings).queue.states([changeset])
    assert state.slice is not None
