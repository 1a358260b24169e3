"""What a request of Git's costs beside Git: calls of Redis, and hand-overs from thread to thread."""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.workers.gthread import ThreadWorker

from app.gateway.services import Gateway
from app.gateway.serving import GatewayWorker, Patient
from app.gateway.wire.pkt_lines import pkt
from storage.base.settings import Settings
from storage.operations.slices import define
from tests.support.pushing import Clone, serving
from tests.support.world import World


@pytest.fixture
def served(settings: Settings, world: World, tmp_path: Path) -> Iterator[tuple[Gateway, str]]:
    """A gateway in this process, and the URL of a slice that was cloned from it."""
    define(world.repo, "docs", ["docs/"])
    world.put({"docs/a": b"1\n"})
    world.work()
    with serving(settings, tmp_path) as (here, url):
        Clone(tmp_path / "clone", f"{url}/docs.git")
        yield here, f"{url}/docs.git"


@pytest.fixture
def calls(served: tuple[Gateway, str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the view, as it is asked; but for who may do what, which is known for some time."""
    here, _ = served
    made: list[str] = []
    scripts, key, head = here.repo.view.scripts, here.repo.view.key, here.repo.view.head

    def call(name: str, *arguments: Any, **others: Any) -> Any:
        if name != "snapshot":
            made.append(name)
        return scripts(name, *arguments, **others)

    monkeypatch.setattr(here.repo.view, "scripts", call)
    monkeypatch.setattr(here.repo.view, "key", lambda name: made.append(name) or key(name))
    monkeypatch.setattr(here.repo.view, "head", lambda: made.append("head") or head())
    return made


def asked(url: str, body: bytes | None) -> bytes:
    headers = {"Git-Protocol": "version=2", "Content-Type": "application/x-git-upload-pack-request"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60) as answer:
        return bytes(answer.read())


def command(name: bytes, *arguments: bytes) -> bytes:
    return pkt(b"command=" + name) + b"0001" + b"".join(pkt(each + b"\n") for each in arguments) + b"0000"


def test_each_request_of_a_clone_asks_the_view_once(served: tuple[Gateway, str], calls: list[str]) -> None:
    _, url = served
    assert b"version 2" in asked(f"{url}/info/refs?service=git-upload-pack", None)
    assert calls == ["slice"]
    refs = asked(f"{url}/git-upload-pack", command(b"ls-refs"))
    assert calls == ["slice"] * 2, "it says where the view is, too, up to which the store has to be"
    main = refs[4:44]
    assert b"packfile" in asked(f"{url}/git-upload-pack", command(b"fetch", b"want " + main, b"deepen 1", b"done"))
    assert calls == ["slice"] * 3
    assert main in asked(f"{url}/info/refs?service=git-receive-pack", None)
    assert calls == ["slice"] * 4


def test_refs_are_listed_up_to_where_the_view_was_when_the_request_came(
    served: tuple[Gateway, str], world: World
) -> None:
    here, url = served
    before = asked(f"{url}/git-upload-pack", command(b"ls-refs"))
    for number in range(3):
        world.put({"docs/a": b"%d\n" % number})
        world.work()
        after = asked(f"{url}/git-upload-pack", command(b"ls-refs"))
        assert after != before
        before = after
    define(world.repo, "other", ["other/"])  # nothing of the slice's
    assert asked(f"{url}/git-upload-pack", command(b"ls-refs")) == before
    assert here.stores.find(served_by(here), "docs").applied == world.repo.view.head().applied


def served_by(here: Gateway) -> Any:
    return here.access.caller(None)


@pytest.fixture
def pair(settings: Settings) -> Iterator[tuple[Patient, socket.socket]]:
    """A connection, as the gateway has it, and its client's end."""
    ours, theirs = socket.socketpair()
    patient = Patient(ours, settings)
    yield patient, theirs
    patient.close()
    theirs.close()


def test_a_thread_serves_what_follows_at_once(
    pair: tuple[Patient, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pair
    served: list[bytes] = []

    def handle(self: ThreadWorker, conn: Any) -> bool:
        served.append(conn.sock.recv(1))
        if served[-1] == b"1":
            theirs.sendall(b"2")
        return served[-1] != b"0"

    monkeypatch.setattr(ThreadWorker, "handle", handle)
    unread = SimpleNamespace(unreader=SimpleNamespace(buf=SimpleNamespace(getvalue=lambda: b"")))
    conn: Any = SimpleNamespace(sock=ours, parser=unread, data_ready=False)
    worker: Any = GatewayWorker.__new__(GatewayWorker)
    worker.alive, worker.cfg, worker.nr_conns = True, SimpleNamespace(threads=4), 2
    theirs.sendall(b"1")
    assert worker.handle(conn) is True, "it goes back where nothing follows"
    assert served == [b"1", b"2"]
    assert conn.data_ready, "gunicorn does not wait for it again"
    theirs.sendall(b"10")
    worker.nr_conns = 3
    assert worker.handle(conn) is True
    assert served[2:] == [b"1"], "others may need the thread"
    worker.nr_conns = 1
    assert worker.handle(conn) is False, "a connection that is over is not looked at again"
    assert served[3:] == [b"0"]
    theirs.close()
    assert ours.is_asked_within(60), "its end is something to read"


def test_the_head_of_an_answer_is_sent_with_what_follows_it(pair: tuple[Patient, socket.socket]) -> None:
    ours, theirs = pair
    ours.keep_head()
    ours.sendall(b"head ")
    with pytest.raises(BlockingIOError):
        theirs.recv(100, socket.MSG_DONTWAIT)
    ours.sendall(b"body")
    assert theirs.recv(100) == b"head body"
    ours.keep_head()
    ours.sendall(b"head alone")
    ours.flush()
    assert theirs.recv(100) == b"head alone"
    ours.flush()
    ours.sendall(b"and nothing else is kept")
    assert theirs.recv(100) == b"and nothing else is kept"


def test_a_file_is_sent_whole_behind_the_head_however_slowly_it_is_read(
    pair: tuple[Patient, socket.socket], tmp_path: Path
) -> None:
    ours, theirs = pair
    content = b"".join(b"%d\n" % number for number in range(500_000))
    (tmp_path / "pack").write_bytes(content)
    read = bytearray()

    def client() -> None:
        while piece := theirs.recv(50_000):
            read.extend(piece)

    thread = threading.Thread(target=client)
    thread.start()
    ours.keep_head()
    ours.sendall(b"head")
    with (tmp_path / "pack").open("rb", buffering=0) as file:
        assert ours.sendfile(file, 5, len(content) - 5) == len(content) - 5
        (tmp_path / "pack").write_bytes(b"cut")
        with pytest.raises(ConnectionResetError):
            ours.sendfile(file, 100, 10)
    ours.shutdown(socket.SHUT_WR)
    thread.join()
    assert bytes(read) == b"head" + content[5:]


@pytest.mark.parametrize("reads", [False, True], ids=["nothing", "too little"])
def test_a_client_that_reads_a_file_too_slowly_is_cut(settings: Settings, tmp_path: Path, reads: bool) -> None:
    (tmp_path / "pack").write_bytes(bytes(8 << 20))
    slow = replace(settings, send_timeout=0.2, body_timeout=0.2, min_rate=1 << 20)
    ours, theirs = socket.socketpair()
    over = threading.Event()

    def client() -> None:
        while reads and not over.wait(0.02):
            theirs.recv(4096)

    thread = threading.Thread(target=client)
    with Patient(ours, slow) as patient, theirs, (tmp_path / "pack").open("rb", buffering=0) as file:
        thread.start()
        patient.setblocking(True)
        with pytest.raises(ConnectionResetError, match="too slow"):
            patient.sendfile(file, 0, 8 << 20)
        over.set()
        thread.join()
