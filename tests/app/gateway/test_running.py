"""What a gateway does with clients that are slow, hang up or come too early, and with an address for all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import pytest
from gunicorn.arbiter import Arbiter

from app.gateway.wire.pkt_lines import pkt
from app.stack import commands
from app.stack.processes import Command, Supervisor
from app.stack.servers import free_ports
from storage.base.settings import Settings, environment
from tests.support.api import Api
from tests.support.api_server import ROOT
from tests.support.gateway import UPLOAD, WHOLE, basic, git, serving
from tests.support.principals import ROOT_TOKEN, secured
from tests.support.waiting import await_true
from tests.support.world import World


def fetch(want: str) -> bytes:
    asked = b"".join(pkt(line + b"\n") for line in (b"want " + want.encode(), b"done"))
    return pkt(b"command=fetch") + b"0001" + asked + b"0000"


def events(logs: str, name: str) -> list[dict]:
    return [json.loads(line) for line in logs.splitlines() if f'"event": "{name}"' in line]


@pytest.mark.parametrize("answer_bytes", [0, 1 << 30], ids=["alone", "shared"])
def test_a_client_that_hangs_up_gives_back_what_it_had(
    with_tokens: Settings, world: World, tmp_path: Path, answer_bytes: int
) -> None:
    world.put({f"large/{number}": os.urandom(4 << 20) for number in range(6)})
    world.work()
    # With one process at a time, one that was left over would be all there is.
    settings = replace(with_tokens, gateway_answer_bytes=answer_bytes, gateway_processes=1, gateway_patience=30.0)
    with serving(settings, tmp_path / "g", token=ROOT_TOKEN) as gateway:
        gateway.clone(tmp_path / "clone")
        main = git(tmp_path / "clone", "rev-parse", "HEAD")
        body = fetch(main)
        for number in range(1, 4):
            sock = gateway.connect(receive_buffer=4096)
            sock.sendall(
                f"POST /git/{WHOLE}.git/{UPLOAD} HTTP/1.1\r\nHost: h\r\nGit-Protocol: version=2\r\n"
                f"Content-Type: application/x-{UPLOAD}-request\r\nAuthorization: {basic(ROOT_TOKEN)}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            assert sock.recv(512).startswith(b"HTTP/1.1 200")
            sock.close()
            await_true(lambda n=number: len(events(gateway.process.logs(), "git_sent")) >= n + 1)
        gateway.clone(tmp_path / "again")
        git(tmp_path / "again", "fsck")


def test_a_clone_whose_store_is_not_ready_yet_is_told_when_to_come_back(
    with_tokens: Settings, world: World, tmp_path: Path
) -> None:
    world.put({"docs/a": b"a\n"})
    world.work()
    refs = pkt(b"command=ls-refs") + b"0000"
    with serving(replace(with_tokens, gateway_patience=0.0), tmp_path / "g", token=ROOT_TOKEN) as gateway:
        early = gateway.ask_git(WHOLE, refs)
        assert early.status == 503 and int(early.headers["Retry-After"]) >= 1
        await_true(lambda: gateway.ask_git(WHOLE, refs).status == 200)
        assert world.tip.hex().encode() in gateway.ask_git(WHOLE, refs).body


def test_a_client_that_never_ends_its_request_is_disconnected(
    with_tokens: Settings, world: World, tmp_path: Path
) -> None:
    slow = replace(with_tokens, header_timeout=0.5, body_timeout=0.5, send_timeout=0.5, gateway_threads=2)
    with serving(slow, tmp_path / "g", token=ROOT_TOKEN) as gateway:
        head = (
            f"POST /git/{WHOLE}.git/{UPLOAD} HTTP/1.1\r\nHost: h\r\nAuthorization: {basic(ROOT_TOKEN)}\r\n"
            f"Content-Type: application/x-{UPLOAD}-request\r\nContent-Length: 100\r\n\r\n"
        )
        stuck = [
            gateway.send(data) for data in (b"GET /git/docs.git/in", b"GET ", head.encode(), head.encode() + b"00")
        ]
        assert gateway.get("/healthz").status == 200, "all threads were taken, and are free again"
        for sock in stuck:
            while sock.recv(4096):
                pass


@pytest.mark.parametrize("workers", [1, 3])
def test_without_tokens_only_this_machine_is_served(
    settings: Settings, world: World, tmp_path: Path, workers: int
) -> None:
    world.put({"docs/a": b"a\n"})
    world.work()
    [port] = free_ports(1)
    argv = commands.runnable(commands.gateway(workers, 4, f"0.0.0.0:{port}"))
    chosen = replace(settings, gateway_folder=str(tmp_path / "folder"))
    with Supervisor(tmp_path / "logs", restart=False) as supervisor:
        supervisor.start(Command("open", argv, environment(chosen, {"PYTHONPATH": str(ROOT)}), tmp_path))
        process = supervisor.processes["open"]
        await_true(lambda: process.status is not None)
        assert process.status == Arbiter.APP_LOAD_ERROR
        assert process.logs().count("is refused") == 1 and "Traceback" not in process.logs()
    with serving(settings, tmp_path / "g", workers=workers) as gateway:
        gateway.clone(tmp_path / "clone")
        assert (tmp_path / "clone/docs/a").read_bytes() == b"a\n"


def test_the_deployment_is_not_healthy_without_the_gateway_that_it_names(
    settings: Settings, with_tokens: Settings, world: World, unsent: SimpleQueue[str], tmp_path: Path
) -> None:
    api = secured(settings, world, git_url="http://127.0.0.1:1")

    def check() -> dict:
        checks: dict = api.http.get("/v1/health").get_json(force=True)["checks"]
        return checks["gateway"]

    assert check()["ok"] is False and "none is at work" in check()["detail"]
    with serving(with_tokens, tmp_path / "g", token=ROOT_TOKEN):
        await_true(lambda: check()["ok"])
    await_true(lambda: not check()["ok"])
    assert "gateway" not in secured(settings, world).http.get("/v1/health").get_json(force=True)["checks"]


def test_what_a_gateway_has_sent_is_in_the_metrics(
    root: Api, with_tokens: Settings, world: World, tmp_path: Path
) -> None:
    world.put({"docs/a": b"a\n"})
    world.work()
    with serving(with_tokens, tmp_path / "g", token=ROOT_TOKEN) as gateway:
        for name in ("a", "b", "c"):
            gateway.clone(tmp_path / name)

        def counted(name: str) -> Callable[[], bool]:
            return lambda: name in root.http.get("/metrics").get_data(as_text=True)

        await_true(counted('sluice_git_answers_total{how="refs"} 3.0'))
        await_true(counted('sluice_git_answers_total{how="kept"} 2.0'))
        await_true(counted('sluice_git_bytes_total{how="kept"}'))
        await_true(counted("sluice_git_requests 0.0"))
        await_true(counted('sluice_processes{process="gateway"'))
        [first, *_] = events(gateway.process.logs(), "git_sent")
        assert (first["principal"], first["how"]) == ("root", "made") and first["bytes"] > 0
        assert ROOT_TOKEN not in gateway.process.logs()
        assert gateway.get("/readyz").status == 200


def test_refs_are_listed_without_git_however_many_prefixes_are_asked_for(
    with_tokens: Settings, world: World, tmp_path: Path
) -> None:
    world.put({"docs/a": b"a\n"})
    world.work()

    def asked(head: bytes, prefixes: int) -> bytes:
        lines = b"".join(pkt(b"ref-prefix refs/heads/%07d" % number) for number in range(prefixes))
        return head + b"0001" + lines + pkt(b"ref-prefix refs/heads/ma") + b"0000"

    command, agent = pkt(b"command=ls-refs"), pkt(b"agent=git/2")
    with serving(with_tokens, tmp_path / "g", token=ROOT_TOKEN) as gateway:
        for head in (command, agent + command):
            answer = gateway.ask_git(WHOLE, asked(head, 20_000))
            assert answer.status == 200 and answer.body.count(b"refs/heads/main") == 1 and b"HEAD" not in answer.body
        assert gateway.ask_git(WHOLE, asked(command, 200_000)).status == 413
        assert gateway.ask_git(WHOLE, asked(agent * 30_000 + command, 10)).status == 400
        assert not events(gateway.process.logs(), "git_sent"), "no process was started"
