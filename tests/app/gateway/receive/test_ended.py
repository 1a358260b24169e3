"""What a push has received is gone when the push has ended, however it ended."""

from __future__ import annotations

import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.access.caller import EVERYBODY, Caller
from app.gateway.receive import receiver
from app.gateway.receive.incoming import Incoming
from app.gateway.receive.receiver import Push
from app.gateway.receive.taking import Pusher, Taken
from app.gateway.receive.words import NO_OBJECT, Command, Reader, Request
from app.protocol.problems import unauthorized
from storage.access.rights import ALL
from storage.base.settings import Settings
from storage.git.run_git import GitFailed
from tests.support.waiting import await_true as until


@pytest.fixture
def store(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "store")], check=True)
    return tmp_path / "store"


def push_of(store: Path, take: Any, pool: ThreadPoolExecutor) -> Push:
    """A push that was read, whose objects lie beside the store, and which `take` takes."""
    to: Any = SimpleNamespace(
        repo=SimpleNamespace(settings=Settings()), pool=pool, beside=pool, taking=SimpleNamespace(take=take)
    )
    command = Command(NO_OBJECT, b"1" * 40, receiver.FOR_MAIN)
    request = Request((command,), frozenset([b"side-band-64k", b"report-status"]), ())
    push = Push(to, request, Reader(lambda: b""), SimpleNamespace(path=store), None, Pusher(EVERYBODY))  # type: ignore[arg-type]
    push._incoming = Incoming(store.parent / "pushes", store)
    return push


@pytest.mark.parametrize("first", ["the client", "the push"])
def test_nothing_is_left_of_one_whose_client_hung_up_while_it_was_taken(
    store: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    monkeypatch.setattr(receiver, "KEEPALIVE", 0.01)
    goes_on = threading.Event()

    def take(*_: object) -> Taken:
        goes_on.wait()
        return Taken(())

    with ThreadPoolExecutor(2) as pool:
        push = push_of(store, take, pool)
        said = iter(push)
        assert next(said) == b"0005\1", "it waits"
        if first == "the push":
            goes_on.set()
            assert push._taking
            push._taking.result()
            assert list((store.parent / "pushes").iterdir())
        push.close()
        goes_on.set()
        until(lambda: not list((store.parent / "pushes").iterdir()))


def test_a_client_is_not_told_what_git_says_of_this_machine(store: Path) -> None:
    def take(*_: object) -> Taken:
        raise GitFailed("merge-base", 128, f"fatal: cannot open {store}: Permission denied")

    with ThreadPoolExecutor(2) as pool:
        push = push_of(store, take, pool)
        said = b"".join(push)
        push.close()
    assert b"not available now, push again: Git cannot be run" in said
    assert str(store).encode() not in said


def test_a_token_that_was_revoked_while_the_push_was_sent_has_nothing_taken(store: Path) -> None:
    def check(who: Caller) -> None:
        assert who.principal == "agent:w"
        raise unauthorized("the token is not valid any more")

    with ThreadPoolExecutor(2) as pool:
        push = push_of(store, lambda *_: pytest.fail("it was taken"), pool)
        push._to.access = SimpleNamespace(check=check)  # type: ignore[assignment]
        push._pusher = Pusher(Caller("agent:w", ALL))
        said = b"".join(push)
        push.close()
    assert b"the token is not valid any more" in said and b"ng refs/for/main" in said
    assert not list((store.parent / "pushes").iterdir())
