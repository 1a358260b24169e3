"""Clients that clone and fetch as Git does, without what Git does with a pack: so the server is what is measured.

Each command is a connection of its own with the three requests of protocol version 2: capabilities, refs, pack.
"""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass, field

from app.gateway.wire.pkt_lines import DELIMITER, FLUSH, pkt
from benchmarks.figures import Disproved
from benchmarks.load.connection import Connection, successful

_VERSION = b"Git-Protocol: version=2\r\n"
_HEADERS = _VERSION + b"Content-Type: application/x-git-upload-pack-request\r\n"


def command(name: str, *arguments: str) -> bytes:
    """Return one command as Git sends it."""
    head = [f"command={name}", "agent=git/2.39.5", "object-format=sha1"]
    told = b"".join(pkt(each.encode()) for each in head)
    return told + DELIMITER + b"".join(pkt(each.encode() + b"\n") for each in arguments) + FLUSH


REFS = command(
    "ls-refs", "peel", "symrefs", "unborn", "ref-prefix HEAD", "ref-prefix refs/heads/", "ref-prefix refs/tags/"
)


@dataclass(frozen=True)
class Kind:
    """A kind of clone or fetch, as the arguments of its last request."""

    name: str
    arguments: tuple[str, ...]
    is_first: bool = False  # no other client asks for the same

    @property
    def request(self) -> bytes:
        """The request; one that nobody else has says so by a commit that no server has."""
        own = [f"have {secrets.token_hex(20)}"] if self.is_first else []
        return command("fetch", "thin-pack", "no-progress", "include-tag", "ofs-delta", *self.arguments, *own, "done")


@dataclass
class Load:
    """What came of some seconds of clients."""

    done: int = 0
    bytes: int = 0
    seconds: float = 0.0
    times: list[float] = field(default_factory=list)

    @property
    def per_s(self) -> float:
        """Clones or fetches a second."""
        return self.done / self.seconds


def once(address: tuple[str, int], path: str, kind: Kind) -> int:
    """Clone or fetch once and return the bytes of the answer. Raises Disproved where it is no complete pack."""
    with Connection(address) as connection:
        successful(connection.ask(f"{path}/info/refs?service=git-upload-pack", None, _VERSION))
        for body in (REFS, kind.request):
            answer = successful(connection.ask(f"{path}/git-upload-pack", body, _HEADERS))
    if answer.end != FLUSH or answer.size < 100:
        raise Disproved(f"{kind.name}: an answer of {answer.size} bytes ends with {answer.end!r}")
    return answer.size


def drive(address: tuple[str, int], path: str, kind: Kind, clients: int, seconds: float) -> Load:
    """Have so many clients clone or fetch for some seconds; each finishes what it has begun. Raises Disproved."""
    load, lock = Load(), threading.Lock()
    failures: list[Exception] = []
    barrier = threading.Barrier(clients + 1)

    def work() -> None:
        barrier.wait()
        while time.monotonic() < until and not failures:
            began = time.monotonic()
            try:
                size = once(address, path, kind)
            except Exception as failure:  # noqa: BLE001 - told by the caller
                failures.append(failure)
                return
            with lock:
                load.done += 1
                load.bytes += size
                load.times.append(time.monotonic() - began)

    threads = [threading.Thread(target=work) for _ in range(clients)]
    until = time.monotonic() + 3600
    for thread in threads:
        thread.start()
    began = time.monotonic()
    until = began + seconds
    barrier.wait()
    for thread in threads:
        thread.join()
    if failures:
        raise Disproved(f"{kind.name} with {clients} clients: {failures[0]}") from failures[0]
    load.seconds = time.monotonic() - began
    return load
