"""What a request of Git's costs beside Git: calls of Redis, and hand-overs from thread to thread."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator
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
    conn: Any = SimpleNamespace(sock=ours, parser=unread)
    worker: Any = GatewayWorker.__new__(GatewayWorker)
    worker.alive, worker.cfg, worker.nr_conns = True, SimpleNamespace(threads=4), 2
    theirs.sendall(b"1")
    assert worker.handle(conn) is True, "it goes back where nothing follows"
    assert served == [b"1", b"2"]
    theirs.sendall(b"10")
    worker.nr_conns = 3
    assert worker.handle(conn) is True
    assert served[2:] == [b"1"], "others may need the thread"
    worker.nr_conns = 1
    assert worker.handle(conn) is False, "a connection that is over is not looked at again"
    assert served[3:] == [b"0"]
    theirs.close()
    assert ours.is_asked_within(60), "its end is something to read"
