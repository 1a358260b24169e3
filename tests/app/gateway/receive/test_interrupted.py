"""Clients that hang up, and gateways that are killed: each accepted commit lands once."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.gateway.receive import receiver
from app.gateway.receive.incoming import left_in, remove_left
from app.gateway.receive.taking import Taking
from storage.access.tokens import hash_of
from storage.base.settings import Settings
from storage.repository import Repository
from tests.support import gateway as processes
from tests.support.api import Api
from tests.support.gateway import basic
from tests.support.logs import logged
from tests.support.principals import ROOT_TOKEN
from tests.support.pushing import Clone, Pushing, pushing, run, token, working
from tests.support.waiting import await_true as until
from tests.support.world import World


def request_of(clone: Clone) -> bytes:
    """Return the bytes by which a clone would push its commit."""
    packed = run(
        clone.path, "pack-objects", "--revs", "--thin", "--stdout", "-q", stdin=b"HEAD\n--not\norigin/main\n"
    ).stdout  # fmt: skip
    line = b"%s %s refs/for/main\0report-status side-band-64k\n" % (b"0" * 40, clone.head.encode())
    body = b"%04x" % (len(line) + 4) + line + b"0000" + packed
    head = "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-git-receive-pack-request\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("part", [0.2, 0.5, 0.8, 0.99, 1.0])
def test_one_that_hangs_up_anywhere_is_told_at_the_next_push(pushed: Pushing, part: float) -> None:
    clone = pushed.clone("docs")
    clone.commit({"docs/b": b"1\n", "docs/c": b"2\n" * 1000})
    url = urlsplit(f"{pushed.url}/docs.git/git-receive-pack")
    whole = request_of(clone).replace(b"{path}", url.path.encode())
    with socket.create_connection((url.hostname or "", url.port or 0), timeout=60) as sock:
        sock.sendall(whole[: int(len(whole) * part)])
        if part == 1.0:
            pushed.until_landed(b"docs/b")  # it hears nothing of it
    done = clone.push()
    assert done.ok, done.said
    assert pushed.world.repo.view.head().committed == 2
    until(lambda: not pushed.left)


def test_one_that_is_killed_while_it_waits_has_pushed(pushed: Pushing) -> None:
    clone = pushed.clone("docs")
    clone.commit({"docs/b": b"1\n"})
    with pushed.paused():
        waiting = clone.start_push()
        pushed.until_queued(1)
        waiting.kill()
        waiting.wait()
        told = clone.push("-o", "wait=no")
        assert told.ok and ": queued at position 0" in told.said
    done = clone.push()
    assert done.ok and done.changesets in ([], told.changesets)
    assert pushed.world.repo.view.head().committed == 2


def test_one_that_hung_up_counts_as_long_as_it_is_taken(
    settings: Settings, world: World, root: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a principal could have all that take pushes at once, by hanging up."""
    goes_on, take = threading.Event(), Taking.take

    def slowly(self: Taking, *arguments: Any) -> Any:
        goes_on.wait()
        return take(self, *arguments)

    monkeypatch.setattr(Taking, "take", slowly)
    monkeypatch.setattr(receiver, "KEEPALIVE", 0.05)
    chosen = replace(settings, root_token_sha256=hash_of(ROOT_TOKEN), gateway_threads=4)
    with pushing(World(Repository(chosen), world.all), tmp_path) as pushed:
        writer = token(root, "agent:w")
        clone = pushed.clone("docs", token=writer)
        clone.commit({"docs/b": b"1\n"})
        url = urlsplit(f"{pushed.url}/docs.git/git-receive-pack")
        whole = request_of(clone).replace(b"{path}", url.path.encode())
        whole = whole.replace(b"\r\n", b"\r\nAuthorization: %s\r\n" % basic(writer).encode(), 1)
        try:
            for _ in range(2):
                with socket.create_connection((url.hostname or "", url.port or 0), timeout=60) as sock:
                    sock.sendall(whole)
                    assert sock.recv(100).startswith(b"HTTP/1.")
            until(lambda: pushed.gateway.watch.count == 0)  # it has noticed
            refused = clone.run("ls-remote", "origin")
        finally:
            goes_on.set()
        assert refused.returncode and b"all that it may have" in refused.stderr
        until(lambda: clone.run("ls-remote", "origin").returncode == 0)
        assert clone.push().ok


def test_one_whose_store_is_deleted_meanwhile_is_asked_to_push_again(pushed: Pushing) -> None:
    clone = pushed.clone("docs")
    clone.commit({"docs/a.txt": b"changed\n", "docs/large": os.urandom(300_000)})
    url = urlsplit(f"{pushed.url}/docs.git/git-receive-pack")
    whole = request_of(clone).replace(b"{path}", url.path.encode())
    with socket.create_connection((url.hostname or "", url.port or 0), timeout=60) as sock:
        sock.sendall(whole[:-10])
        until(lambda: bool(pushed.left))
        for store in (pushed.folder / "gateway" / "clones").iterdir():
            if store.is_dir():
                shutil.rmtree(store)
        sock.sendall(whole[-10:])
        heard = b""
        while b"unpack" not in heard:
            piece = sock.recv(4096)
            assert piece, heard
            heard += piece
    assert b"not available now, push again: The clone store was deleted while the push was read" in heard, heard
    assert pushed.world.repo.queue.length() == 0 and pushed.world.repo.view.head().committed == 1
    done = clone.push()
    assert done.ok, done.said


def test_two_pushes_of_one_commit_at_once_are_one(pushed: Pushing) -> None:
    clone = pushed.clone("docs")
    clone.commit({"docs/b": b"1\n"})
    other = pushed.clone("docs")
    other.git("fetch", "-q", str(clone.path), "main")
    other.git("reset", "-q", "--hard", "FETCH_HEAD")
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda each: each.push(), [clone, other]))
    assert all(each.ok for each in done), done
    assert pushed.world.repo.view.head().committed == 2


def test_a_gateway_that_is_killed_leaves_nothing_and_what_it_accepted_lands(world: World, tmp_path: Path) -> None:
    with processes.serving(world.repo.settings, tmp_path / "one") as server:
        clone = Clone(tmp_path / "clone", server.url("docs"))
        clone.commit({"docs/b": b"1\n", "docs/large": os.urandom(300_000)})
        url = urlsplit(server.url("docs"))
        whole = request_of(clone).replace(b"{path}", f"{url.path}/git-receive-pack".encode())
        folder = server.folder / "pushes"
        server.send(whole[:-100])  # and no more
        until(lambda: any(folder.glob("push-*")))
        waiting = clone.start_push()
        until(lambda: world.repo.queue.length() == 1)
        starts = server.process.starts
        server.process.send(signal.SIGKILL)
        assert server.process.await_start(starts, 60)
        server.process.await_ready()
        assert waiting.wait(60) != 0
        until(lambda: not any(folder.glob("push-*")))
        with working(replace(world.repo.settings)):
            done = clone.push()
        assert done.ok, done.said
        assert Repository(world.repo.settings).view.head().committed == 2


def test_what_a_process_has_left_is_removed_once_it_has_ended(tmp_path: Path) -> None:
    """One whose parent was killed may live on for as long as its own requests last."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        living, own, gone = (tmp_path / f"push-{name}-x" for name in (process.pid, os.getpid(), "gone"))
        for folder in (living, own, gone, tmp_path / "another"):
            folder.mkdir()
        assert remove_left(left_in(tmp_path)) == [living]
        assert {each.name for each in tmp_path.iterdir()} == {living.name, "another"}
    assert remove_left([living]) == [] and not living.exists()


def test_pushes_are_counted_and_logged(world: World, tmp_path: Path) -> None:
    with processes.serving(world.repo.settings, tmp_path / "one") as server, working(world.repo.settings):
        clone = Clone(tmp_path / "clone", server.url("docs"))
        clone.commit({"docs/b": b"1\n"})
        assert clone.push().ok and not clone.push(refs=("HEAD:refs/heads/main",)).ok
        api = Api(world.repo.settings, world)

        def shown() -> bool:
            counts = api.http.get("/metrics").get_data(as_text=True)
            return all(f'sluice_pushes_total{{result="{result}"}} 1.0' in counts for result in ("accepted", "refused"))

        until(shown)
        pushes = [each for each in logged(server.process.logs()) if each["event"] == "push"]
        first, second = pushes
        assert first["accepted"] is True and second["accepted"] is False and "refs/for/main" in second["reason"]


def test_a_gateway_that_is_behind_another_takes_nothing_that_has_landed_for_new(
    pushed: Pushing, tmp_path: Path
) -> None:
    pushed.clone("docs")  # its store is made, and follows no more
    world = pushed.world
    world.put({"docs/n": b"1\n"})
    world.put({"docs/n": b"2\n", "docs/m": b"1\n"}, world.put({"docs/m": b"0\n"}))
    until(lambda: "docs/m" in world.files() and not world.repo.queue.length())
    (tmp_path / "other").mkdir()
    with pushing(world, tmp_path / "other") as other:
        clone = other.clone("docs")
    before = world.repo.view.head().committed
    clone.commit({"docs/mine": b"1\n"})
    clone.git("remote", "set-url", "origin", f"{pushed.url}/docs.git")
    done = clone.push()
    assert done.ok and len(done.changesets) == 1, done.said
    assert world.repo.view.head().committed == before + 1


def test_one_that_waits_hears_that_it_is_not_forgotten(pushed: Pushing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "KEEPALIVE", 0.05)
    clone = pushed.clone("docs")
    clone.commit({"docs/b": b"1\n"})
    url = urlsplit(f"{pushed.url}/docs.git/git-receive-pack")
    with pushed.paused(), socket.create_connection((url.hostname or "", url.port or 0), timeout=60) as sock:
        sock.sendall(request_of(clone).replace(b"{path}", url.path.encode()))
        heard = b""
        while heard.count(b"0005\1") < 3:
            piece = sock.recv(4096)
            assert piece, heard
            heard += piece
        assert b"unpack" not in heard
    pushed.until_landed(b"docs/b")
