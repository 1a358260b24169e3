"""One principal with slow clients takes a part of a gateway, and others find the rest."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from app.access.caller import EVERYBODY, Caller
from app.gateway.answers import Answers, Reader
from app.gateway.git_processes import Busy, GitProcess, GitProcesses
from app.gateway.shares import Shares, ShareTaken
from app.gateway.wire.pkt_lines import pkt
from storage.access.policy import ROOT
from storage.access.rights import ALL
from storage.base.settings import Settings, SettingsError
from tests.support.api import Api
from tests.support.gateway import UPLOAD, WHOLE, Gateway, basic, git, serving
from tests.support.git_repository import GitRepository
from tests.support.principals import ROOT_TOKEN, grants
from tests.support.waiting import await_true
from tests.support.world import World

ADA, BOB = Caller("user:ada", ALL), Caller("user:bob", ALL)


def fetch(want: str) -> bytes:
    asked = b"".join(pkt(line + b"\n") for line in (b"want " + want.encode(), b"done"))
    return pkt(b"command=fetch") + b"0001" + asked + b"0000"


def token(root: Api, principal: str) -> str:
    return str(root.post("/tokens", {"principal": principal}, 201).get_json(force=True)["token"])


@contextmanager
def stalled(gateway: Gateway, body: bytes, count: int) -> Iterator[None]:
    """Clients of one principal that have got the beginning of an answer, and read no more of it."""
    head = (
        f"POST /git/{WHOLE}.git/{UPLOAD} HTTP/1.1\r\nHost: h\r\nGit-Protocol: version=2\r\n"
        f"Content-Type: application/x-{UPLOAD}-request\r\nAuthorization: {basic(gateway.token or '')}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with ExitStack() as open_ones:
        for _ in range(count):
            sock = open_ones.enter_context(gateway.connect(receive_buffer=4096))
            sock.sendall(head.encode() + body)
            assert sock.recv(512).startswith(b"HTTP/1.1 200")
        yield


@pytest.mark.parametrize(
    ("changed", "mine", "said"),
    [
        ({"gateway_threads": 4}, 2, "2 requests under way"),
        ({"gateway_processes": 2, "gateway_answer_bytes": 0}, 1, "1 processes of Git at work"),
    ],
    ids=["threads", "processes"],
)
def test_slow_clients_of_one_principal_leave_the_rest_to_others(
    with_tokens: Settings, root: Api, world: World, tmp_path: Path, changed: dict, mine: int, said: str
) -> None:
    world.put({f"large/{number}": os.urandom(4 << 20) for number in range(6)})
    world.work()
    grants(root, "user:ada reader /", "user:bob reader /")
    settings = replace(with_tokens, send_timeout=600.0, gateway_patience=2.0, **changed)
    with serving(settings, tmp_path / "g", token=ROOT_TOKEN) as gateway:
        ada, bob = (gateway.as_(token(root, f"user:{name}")) for name in ("ada", "bob"))
        await_true(lambda: gateway.ask_git(WHOLE, pkt(b"command=ls-refs") + b"0000").status == 200)
        gateway.clone(tmp_path / "root")
        body = fetch(git(tmp_path / "root", "rev-parse", "HEAD"))
        with stalled(ada, body, mine):
            refused = ada.ask_git(WHOLE, body)
            assert refused.status == 429 and int(refused.headers["Retry-After"]) >= 1, refused.body
            assert f"user:ada has {said}, all that it may have (gateway_share)" in refused.body.decode()
            told = ada.clone(tmp_path / "no", status=128)
            assert "429" in told, told
            if "gateway_threads" in changed:
                assert f"remote: Too much is waiting: user:ada has {said}" in told
            bob.clone(tmp_path / "bob")
        await_true(lambda: ada.ask_git(WHOLE, body).status == 200)


def test_what_no_answer_came_to_counts_no_more(with_tokens: Settings, root: Api, world: World, tmp_path: Path) -> None:
    world.put({"docs/a": b"a\n"})
    world.work()
    grants(root, "user:ada reader /")
    with serving(replace(with_tokens, gateway_threads=2), tmp_path / "g", token=ROOT_TOKEN) as gateway:
        gateway.clone(tmp_path / "root")
        ada = gateway.as_(token(root, "user:ada"))
        for body, status in ((b"zzzz", 400), (b"0000", 200), (pkt(b"command=what") + b"0000", 200), (b"0005", 400)):
            assert ada.ask_git(WHOLE, body).status == status
        assert ada.ask_git("nothing", b"0000").status == 404
        for _ in range(2):
            kept = ada.ask_git(WHOLE, fetch(git(tmp_path / "root", "rev-parse", "HEAD")))
            assert kept.status == 200, "with one request at a time, one that was left over would be all there is"
        assert ada.get(f"/git/{WHOLE}.git/info/refs?service=what", Authorization=basic(ada.token or "")).status == 403
        ada.clone(tmp_path / "clone")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return GitRepository.begun(tmp_path / "store").path / ".git"


def test_nobody_else_waits_behind_one_that_waits_for_its_share(store: Path, tmp_path: Path) -> None:
    processes, answers = GitProcesses(4, 600.0, 0.5), Answers(tmp_path / "answers", 1 << 30)
    running = [processes.bundle(store, ADA) for _ in range(2)]
    with pytest.raises(ShareTaken):  # at once: she waits where she keeps nothing that he needs
        answers.open(store, "key", lambda: processes.bundle(store, ADA))
    his = answers.open(store, "key", lambda: processes.bundle(store, BOB))
    hers = processes.patiently(ADA, lambda: answers.open(store, "key", lambda: processes.bundle(store, ADA)))
    assert isinstance(hers, Reader), "what is made for him needs no process of hers"
    for answer in (his, hers):
        answer.close()
    for process in running:
        process.kill()
        process.finish()
    processes.bundle(store, ADA).finish()


def test_one_that_gives_back_lets_its_own_next_one_in(store: Path) -> None:
    processes = GitProcesses(4, 600.0, 0.25)
    first = processes.bundle(store, ADA)
    tries = []

    def start() -> GitProcess:
        tries.append(1)
        if len(tries) == 1:
            with pytest.raises(ShareTaken):
                processes.bundle(store, ADA)
            first.kill()
            first.finish()
        return processes.bundle(store, ADA)

    processes.patiently(ADA, start).finish()
    processes.bundle(store, ADA).finish()


def test_all_together_never_have_more_than_there_are(store: Path) -> None:
    processes = GitProcesses(2, 0.0, 0.5)
    running = [processes.bundle(store, ADA), processes.bundle(store, BOB)]
    with pytest.raises(Busy):
        processes.bundle(store)
    with pytest.raises(Busy):
        processes.bundle(store, Caller("user:eve", ALL))
    for process in running:
        process.kill()
        process.finish()
    processes.bundle(store, Caller("user:eve", ALL)).finish()


@pytest.mark.parametrize("who", [None, EVERYBODY, Caller(ROOT, ALL)], ids=["nobody", "without tokens", "root"])
def test_who_has_no_limits_has_none_here(who: Caller | None) -> None:
    shares = Shares("things", 2, 0.5)
    for give_back in [shares.take(who) for _ in range(10)]:
        give_back()


@pytest.mark.parametrize(("most", "part", "may"), [(16, 0.5, 8), (1, 0.5, 1), (3, 0.01, 1), (4, 1.0, 4)])
def test_a_share_is_a_part_and_one_at_least(most: int, part: float, may: int) -> None:
    shares = Shares("things", most, part)
    taken = [shares.take(ADA) for _ in range(may)]
    with pytest.raises(ShareTaken, match=rf"user:ada has {may} things.*gateway_share"):
        shares.take(ADA)
    shares.take(BOB)
    taken[0]()
    shares.take(ADA)


@pytest.mark.parametrize("part", [0.0, -1.0, 1.5, float("nan")])
def test_what_is_no_part_is_refused(part: float) -> None:
    with pytest.raises(SettingsError, match="SLUICE_GATEWAY_SHARE"):
        Settings(gateway_share=part)


def test_what_is_given_back_in_a_moment_is_waited_for() -> None:
    shares = Shares("requests under way", 2, 0.5)
    give_back = shares.take(ADA)
    with pytest.raises(ShareTaken):
        shares.take(ADA)
    timer = threading.Timer(0.05, give_back)
    timer.start()
    shares.take(ADA, 60.0)()
    timer.join()
    shares.take(ADA)
