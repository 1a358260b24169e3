"""Whether clients that stall keep a writer waiting: its 202s beside a hundred of them, against those when it is alone.

There are ten kinds, each a way to take a server's time by taking one's own. Whoever is let go comes back at once, so
that there are a hundred all the time.
"""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.client import Client
from benchmarks.figures import Figure, percentiles
from benchmarks.landing import Say, address, site
from benchmarks.scaling import SMALL

GOAL = 2.0
OF_EACH_KIND = 10
_LARGE = 8 << 20
_END = b"\r\n\r\n"
_POST = b"POST /v1/slices/stalled/changesets HTTP/1.1\r\nHost: h\r\n"
_ANNOUNCED = _POST + b"Content-Length: 67108864" + _END
# Of each kind: what is sent at once, and what is sent every second from then on.
KINDS: dict[str, tuple[bytes, bytes]] = {
    "no byte sent": (b"", b""),
    "half a request line": (b"GET /v1/he", b""),
    "half of the headers": (b"GET /v1/head HTTP/1.1\r\nHost: h\r\nX-A:", b""),
    "a body announced and not sent": (_ANNOUNCED, b""),
    "a body of a byte a second": (_ANNOUNCED + b"{", b" "),
    "a chunk that does not come": (_POST + b"Transfer-Encoding: chunked" + _END + b"1000\r\n{", b""),
    "an answer that is not read": (b"GET /v1/slices/stalled/files/large HTTP/1.1\r\nHost: h" + _END, b""),
    "a connection kept alive": (b"GET /healthz HTTP/1.1\r\nHost: h" + _END, b""),
    "a stream of events that is not read": (b"GET /v1/events HTTP/1.1\r\nHost: h" + _END, b""),
    "the hello of TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b""),
}
# Those who read their answers; a client of another kind that has one was let go.
_READ = {"a connection kept alive"}
# What does not read sees no end either: behind its full buffers. It comes back after so many seconds anyway.
_NEVER_SEEN = 25.0
_NEVER_READ = {"an answer that is not read", "a stream of events that is not read"}


class Crowd:
    """Clients of every kind."""

    def __init__(self, host: str, port: int, of_each: int = OF_EACH_KIND) -> None:
        self._address = (host, port)
        self._clients: list[tuple[str, socket.socket]] = []
        self._since: dict[socket.socket, float] = {}
        for kind in KINDS:
            self._clients += [(kind, self._come(kind)) for _ in range(of_each)]
        self.returned = 0

    def __len__(self) -> int:
        return len(self._clients)

    def _come(self, kind: str) -> socket.socket:
        sock = socket.socket()
        if kind in _NEVER_READ:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(self._address)
        sock.sendall(KINDS[kind][0])
        sock.setblocking(False)
        self._since[sock] = time.monotonic()
        return sock

    def settle(self, seconds: float = 30.0) -> None:
        """Wait until they stall: what takes nothing of its answer has been sent some."""
        until = time.monotonic() + seconds
        for kind, sock in self._clients:
            if kind in _NEVER_READ:
                select.select([sock], [], [], max(0.0, until - time.monotonic()))

    def go_on(self) -> None:
        """Do what each does every second; who was let go comes back."""
        for i, (kind, sock) in enumerate(self._clients):
            if self._gone(kind, sock):
                del self._since[sock]
                sock.close()
                self._clients[i] = (kind, self._come(kind))
                self.returned += 1

    def _gone(self, kind: str, sock: socket.socket) -> bool:
        try:
            sock.send(KINDS[kind][1])
            if kind in _NEVER_READ:
                return time.monotonic() - self._since[sock] > _NEVER_SEEN
            data = sock.recv(65536)
            return not data or kind not in _READ
        except BlockingIOError:
            return False
        except OSError:
            return True

    def leave(self) -> None:
        """Close all."""
        for _, sock in self._clients:
            with suppress(OSError):
                sock.close()


@contextmanager
def crowded(host: str, port: int, of_each: int = OF_EACH_KIND) -> Iterator[Crowd]:
    """Have the crowd there during this block."""
    crowd, over = Crowd(host, port, of_each), threading.Event()
    crowd.settle()

    def stay() -> None:
        while not over.wait(1.0):
            crowd.go_on()

    thread = threading.Thread(target=stay, daemon=True)
    thread.start()
    try:
        yield crowd
    finally:
        over.set()
        thread.join()
        crowd.leave()


def write(client: Client, label: str, count: int) -> list[float]:
    """Submit changesets one after the other; return how long each took until its 202, in seconds."""
    took = []
    for i in range(count):
        change = {"op": "put", "path": f"{label}/{i}", "content": "x" * 2000, "base": None}
        body = json.dumps({"message": "m", "changes": [change]}).encode()
        began = time.perf_counter()
        client.send("/v1/slices/stalled/changesets", body)
        took.append(time.perf_counter() - began)
    return took


def prepare(client: Client) -> None:
    """Make the slice, and the file whose answer is not read."""
    client.post("/v1/slices", {"name": "stalled", "paths": ["/"]})
    change = {"op": "put", "path": "large", "content": "x" * _LARGE, "base": None}
    made = client.post("/v1/slices/stalled/changesets", {"message": "m", "changes": [change]})
    while client.get(f"/v1/changesets/{made['id']}?wait=30&until=landed")["status"] != "landed":
        pass


def measure(
    client: Client, host: str, port: int, say: Callable[[str], None], rounds: int, count: int
) -> tuple[list[float], list[float], list[float]]:
    """Return the ratio of each round, and all times of the quiet and of the crowded writer."""
    ratios, quiet, crowd_times = [], [], []
    for number in range(rounds):
        alone = write(client, f"quiet-{number}", count)
        with crowded(host, port) as crowd:
            beside = write(client, f"stalled-{number}", count)
            there = len(crowd)
        p = [percentiles(times) for times in (alone, beside)]
        ratios.append(p[1]["p99"] / p[0]["p99"])
        say(
            f"round {number + 1}: alone p50 {p[0]['p50']:g} p99 {p[0]['p99']:g} ms, beside {there} stalled clients "
            f"p50 {p[1]['p50']:g} p99 {p[1]['p99']:g} ms, {ratios[-1]:.2f} times"
        )
        quiet += alone
        crowd_times += beside
    return ratios, quiet, crowd_times


def run(folder: Path, say: Say, *, rounds: int = 5, count: int = 500, s3: str = "auto") -> list[Figure]:
    """Measure in rounds, each alone and beside the crowd. Raises Refused and Disproved."""
    with site(SMALL, folder / "stalled.git", say, s3=s3, with_flower=False) as there:
        prepare(there.client)
        host, port = address(there.stack)
        ratios, quiet, crowded_times = measure(there.client, host, port, say, rounds, count)
    details = {"goal": GOAL, "latency_of": {"alone": percentiles(quiet), "beside": percentiles(crowded_times)}}
    axis = f"p99 of a writer's 202s, beside {OF_EACH_KIND * len(KINDS)} clients that stall against alone"
    return [Figure("stalled clients", axis, "ratio", SMALL.seed, tuple(ratios), details)]
