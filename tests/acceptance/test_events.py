"""Events on a real stack: each exactly once and in order, whatever is cut, and places that come free."""

from __future__ import annotations

import json
import random
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPResponse
from pathlib import Path
from queue import SimpleQueue
from urllib.parse import urlsplit

import pytest
import redis

from app.client.api_client import Client, Json
from app.stack.stack import Stack
from storage.log.entry import Commits, Merge, Release
from storage.log.log import follow
from storage.repository import Repository
from tests.support.waiting import await_true

ROOT = Path(__file__).parents[2]
BULKS, BULK = 20, 12
# What has nothing to do with the bucket is tested on one kind of S3 server.
pytestmark = pytest.mark.parametrize("s3_kind", ["seaweedfs"], indirect=True)

Told = tuple[str, str, str]  # id, event, changeset


class Cutter(socketserver.ThreadingTCPServer):
    """A proxy that cuts every connection after some bytes of the answer, in the middle of whatever it is."""

    daemon_threads, block_on_close = True, False

    def __init__(self, url: str, seed: int = 1) -> None:
        parts = urlsplit(url)
        self.upstream = (parts.hostname, parts.port)
        self.chance = random.Random(seed)
        self.cuts = 0
        super().__init__(("127.0.0.1", 0), _Connection)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Connection(socketserver.BaseRequestHandler):
    server: Cutter

    def handle(self) -> None:
        left = self.server.chance.randint(200, 3000)
        with suppress(OSError), socket.create_connection(self.server.upstream) as upstream:
            threading.Thread(target=self.ask, args=(upstream,), daemon=True).start()
            while left > 0 and (data := upstream.recv(min(left, 1000))):
                self.request.sendall(data)
                left -= len(data)
            self.server.cuts += left <= 0

    def ask(self, upstream: socket.socket) -> None:
        with suppress(OSError):
            while data := self.request.recv(1000):
                upstream.sendall(data)


def expected(repo: Repository) -> Iterator[Told]:
    """What the log says that a listener must be told."""
    committed: dict[int, list[str]] = {}
    for entry, _ in follow(repo.log.read_from(1)):
        match entry:
            case Commits():
                committed[entry.seq] = [decided.id for decided in entry.decided if decided.status == "committed"]
                landed = committed[entry.seq] if entry.published else []
                told = [(decided.status, decided.id) for decided in entry.decided]
                for i, (status, each) in enumerate([*told, *(("landed", each) for each in landed)]):
                    yield f"{entry.seq}-{i}", status, each
            case Merge():
                landed = [each for at in range(entry.first, entry.through + 1) for each in committed.get(at, [])]
                for i, each in enumerate(landed):
                    yield f"{entry.seq}-{i}", "landed", each
            case Release():
                for i, released in enumerate(entry.released):
                    yield f"{entry.seq}-{i}", "released", released.id


def outcome(client: Client, changeset: str) -> str:
    """A changeset's final status; that of the first where a repeat of an unanswered request was given a second id."""
    found = client.changeset(changeset, wait=60, until="landed")
    return outcome(client, found["first"]) if found.get("reason") == "duplicate" else found["status"]


def submissions(client: Client) -> Iterator[list[Json]]:
    """Bulks of changesets: most land, one of each bulk conflicts and one is rejected."""
    base = client.head()["tip"]["commit"]
    for bulk in range(BULKS):
        paths = ["same", *(f"d{bulk}/f{i}" for i in range(BULK - 2))]
        changes = [[{"op": "put", "path": path, "content": f"{bulk}\n"}] for path in paths]
        changes.append([{"op": "mode", "path": "none", "mode": "100755"}])
        yield [{"slice": "all", "base": base, "message": "m", "changes": each} for each in changes]


def test_every_event_comes_exactly_once_and_in_order_whatever_is_cut(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack({"merge_interval": 0.3, "commit_changesets": 32}, with_flower=False)
    client = Client(stack.url, retry_for=120)
    client.create_slice("all", ["/"])
    found: SimpleQueue[Json] = SimpleQueue()
    enough = threading.Event()
    with Cutter(stack.url) as cutter:
        threading.Thread(target=cutter.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        cut = Client(cutter.url, retry_for=120, sleep=lambda seconds: time.sleep(min(seconds, 0.05)))

        def listen() -> None:
            for event in cut.events(after=0):
                found.put(event)
                if enough.is_set():
                    return

        listener = threading.Thread(target=listen)
        listener.start()
        ids = []
        for number, bulk in enumerate(submissions(client)):
            if number == BULKS // 2:
                stack.kill("api", signal.SIGKILL)
            if number == BULKS * 3 // 4:
                with redis.Redis.from_url(stack.settings.redis_url) as known:
                    known.flushall()
            ids += [each["changeset"]["id"] for each in client.submit_many(bulk)]
        statuses = [outcome(client, each) for each in ids]
        assert {status: statuses.count(status) for status in set(statuses)} == {
            "landed": BULKS * (BULK - 2) + 1,
            "conflicted": BULKS - 1,
            "rejected": BULKS,
        }
        wanted = list(expected(Repository(stack.settings)))
        assert {each for _, _, each in wanted} >= set(ids)
        told = [found.get(timeout=60) for _ in wanted]
        assert [(each["id"], each["event"], each["data"]["id"]) for each in told] == wanted
        assert cutter.cuts > 20
        enough.set()
        last = client.submit_many(next(submissions(client)))[1]["changeset"]["id"]
        listener.join()
        assert found.get(timeout=60)["data"]["id"] <= last, "and not one more than those"
        cutter.shutdown()


def test_places_come_free_when_clients_go_without_a_word(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack({"max_streams": 3, "max_stream_seconds": 3600.0}, with_flower=False, with_beat=False)
    streams: list[HTTPResponse] = []

    def opened() -> bool:
        """Open one more, unless there is no place."""
        try:
            streams.append(urllib.request.urlopen(stack.url + "/v1/events", timeout=60))
        except urllib.error.HTTPError as refusal:
            refusal.close()
            if refusal.code != 429:
                raise
            return False
        return True

    for _ in range(4):
        # Once the server has noticed that those before are gone, there is room for as many again.
        for _ in range(3):
            await_true(opened)
        assert not opened()
        assert [each.readline() for each in streams] == [b"retry: 1000\n"] * 3
        while streams:
            streams.pop().close()


def test_sluice_watch_shows_a_line_for_each_and_ctrl_c_is_no_failure(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack({"merge_interval": 0.3}, with_flower=False)
    client = Client(stack.url, retry_for=60)
    client.create_slice("team/web", ["/"])
    base = client.head()["tip"]["commit"]

    def watch(*options: str) -> subprocess.Popen[str]:
        # Whoever runs the tests in the background may have SIGINT ignored, which a child inherits.
        program = (
            "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
            "from app.cli import main; sys.argv[0] = 'sluice'; main()"
        )
        argv = [sys.executable, "-c", program, "watch", "--url", stack.url, *options]
        return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    with watch("--after", "0") as lines, watch("--json", "--slice", "team/web", "--after", "0", "-n", "3") as objects:
        assert lines.stdout and objects.stdout
        made = []
        for content in "12":
            change = {"op": "put", "path": "a b", "content": content}
            made.append(client.submit("team/web", {"base": base, "message": "m", "changes": [change]})["id"])
            client.changeset(made[-1], wait=60)
        seen = {lines.stdout.readline() for _ in range(3)}
        assert seen == {
            f"committed  {made[0]} team/web\n",
            f"landed     {made[0]} team/web\n",
            f"conflicted {made[1]} team/web: a b\n",
        }
        lines.send_signal(signal.SIGINT)
        try:
            assert lines.wait(timeout=60) == 0
        finally:
            lines.kill()
        told = [json.loads(line) for line in objects.stdout]
        assert objects.wait(timeout=60) == 0, "after so many events"
    assert {(each["event"], each["data"]["id"]) for each in told} == {
        ("committed", made[0]), ("landed", made[0]), ("conflicted", made[1]),
    }  # fmt: skip
