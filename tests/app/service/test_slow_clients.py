"""Clients that stall keep nobody else waiting, and are let go after a time that has a name."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from benchmarks.client import Client
from benchmarks.stalled import KINDS, crowded, write
from storage.base.settings import Settings
from storage.repository import Repository
from tests.support.api_server import Server, answers_of, serving
from tests.support.waiting import await_true
from tests.support.world import World

END = b"\r\n\r\n"
POST = b"POST /v1/slices/all/changesets HTTP/1.1\r\nHost: h\r\n"
LARGE = 8 << 20


@pytest.fixture
def server(settings: Settings, tmp_path: Path) -> Iterator[Server]:
    """One in which every deadline is short, and in whose slice `all` the file `large` is stored."""
    stored(settings)
    short = replace(settings, header_timeout=1.0, body_timeout=1.0, send_timeout=1.0)
    with serving(short, tmp_path) as running:
        yield running


@pytest.fixture
def patient(settings: Settings, tmp_path: Path) -> Iterator[Server]:
    """One in which nobody is let go while a test runs."""
    stored(settings)
    calm = replace(settings, header_timeout=900.0, body_timeout=900.0, send_timeout=900.0)
    room = replace(calm, max_body_bytes=LARGE, max_bodies_bytes=2 * LARGE, max_answers_bytes=2 * LARGE)
    with serving(room, tmp_path) as running:
        yield running


def stored(settings: Settings) -> None:
    world = World(Repository(settings))
    world.put({"large": b"x" * LARGE})
    world.work()


def submission(path: str, content: str = "x") -> bytes:
    change = {"op": "put", "path": path, "content": content, "base": None}
    return json.dumps({"message": "m", "changes": [change]}).encode()


def submitted(server: Server, path: str, content: str = "x") -> int:
    return server.post("/v1/slices/all/changesets", submission(path, content)).status


def test_an_endless_head_is_408_and_a_connection_without_bytes_is_closed(server: Server) -> None:
    assert answers_of(server.connect()) == [], "closed, without an answer to what was not asked"
    for part in (b"G", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: h\r\nX-A: "):
        [answer] = answers_of(server.send(part))
        assert answer.status == 408 and "header_timeout" in str(answer.problem["detail"])


def test_a_head_of_one_byte_a_time_is_408_too(server: Server) -> None:
    [answer] = _dripped(server, b"GET /healthz HTTP/1.1\r\n", b"X")
    assert answer == (408, True)


def test_a_body_that_does_not_arrive_is_408_which_names_the_setting(server: Server) -> None:
    begun = [
        POST + b"Content-Length: 1000" + END,
        POST + b"Content-Length: 67108864" + END,
        POST + b"Content-Length: 1000" + END + b'{"message"',
        POST + b"Transfer-Encoding: chunked" + END,
        POST + b"Transfer-Encoding: chunked" + END + b"400\r\n{",
        b"GET /healthz HTTP/1.1\r\nContent-Length: 1000" + END,
        b"DELETE /v1/slices/all HTTP/1.1\r\nContent-Length: 1000" + END,
    ]
    for sock in [server.send(each) for each in begun]:
        [answer] = answers_of(sock)
        assert answer.status == 408 and "body_timeout" in str(answer.problem["detail"])
        assert answer.headers["Connection"] == "close"


def test_a_body_slower_than_min_rate_is_408_however_much_came_at_first(server: Server) -> None:
    begun = POST + b"Content-Length: 9000000" + END + b" " * 2_000_000
    [answer] = _dripped(server, begun, b" ")
    assert answer == (408, True)


def _dripped(server: Server, begun: bytes, drop: bytes) -> list[tuple[int, bool]]:
    """Send a byte each time that nothing has come for a moment; return the answers, and whether they are problems."""
    sock = server.send(begun)
    sock.settimeout(0.1)
    while True:
        try:
            if sock.recv(1, socket.MSG_PEEK) is not None:
                break
        except TimeoutError:
            try:
                sock.sendall(drop)
            except OSError:
                break
    sock.settimeout(60)
    return [(each.status, bool(each.problem["title"])) for each in answers_of(sock)]


def test_a_reader_that_takes_nothing_of_its_answer_is_let_go(server: Server) -> None:
    sock = server.connect(receive_buffer=4096)
    sock.sendall(b"GET /v1/slices/all/files/large HTTP/1.1\r\nHost: h\r\nConnection: close" + END)
    server.get("/healthz")
    while connections(server, sock):
        server.get("/healthz")
    assert "Traceback" not in server.process.logs()


def connections(server: Server, sock: socket.socket) -> bool:
    """Tell whether the server still has its end of a connection."""
    own = sock.getsockname()
    leader = psutil.Process(server.process.pid)
    return any(
        each.raddr and tuple(each.raddr) == own and each.status == "ESTABLISHED"
        for process in [leader, *leader.children(recursive=True)]
        for each in process.net_connections("tcp")
    )


def test_a_client_that_is_slow_and_steady_is_served(server: Server) -> None:
    body = submission("steady", "x" * 300_000)
    for _ in range(10):
        sock = server.send(POST + b"Content-Length: %d\r\nConnection: close" % len(body) + END)
        longest, since = 0.0, time.monotonic()
        for i in range(0, len(body), 16 << 10):
            with suppress(OSError):  # it was let go
                sock.sendall(body[i : i + (16 << 10)])
            server.get("/healthz")
            longest, since = max(longest, time.monotonic() - since), time.monotonic()
        statuses = [each.status for each in answers_of(sock)]
        if longest < 0.5:
            break
    # Where it, or the server, stood still for most of `body_timeout`, it was not steady.
    assert statuses == [202]


def test_what_is_announced_takes_no_room_from_others(patient: Server) -> None:
    announced = POST + b"Content-Length: %d" % LARGE + END
    chunked = POST + b"Transfer-Encoding: chunked" + END
    stalled = [patient.send(each) for each in [announced] * 20 + [chunked] * 20 + [chunked + b"5\r\n{"] * 20]
    for i in range(20):
        assert submitted(patient, f"free/{i}") == 202
    assert submitted(patient, "large-one", "x" * (LARGE - 1000)) == 202
    assert all(connections(patient, each) for each in stalled[:3])


def unread(server: Server, sock: socket.socket) -> int:
    """Return how much of what was sent on a connection the kernel still has; /proc/net/tcp is Linux's."""
    table = Path("/proc/net/tcp")
    ends = {server.port, sock.getsockname()[1]}
    rows = [line.split() for line in table.read_text().splitlines()[1:]] if table.exists() else []
    queues = [row[4] for row in rows if {int(end.partition(":")[2], 16) for end in row[1:3]} == ends]
    return sum(int(size, 16) for queue in queues for size in queue.split(":"))


def test_bodies_that_stand_still_make_room_for_one_that_moves(patient: Server) -> None:
    held = []
    for _ in range(2):
        held.append(patient.send(POST + b"Content-Length: %d" % LARGE + END + b" " * (LARGE - 100)))
        patient.get("/healthz")  # the one before has begun: a server that stood still might begin with the second
    # Else the next could have the room that is left, and the second body would be the one that is refused.
    for _ in range(2):  # what was on its way between the two queues at the first look
        await_true(lambda: all(unread(patient, sock) == 0 for sock in held))
    # There is no room, until they have stood for long enough to be called slow.
    answers = [submitted(patient, "next", "x" * 2_000_000)]
    while not select.select(held[:1], [], [], 0)[0]:
        answers.append(submitted(patient, "next", "x" * 2_000_000))
    assert set(answers) <= {202, 429} and answers[-1] == 202
    [refused] = answers_of(held[0])
    assert refused.status == 429 and "max_bodies_bytes" in str(refused.problem["detail"]), "the one that came first"
    assert refused.headers["Connection"] == "close", "or the rest of its body would be read as a request"
    held[1].sendall(b"x" * 100)
    [other] = answers_of_one(held[1])
    assert other == 400, "whole by now, and no JSON"


def test_long_polls_with_bodies_that_nobody_uses_keep_no_writer_waiting(patient: Server) -> None:
    held = json.loads(submission("held")) | {"hold": True}
    made = patient.post("/v1/slices/all/changesets", json.dumps(held).encode())
    path = f"/v1/changesets/{json.loads(made.body)['id']}"
    poll = b"GET %s?wait=50 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n" % path.encode()
    body = b"x" * LARGE
    polls = [patient.send(poll + b"Content-Length: %d" % LARGE + END) for _ in range(3)]
    polls.append(patient.send(poll + b"Transfer-Encoding: chunked" + END + b"%x\r\n" % (LARGE - 1)))
    for sock in polls[:3]:
        sock.sendall(body)
    polls[3].sendall(body[1:] + b"\r\n0\r\n\r\n")
    # Each has been read, but for what the kernel buffers.
    assert submitted(patient, "large-one", "x" * (LARGE - 1000)) == 202
    assert patient.post(f"{path}/abandon", b"").status == 200
    assert [each.status for sock in polls for each in answers_of(sock)] == [200] * 4


def answers_of_one(sock: socket.socket) -> list[int]:
    sock.shutdown(socket.SHUT_WR)
    return [each.status for each in answers_of(sock)]


def test_answers_that_nobody_takes_make_room_for_one_that_is_taken(patient: Server) -> None:
    for _ in range(3):
        sock = patient.connect(receive_buffer=4096)
        sock.sendall(b"GET /v1/slices/all/files/large HTTP/1.1\r\nHost: h" + END)
    statuses = [patient.get("/v1/slices/all/files/large").status]
    while statuses[-1] == 429:
        statuses.append(patient.get("/v1/slices/all/files/large").status)
    assert statuses[-1] == 200
    assert patient.memory() < 400 << 20


def test_a_slow_upload_does_not_use_up_the_budget_of_its_request(settings: Settings, tmp_path: Path) -> None:
    World(Repository(settings))
    with serving(replace(settings, request_budget=3.0, body_timeout=60.0), tmp_path) as server:
        for _ in range(5):
            statuses = uploaded_slowly(server, submission("a"))
            if statuses != [503]:  # a busy machine may need the budget for what follows the upload, but not each time
                break
        assert statuses == [202], "four seconds later"


def uploaded_slowly(server: Server, body: bytes) -> list[int]:
    """Return the answers to a submission of which a byte comes every 50 milliseconds."""
    sock = server.send(POST + b"Content-Length: %d\r\nConnection: close" % len(body) + END)
    for i in range(len(body)):
        sock.sendall(body[i : i + 1])
        if i == len(body) - 1:
            break
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            sock.recv(1, socket.MSG_PEEK)
    sock.settimeout(60)
    return [each.status for each in answers_of(sock)]


def test_a_crowd_of_stalled_clients_keeps_no_writer_from_its_answers(server: Server) -> None:
    client = Client("127.0.0.1", server.port)
    client.post("/v1/slices", {"name": "stalled", "paths": ["/"]})
    with crowded("127.0.0.1", server.port, of_each=2) as crowd:
        written = 0
        while crowd.returned < len(KINDS):  # until many have been let go, and have come back
            written += len(write(client, f"w{written}", 1))
        assert len(crowd) == 2 * len(KINDS)
    client.close()
    assert written and client.waited == 0, "nobody was told to wait"
