"""Nobody gets by Git what the API would not show: the attacks are tried with real ids."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from app.gateway.wire.pkt_lines import pkt
from storage.base.settings import Settings
from tests.support.api import Api
from tests.support.gateway import UPLOAD, WHOLE, Gateway, basic, git, serving
from tests.support.principals import ROOT_TOKEN, grants, principal
from tests.support.waiting import await_true
from tests.support.world import World

SECRET = b"the secret plan\n"


@pytest.fixture
def ids(root: Api, world: World, gateway: Gateway, tmp_path: Path) -> dict[str, str]:
    """Make two slices, a reader of one of them, and return the ids of what it must not have."""
    root.post("/slices", {"name": "docs", "paths": ["docs/"]}, 201)
    root.post("/slices", {"name": "secret", "paths": ["secret/"]}, 201)
    world.put({"docs/a": b"a\n", "secret/plan": SECRET})
    world.work()
    world.put({"secret/plan": b"another plan\n"})
    world.work()
    found = {}
    for name in ("secret", WHOLE):
        clone = tmp_path / f"owner-{name[0]}"
        gateway.clone(clone, name=name)
        for what in ("HEAD", "HEAD^{tree}", "HEAD~1:secret/plan", "HEAD~1", "HEAD:secret"):
            found[f"{name} {what}"] = git(clone, "rev-parse", what)
    return found


def token_of(api: Api) -> str:
    return api.http.environ_base["HTTP_AUTHORIZATION"].partition(" ")[2]


@pytest.fixture
def reader(root: Api, ids: dict[str, str], gateway: Gateway) -> Gateway:
    """The gateway, for who may read docs/ alone."""
    grants(root, "user:ada reader docs/")
    return gateway.as_(token_of(principal(root, "user:ada")))


def fetch(*wants: str, arguments: tuple[bytes, ...] = ()) -> bytes:
    """A fetch by protocol version 2."""
    lines = [b"command=fetch", b"agent=git/2", b"object-format=sha1"]
    asked = [b"ofs-delta", *arguments, *(b"want " + want.encode() for want in wants), b"done"]
    return b"".join(map(pkt, lines)) + b"0001" + b"".join(pkt(each + b"\n") for each in asked) + b"0000"


def fetch_v0(*wants: str) -> bytes:
    first, *rest = wants
    lines = [f"want {first} side-band-64k ofs-delta filter agent=git/2\n", *(f"want {want}\n" for want in rest)]
    return b"".join(pkt(line.encode()) for line in lines) + b"0000" + pkt(b"done\n")


def test_without_a_token_nobody_gets_anything_and_git_asks_for_one(gateway: Gateway, ids: dict[str, str]) -> None:
    nobody = gateway.as_(None)
    for name in ("docs", WHOLE, "missing"):
        answer = nobody.get(f"/git/{name}.git/info/refs?service={UPLOAD}")
        assert answer.status == 401 and answer.headers["WWW-Authenticate"].startswith('Basic realm="sluice"')
        assert nobody.ask_git(name, fetch("0" * 40)).status == 401
        assert nobody.get(f"/git/{name}.git/clone.bundle").status == 401
    wrong = gateway.as_("slc_wrong")
    assert wrong.ask_git("docs", fetch("0" * 40)).status == 401
    odd = {"Authorization": "Basic \xff\xfe"}
    assert gateway.get(f"/git/docs.git/info/refs?service={UPLOAD}", **odd).status == 401


def test_what_one_may_not_read_does_not_exist(reader: Gateway, tmp_path: Path) -> None:
    answers = []
    for name in ("secret", WHOLE, "missing"):
        got = [
            reader.get(f"/git/{name}.git/info/refs?service={UPLOAD}", Authorization=basic(reader.token or "")),
            reader.get(f"/git/{name}.git/clone.bundle", Authorization=basic(reader.token or "")),
            reader.ask_git(name, fetch("0" * 40)),
        ]
        assert [each.status for each in got] == [404, 404, 404]
        answers.append([each.body.replace(name.encode(), b"NAME") for each in got])
        assert "not found" in reader.clone(tmp_path / "no", name=name, status=128).lower()
    assert answers[0] == answers[1] == answers[2], "which of them is there cannot be told"
    reader.clone(tmp_path / "docs", name="docs")
    bearer = reader.get(f"/git/docs.git/info/refs?service={UPLOAD}", Authorization=f"Bearer {reader.token}")
    assert bearer.status == 200


def test_no_id_of_another_slice_can_be_had(reader: Gateway, ids: dict[str, str], world: World, tmp_path: Path) -> None:
    reader.clone(tmp_path / "clone", name="docs")
    own = git(tmp_path / "clone", "rev-parse", "HEAD")
    sizes = {"": len(reader.ask_git("docs", fetch(own)).body)}
    assert sizes[""] > 200, "one's own can be had"
    for what, oid in {**ids, "tip": world.tip.hex(), "root": world.repo.view.head().root}.items():
        for arguments in (
            (),
            (b"filter blob:none",),
            (b"filter tree:0",),
            (b"deepen 1",),
            (b"shallow " + own.encode(),),
        ):
            for wants in ((oid,), (own, oid)):
                answer = reader.ask_git("docs", fetch(*wants, arguments=arguments))
                assert b"ERR" in answer.body and b"PACK" not in answer.body, (what, arguments)
        for wants in ((oid,), (own, oid)):
            answer = reader.ask_git("docs", fetch_v0(*wants), version=0)
            assert b"PACK" not in answer.body and SECRET not in answer.body, what
        assert b"have" not in reader.ask_git("docs", fetch(own, arguments=(b"have " + oid.encode(),))).body


@pytest.mark.parametrize("version", [0, 2])
def test_a_partial_clone_gets_nothing_of_another_slice_lazily(
    reader: Gateway, ids: dict[str, str], tmp_path: Path, version: int
) -> None:
    clone = tmp_path / "clone"
    reader.clone(clone, f"-c=protocol.version={version}", "--filter=blob:none", "--no-checkout", name="docs")
    assert git(clone, "cat-file", "blob", "HEAD:docs/a") == "a", "one's own comes"
    option = f"protocol.version={version}"
    for oid in ids.values():
        git(clone, "-c", option, "cat-file", "-p", oid, status=128)
        git(clone, "-c", option, "fetch", "origin", oid, status=128)
        git(clone, "-c", option, "fetch", "--filter=tree:0", "origin", oid, status=128)


def test_what_was_kept_for_one_slice_answers_no_other(gateway: Gateway, reader: Gateway, ids: dict[str, str]) -> None:
    secret = fetch(ids["secret HEAD"])
    assert gateway.ask_git("secret", secret).status == 200
    assert b"PACK" in gateway.ask_git("secret", secret).body, "it is kept"
    assert b"PACK" not in reader.ask_git("docs", secret).body
    assert reader.ask_git("secret", secret).status == 404


def test_a_definition_that_shrank_gives_its_old_paths_to_nobody(
    root: Api, gateway: Gateway, reader: Gateway, world: World, tmp_path: Path
) -> None:
    root.post("/slices", {"name": "both", "paths": ["docs/", "secret/"]}, 201)
    gateway.clone(tmp_path / "before", name="both")
    old = [git(tmp_path / "before", "rev-parse", what) for what in ("HEAD", "HEAD^{tree}", "HEAD:secret/plan")]
    whole = [gateway.ask_git("both", fetch(oid)).body for oid in old]
    assert all(b"PACK" in body for body in whole)
    assert reader.ask_git("both", fetch(old[0])).status == 404
    changed = root.http.patch("/v1/slices/both", json={"paths": ["docs/"]})
    assert changed.status_code == 200, changed.data
    world.work()
    reader.clone(tmp_path / "after", name="both")
    assert git(tmp_path / "after", "ls-tree", "-r", "--name-only", "HEAD") == "docs/a"
    for oid in old:
        for client in (reader, gateway):
            assert b"PACK" not in client.ask_git("both", fetch(oid)).body
            assert b"PACK" not in client.ask_git("both", fetch_v0(oid), version=0).body


_GZIP = {"Content_Encoding": "gzip"}
WRONG: list[tuple[bytes, dict[str, str], int]] = [
    (b"", {}, 400),
    (b"0000", {}, 200),
    (b"zzzz", {}, 400),
    (b"0005", {}, 400),
    (b"00000000", {}, 400),
    (b"ffff", {}, 400),
    (pkt(b"command=fetch") + b"0001" + pkt(b"want main\n") + b"0000", {}, 400),
    (pkt(b"command=fetch") + pkt(b"object-format=sha256") + b"0000", {}, 400),
    (gzip.compress(b"0000"), _GZIP, 200),
    (gzip.compress(b"0000")[:-9], _GZIP, 400),
    (gzip.compress(b"0000") + b"more", _GZIP, 400),
    (b"nothing deflated", _GZIP, 400),
    (b"0000", {"Content_Encoding": "br"}, 415),
    (b"0000", {"Content_Type": "text/plain"}, 415),
]


def test_wrong_requests_are_refused_in_words(gateway: Gateway) -> None:
    for body, headers, status in WRONG:
        answer = gateway.ask_git(WHOLE, body, **headers)
        assert answer.status == status, (body[:40], answer.body)
        if status >= 400:
            assert answer.headers["Content-Type"].startswith("text/plain") and answer.body.endswith(b"\n")
    bomb = gzip.compress(b"0" * (64 << 20))
    assert len(bomb) < 1 << 20
    answer = gateway.ask_git(WHOLE, bomb, Content_Encoding="gzip")
    assert answer.status == 413 and b"more than" in answer.body, "what inflates to too much"


@contextmanager
def stalled(gateway: Gateway, body: bytes) -> Iterator[socket.socket]:
    """A client that has sent a request, has got the beginning of the answer, and reads no more of it."""
    sock = gateway.connect(receive_buffer=4096)
    head = (
        f"POST /git/docs.git/{UPLOAD} HTTP/1.1\r\nHost: h\r\nGit-Protocol: version=2\r\n"
        f"Content-Type: application/x-{UPLOAD}-request\r\nAuthorization: {basic(gateway.token or '')}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    sock.sendall(head.encode() + body)
    assert sock.recv(512).startswith(b"HTTP/1.1 200")
    yield sock


@pytest.mark.parametrize(("answer_bytes", "how"), [(0, "revoked"), (1 << 30, "revoked"), (1 << 30, "without a grant")])
def test_a_right_that_ends_ends_what_is_being_sent(
    with_tokens: Settings, root: Api, world: World, tmp_path: Path, answer_bytes: int, how: str
) -> None:
    root.post("/slices", {"name": "docs", "paths": ["docs/"]}, 201)
    noise = b"".join(
        number.to_bytes(8, "big") + bytes(str(number * 7919 % 104729), "ascii") for number in range(900_000)
    )
    world.put({"docs/large": noise})
    world.work()
    grants(root, "user:ada reader docs/")
    made = root.post("/tokens", {"principal": "user:ada"}, 201).get_json(force=True)
    settings = replace(with_tokens, gateway_answer_bytes=answer_bytes, send_timeout=600.0)
    with serving(settings, tmp_path / "g", token=ROOT_TOKEN) as gateway:
        gateway.clone(tmp_path / "clone", name="docs")
        main = git(tmp_path / "clone", "rev-parse", "HEAD")
        size = len(gateway.ask_git("docs", fetch(main)).body)
        with stalled(gateway.as_(made["token"]), fetch(main)) as client:
            if how == "revoked":
                assert root.http.delete(f"/v1/tokens/{made['id']}").status_code == 204
            else:
                grants(root, "user:ada reader other/")
            await_true(lambda: '"request_cut"' in gateway.process.logs())
            got = 0
            try:
                while piece := client.recv(1 << 20):
                    got += len(piece)
            except ConnectionError:
                pass  # it may also end so
        assert got < size, "the rest was never sent"
        again = gateway.as_(made["token"]).ask_git("docs", fetch(main))
        assert again.status == (401 if how == "revoked" else 404)
