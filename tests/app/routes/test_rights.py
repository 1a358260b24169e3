"""Rights by path, when a request comes and when a batch decides; whose names and keys a changeset may carry."""

from __future__ import annotations

import io
import json
import threading
from typing import Any

import pytest

from app.admin.deep.verification import deep
from app.admin.verify import verify
from storage.access.covering import DEEPEST, MOST, covering
from storage.base.settings import Settings
from storage.log.entry import decode
from storage.log.records import Actor
from storage.operations.access import revoke
from storage.repository import Repository
from storage.view.access import read_policy
from tests.support.api import Api, Json, walk
from tests.support.compaction import emptied
from tests.support.principals import fresh, grants, principal, secured
from tests.support.world import World


@pytest.fixture
def root(settings: Settings, unsent: object) -> Api:
    root = secured(settings)
    for name in ("docs", "src"):
        root.post("/slices", {"name": name, "paths": [f"{name}/"]}, 201)
    return root


def put(api: Api, where: str, path: str, status: int = 202, key: str | None = None, **more: Any) -> Json:
    change = {"op": "put", "path": path, "content": path}
    body = {"base": api.get("/head")["tip"]["commit"], "changes": [change], **more}
    return api.submit(status, where=where, key=key, **body)


def test_a_writer_of_docs_lands_there_and_is_refused_at_src(root: Api) -> None:
    grants(root, "agent:a writer docs/", "agent:a reader src/")
    agent = principal(root, "agent:a")
    made = put(agent, "docs", "docs/a")
    root.world.work()
    shown = agent.get(f"/changesets/{made['id']}")
    assert (shown["status"], shown["submitter"]) == ("landed", "agent:a")
    refused = put(agent, "src", "src/a", 403)
    assert (refused["path"], refused["role"]) == ("src/a", "writer") and "src/a: the role writer" in refused["detail"]
    assert put(agent, "all", "src/a", 404)["status"] == 404, "a slice of everything is not for it to see"
    assert [slice_["name"] for slice_ in agent.get("/slices")["items"]] == ["docs", "src"]


def test_in_bulk_each_item_is_refused_for_itself(root: Api) -> None:
    grants(root, "agent:a writer docs/", "agent:a reader src/")
    agent = principal(root, "agent:a")
    tip = agent.get("/head")["tip"]["commit"]
    items = [
        {"slice": name, "base": tip, "message": "m", "changes": [{"op": "put", "path": f"{name}/x", "content": "1"}]}
        for name in ("docs", "src", "all")
    ]
    outcomes = agent.post("/changesets", {"changesets": items}, 202).get_json(force=True)["outcomes"]
    assert [outcome["status"] for outcome in outcomes] == [202, 403, 404]
    assert outcomes[1]["problem"]["path"] == "src/x"


@pytest.mark.parametrize("hold", [False, True])
def test_rights_that_are_taken_away_while_a_changeset_waits_count(root: Api, hold: bool) -> None:
    grants(root, "agent:a writer docs/")
    agent = principal(root, "agent:a")
    waiting = put(agent, "docs", "docs/a", hold=hold)["id"]
    grants(root, "agent:a reader docs/")
    if hold:
        root.post(f"/changesets/{waiting}/release", {}, 200)
    root.world.work()
    shown = agent.get(f"/changesets/{waiting}")
    assert (shown["status"], shown["reason"]) == ("rejected", "not-allowed")
    assert shown["detail"] == "agent:a has not the role writer at docs/a"
    assert not verify(root.world.repo).differences and deep(root.world.repo.settings).difference == ""


def test_what_a_token_is_limited_to_counts_when_a_batch_decides(root: Api) -> None:
    """A token has no more rights than when it was used, though its principal has."""
    grants(root, "agent:a writer docs/", "agent:a writer src/")
    agent = principal(root, "agent:a", paths=["docs/"])
    waiting = put(agent, "docs", "docs/a")["id"]
    root.world.work()
    assert root.get(f"/changesets/{waiting}")["status"] == "landed"
    entry = decode(root.world.repo.log.read(root.world.repo.view.head().applied - 1) or b"")
    [record] = entry.decided
    assert record.by and record.by.principal == "agent:a" and record.by.token and record.by.request
    assert record.covers == ("docs/a",)


def test_a_pack_that_is_lost_hides_its_own_changesets_alone(root: Api) -> None:
    """Those in 30 directories say too little of their paths: it is their manifests that tell who may see them."""
    places = [f"docs/{i}/" for i in range(30)]
    root.post("/slices", {"name": "many", "paths": places}, 201)
    grants(root, *[f"agent:a writer {place}" for place in places])
    agent = principal(root, "agent:a")
    changes = [{"op": "put", "path": f"{place}new", "content": "x", "base": None} for place in places]
    lost, left = (agent.submit(where="many", changes=changes)["id"] for _ in range(2))
    assert {row["id"] for row in walk(agent, "/changesets")} == {lost, left}
    repo = root.world.repo
    pack = repo.queue.states([lost])[1][0].pack
    repo.queue.drop_manifests()
    repo.bucket.delete(f"{pack}.pack")
    assert {row["id"] for row in walk(agent, "/changesets")} == {left}


def test_a_grant_that_has_ended_counts_at_admission_alone(root: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"to": "user:admin", "role": "admin", "path": "/"},
        {"to": "agent:a", "role": "writer", "path": "docs/", "until": "2999-01-01T00:00:00Z"},
        {"to": "agent:a", "role": "reader", "path": "docs/"},
    ]
    assert root.http.put("/v1/policy", json={"grants": rows}, headers={"If-Match": "*"}).status_code == 200
    agent = principal(root, "agent:a")
    waiting = put(agent, "docs", "docs/a")["id"]
    monkeypatch.setattr("app.access.caller.time.time", lambda: 40e9)
    assert put(agent, "docs", "docs/b", 403)["role"] == "writer"
    root.world.work()
    assert agent.get(f"/changesets/{waiting}")["status"] == "landed"


def test_one_lets_go_and_takes_back_ones_own_and_maintainers_those_of_others(root: Api) -> None:
    grants(root, "user:ada writer docs/", "user:bob writer docs/", "user:max maintainer docs/")
    ada, bob, maintainer = (principal(root, f"user:{name}") for name in ("ada", "bob", "max"))
    first, second = (put(ada, "docs", path, hold=True)["id"] for path in ("docs/a", "docs/b"))
    for verb in ("abandon", "rebase", "release"):
        assert bob.post(f"/changesets/{first}/{verb}", {}, 403).get_json(force=True)["role"] == "maintainer"
    assert ada.post(f"/changesets/{first}/release", {}, 403).get_json(force=True)["role"] == "maintainer"
    ada.post(f"/changesets/{first}/abandon", {}, 200)
    maintainer.post(f"/changesets/{second}/release", {}, 200)
    root.world.work()
    assert ada.get(f"/changesets/{second}")["status"] == "landed"


def test_a_successor_is_its_makers(root: Api) -> None:
    grants(root, "user:ada writer docs/", "user:max maintainer docs/")
    ada, maintainer = principal(root, "user:ada"), principal(root, "user:max")
    held = put(ada, "docs", "docs/a", hold=True)["id"]
    made = maintainer.post(f"/changesets/{held}/rebase", {}, 202).get_json(force=True)
    maintainer.post(f"/changesets/{made['id']}/release", {}, 200)
    root.world.work()
    assert ada.get(f"/changesets/{made['id']}")["submitter"] == "user:max"
    assert ada.get(f"/changesets/{held}")["submitter"] == "user:ada"


# --- what is in the way -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("granted", "change", "hidden"),
    [
        ("docs/sub/", "docs/sub/f", "docs/sub"),  # a file stands where the change needs a directory
        ("docs/thing", "docs/thing", "docs/thing/hidden-name"),  # a directory stands where it needs a file
    ],
)
def test_nothing_tells_of_what_is_in_the_way_where_one_may_not_read(
    root: Api, granted: str, change: str, hidden: str
) -> None:
    root.post("/slices", {"name": "narrow", "paths": [granted]}, 201)
    grants(root, f"agent:a writer {granted}")
    agent, base = principal(root, "agent:a"), root.tip
    put(root, "docs", hidden)
    root.world.work()
    body = {"base": base, "message": "m", "changes": [{"op": "put", "path": change, "content": "mine"}]}
    checked = agent.post("/slices/narrow/check", body, 200).get_json(force=True)
    made = agent.post("/slices/narrow/changesets", body, 202).get_json(force=True)["id"]
    root.world.work()
    told = [checked, agent.get(f"/changesets/{made}"), agent.get(f"/changesets/{made}/conflicts")]
    told.append(agent.get(f"/changesets/{made}/conflicts/head/{change}", 404))
    told.append(agent.http.post(f"/v1/changesets/{made}/rebase").get_json(force=True))
    answer = agent.http.post(f"/v1/changesets/{made}/resolve", json={"paths": {change: {"take": "theirs"}}})
    told.append(answer.get_json(force=True))
    blob = root.get(f"/changesets/{made}")["conflicts"][0]["head"]["id"]
    assert agent.get(f"/changesets/{made}")["status"] == "conflicted"
    for each in told:
        text = json.dumps(each)
        assert blob not in text and "hidden-name" not in text, text


# --- keys and authors -------------------------------------------------------------------------------------------------


def test_two_principals_may_use_the_same_key_and_a_repeat_is_ones_own(root: Api) -> None:
    grants(root, "user:ada writer docs/", "user:bob writer docs/")
    ada, bob = principal(root, "user:ada"), principal(root, "user:bob")
    body = {"base": ada.get("/head")["tip"]["commit"], "changes": [{"op": "put", "path": "docs/a", "content": "1"}]}
    first = ada.submit(202, where="docs", key="k", **body)["id"]
    assert ada.submit(202, where="docs", key="k", **body)["id"] == first
    assert bob.submit(202, where="docs", key="k", **body)["id"] != first
    root.world.work()
    emptied(root.world)
    fresh(root)
    assert ada.submit(202, where="docs", key="k", **body)["id"] == first
    other = {**body, "message": "another"}
    assert ada.submit(422, where="docs", key="k", **other)["type"].endswith("key-reused")


def test_a_key_from_before_there_were_tokens_still_counts(api: Api) -> None:
    body = {"base": api.tip, "changes": [{"op": "put", "path": "a", "content": "1"}]}
    first = api.submit(202, key="k", **body)["id"]
    root = secured(api.world.repo.settings, world=World(Repository(api.world.repo.settings), api.world.all))
    assert root.submit(202, key="k", **body)["id"] == first


@pytest.mark.parametrize(
    ("authors", "granted", "email", "status"),
    [
        ("any", "user:x reader x/", "other@example.org", 202),
        ("own", "user:x reader x/", "other@example.org", 403),
        ("own", "user:x reader x/", "ada@work.example", 202),
        ("own", "user:ada impersonate docs/", "other@example.org", 202),
        ("own", "user:ada impersonate src/", "other@example.org", 403),
    ],
)
def test_whose_name_a_changeset_may_carry(root: Api, authors: str, granted: str, email: str, status: int) -> None:
    people = {"user:ada": {"name": "Ada", "emails": ["ada@example.org", "ada@work.example"]}}
    grants(root, "user:ada writer docs/", granted, people=people, authors=authors)
    ada = principal(root, "user:ada")
    answer = put(ada, "docs", "docs/a", status, author={"name": "Somebody", "email": email})
    if status == 403:
        assert (answer["path"], answer["role"]) == ("docs/a", "impersonate")


def test_without_an_author_it_is_the_submitter_as_the_policy_names_it(root: Api) -> None:
    people = {"user:ada": {"name": "Ada", "emails": ["ada@example.org"]}}
    grants(root, "user:ada writer docs/", people=people)
    put(principal(root, "user:ada"), "docs", "docs/a")
    root.world.work()
    [commit] = root.get("/slices/docs/commits")["items"]
    assert commit["author"] == {"name": "Ada", "email": "ada@example.org"}


# --- what changes while one waits -------------------------------------------------------------------------------------


def test_a_long_poll_ends_when_its_token_does(root: Api) -> None:
    grants(root, "agent:a writer docs/")
    agent = principal(root, "agent:a")
    waiting = put(agent, "docs", "docs/a", hold=True)["id"]
    [token] = [each for each in root.get("/tokens")["items"] if each["principal"] == "agent:a"]
    answered: list[int] = []
    poll = threading.Thread(
        target=lambda: answered.append(agent.http.get(f"/v1/changesets/{waiting}?wait=50").status_code)
    )
    poll.start()
    revoke(root.world.repo, [token["id"]], Actor(principal="root"))
    poll.join(30)
    assert answered == [401]


def test_a_poll_and_a_stream_go_on_when_others_get_tokens(root: Api) -> None:
    grants(root, "agent:a writer docs/")
    agent = principal(root, "agent:a")
    waiting = put(agent, "docs", "docs/a", hold=True)["id"]
    who = root.http.application.extensions["sluice"].access
    caller = who.caller(agent.http.environ_base["HTTP_AUTHORIZATION"])
    principal(root, "agent:b")
    grants(root, "agent:a writer docs/", "agent:b reader src/")
    assert not who.has_ended(caller) and not who.has_other_rights(caller)
    assert agent.get(f"/changesets/{waiting}", wait="0.1")["status"] == "held"


def test_who_was_revoked_while_its_body_was_on_its_way_is_refused(root: Api) -> None:
    grants(root, "user:ada reader docs/")
    ada = principal(root, "user:ada")
    [token] = [each for each in root.get("/tokens")["items"] if each["principal"] == "user:ada"]

    class Slow(io.BytesIO):
        def read(self, *args: Any) -> bytes:
            if args:
                revoke(root.world.repo, [token["id"]], Actor(principal="root"))
                fresh(root)
            return super().read(*args)

    data = json.dumps({"principal": "user:ada"}).encode()
    answer = ada.http.post(
        "/v1/tokens", input_stream=Slow(data), content_length=len(data), content_type="application/json"
    )
    assert answer.status_code == 401


def test_a_stream_ends_when_its_rights_change(root: Api) -> None:
    grants(root, "agent:a reader docs/")
    agent = principal(root, "agent:a")
    stream = agent.http.get("/v1/events", buffered=False)
    pieces = iter(stream.response)
    assert b"retry" in _bytes(next(pieces))
    grants(root)
    rest = [_bytes(piece) for piece in pieces]
    assert rest[-1].startswith(b"id: "), "it ends after whole events, with the id to go on from"
    stream.close()


def _bytes(piece: Any) -> bytes:
    return piece.encode() if isinstance(piece, str) else bytes(piece)


def told_until(api: Api, mark: bytes) -> bytes:
    """Return what a stream of all events tells, up to where it has a text."""
    stream = api.http.get("/v1/events?after=0", buffered=False)
    told = b""
    for piece in stream.response:
        told += _bytes(piece)
        if mark in told:
            break
    stream.close()
    return told


def test_a_release_is_told_to_who_may_know_of_the_changeset(root: Api) -> None:
    grants(root, "user:ada writer docs/", "user:max maintainer docs/")
    ada = principal(root, "user:ada")
    held = put(ada, "docs", "docs/a", hold=True)["id"]
    root.post(f"/changesets/{held}/release", {}, 200)
    told = told_until(ada, b"event: released")
    assert held.encode() in told


def test_events_tell_of_what_one_may_read(root: Api) -> None:
    grants(root, "agent:a reader docs/", "user:w writer docs/", "user:w writer src/")
    agent, writer = principal(root, "agent:a"), principal(root, "user:w")
    seen, hidden = put(writer, "docs", "docs/a")["id"], put(writer, "src", "src/a")["id"]
    root.world.work()
    told = told_until(agent, b"event: landed")
    assert seen.encode() in told and hidden.encode() not in told


# --- the prefixes by which lists and events judge ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paths", "prefixes"),
    [
        ([b"a/b", b"a/c"], (b"a/b", b"a/c")),
        ([b"a/%d" % i for i in range(MOST + 1)], (b"a/",)),
        ([b"d%d/x/f%d" % (i % MOST, i) for i in range(40)], tuple(sorted(b"d%d/x/" % i for i in range(MOST)))),
        ([b"a/d%d/f" % i for i in range(MOST + 1)], (b"a/",)),
        ([b"d%d/f" % i for i in range(MOST + 1)], (b"/",)),
        ([b"f%d" % i for i in range(MOST + 1)], (b"/",)),
        ([b"long/" + b"x" * 300, b"long/" + b"y" * 300], (b"long/",)),
        ([b"/".join([b"a"] * 90) + b"/%d" % i for i in range(5000)], (b"a/" * DEEPEST,)),
    ],
)
def test_a_few_prefixes_cover_all_paths(paths: list[bytes], prefixes: tuple[bytes, ...]) -> None:
    assert covering(paths) == prefixes


def test_a_policy_outlives_redis(root: Api) -> None:
    grants(root, "agent:a reader docs/")
    before = read_policy(root.world.repo.view)
    emptied(root.world)
    assert read_policy(root.world.repo.view) == before and before.version == 1
    assert not verify(root.world.repo).differences
