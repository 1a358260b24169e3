"""The load generator: whole answers on many connections in one thread, at the pace and in the sample that was asked."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from benchmarks.client import Refused
from benchmarks.figures import Disproved
from benchmarks.load.generator import Job, plan
from benchmarks.load.loop import Loop, Script
from benchmarks.load.requests import Asker, get, post
from benchmarks.workload import Workload

SMALL = Workload(files=200, width=10, fan=5, slice_leaves=5)
END = b"\r\n\r\n"


def answer(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


@contextmanager
def server(serve: Callable[[socket.socket, int], None], connections: int) -> Iterator[tuple[str, int]]:
    """Serve so many connections, each with its number, in threads that have all ended at the end."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(60)  # where a test fails before it connects

    def accept() -> None:
        for number in range(connections):
            sock, _ = listener.accept()
            threads.append(threading.Thread(target=attend, args=(sock, number)))
            threads[-1].start()

    def attend(sock: socket.socket, number: int) -> None:
        with sock:
            serve(sock, number)

    threads = [threading.Thread(target=accept)]
    threads[0].start()
    try:
        yield listener.getsockname()
    finally:
        for thread in threads:
            thread.join()
        listener.close()


def read(sock: socket.socket) -> bytes:
    """Return the next request, empty at the end."""
    data = b""
    while END not in data:
        data += (more := sock.recv(65536))
        if not more:
            return b""
    head, _, body = data.partition(END)
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
    while len(body) < length:
        body += sock.recv(65536)
    return head + END + body


def test_each_script_gets_the_whole_answers_to_its_own_requests():
    def serve(sock: socket.socket, number: int) -> None:
        while request := read(sock):
            whole = answer(request.split()[1] * 1000)
            for at in range(0, len(whole), 700):  # in pieces, the head in one of them
                sock.sendall(whole[at : at + 700])

    got: dict[int, list[bytes]] = {}

    def script(number: int) -> Script:
        for turn in range(3):
            found = yield get(f"/{number}/{turn}")
            assert found
            got.setdefault(number, []).append(found.body)

    with server(serve, 8) as address, Loop(*address, 8) as loop:
        for number in range(20):  # more than there are connections: the others follow
            loop.start(script(number))
        loop.run(60)
    assert got == {number: [f"/{number}/{turn}".encode() * 1000 for turn in range(3)] for number in range(20)}


@pytest.mark.long
def test_a_body_larger_than_the_buffers_arrives_whole_on_each_connection():
    sizes = []

    def serve(sock: socket.socket, _: int) -> None:
        while request := read(sock):
            sizes.append(len(json.loads(request.partition(END)[2])["text"]))
            sock.sendall(answer(b""))

    def script() -> Script:
        for _ in range(2):
            yield post("/", {"text": "x" * (8 << 20)})

    with server(serve, 3) as address, Loop(*address, 3) as loop:
        for _ in range(3):
            loop.start(script())
        loop.run(60)
    assert sizes == [8 << 20] * 6


def test_an_answer_that_says_wait_is_obeyed_and_counted():
    def serve(sock: socket.socket, _: int) -> None:
        for status in ("429 Too Many Requests", "503 Service Unavailable", "200 OK"):
            read(sock)
            sock.sendall(answer(b"late", status, "Retry-After: 0.01\r\n"))

    asker, got = Asker(), []

    def script() -> Script:
        got.append((yield from asker.ask(post("/", {}))))

    with server(serve, 1) as address, Loop(*address, 1) as loop:
        loop.start(script())
        loop.run(60)
    assert (got, asker.waited) == ([b"late"], 2)


def test_a_read_is_repeated_where_the_server_had_closed_the_connection():
    def serve(sock: socket.socket, number: int) -> None:
        read(sock)
        if number:
            sock.sendall(answer(b"again"))

    got = []

    def script() -> Script:
        found = yield get("/")
        assert found
        got.append(found.body)

    with server(serve, 2) as address, Loop(*address, 1) as loop:
        loop.start(script())
        loop.run(60)
    assert got == [b"again"]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (b"", "POST / HTTP/1.1: the connection was closed before the answer"),
        (answer(b"no", "500 Internal Server Error"), "POST / HTTP/1.1: 500 b'no'"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "an answer without Content-Length"),
    ],
)
def test_a_submission_that_fails_ends_the_run(reply: bytes, message: str):
    def serve(sock: socket.socket, _: int) -> None:
        read(sock)
        sock.sendall(reply)

    def script() -> Script:
        yield from Asker().ask(post("/", {}))

    with server(serve, 1) as address, Loop(*address, 1) as loop:
        loop.start(script())
        with pytest.raises(Refused) as refused:
            loop.run(60)
    assert message in str(refused.value)


def test_clients_without_an_answer_in_the_time_given_disprove_the_run():
    def serve(sock: socket.socket, _: int) -> None:
        assert read(sock) == b""

    def script() -> Script:
        yield 3600.0

    with server(serve, 1) as address, Loop(*address, 1) as loop:
        loop.start(script())
        with pytest.raises(Disproved, match="1 clients have no answer"):
            loop.run(0.01)


def job(**options: object) -> Job:
    changesets = list(SMALL.changesets(100))
    return Job("h", 1, "c" * 40, "t" * 40, clients=4, changesets=changesets, **options)  # type: ignore[arg-type]


def test_the_sample_is_spread_evenly_over_the_requests():
    single = plan(job(per_request=1, sample=20))
    assert [at for at, request in enumerate(single) if request.sampled] == list(range(4, 100, 5))
    bulk = plan(job(per_request=25, sample=20))
    assert [request.sampled for request in bulk] == [(4, 9, 14, 19, 24)] * 4
    assert not any(request.sampled for request in plan(job(per_request=1, sample=0)))
    assert all(request.sampled == (0,) for request in plan(job(per_request=1, sample=0, until_landed=True)))


def test_at_a_rate_each_request_is_due_at_its_time():
    assert [request.due for request in plan(job(per_request=1, rate=50.0))][:3] == pytest.approx([0.0, 0.02, 0.04])
    assert [request.due for request in plan(job(per_request=25, rate=50.0))] == pytest.approx([0.0, 0.5, 1.0, 1.5])


def test_a_request_holds_its_changesets_as_the_api_takes_them():
    head, _, body = plan(job(per_request=1))[0].data.partition(END)
    first = job(per_request=1).changesets[0]
    assert head.startswith(f"POST /v1/slices/{first.slice}/changesets HTTP/1.1\r\n".encode())
    assert f"Content-Length: {len(body)}".encode() in head
    assert json.loads(body) == {
        "base": "c" * 40,
        "message": first.message,
        "changes": [{"op": "put", "path": path, "content": text.decode()} for path, text in first.files],
    }
    bulk = json.loads(plan(job(per_request=25))[0].data.partition(END)[2])["changesets"]
    assert len(bulk) == 25
    assert bulk[0]["slice"] == first.slice
