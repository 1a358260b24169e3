"""Advisory claims by the API: made by who may write there, told to who may read there, and in nobody's way."""

from __future__ import annotations

import json
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisAway
from werkzeug.test import TestResponse

from storage.base.settings import Settings
from storage.claims import AdvisoryClaims
from tasks.upkeep import run as run_upkeep
from tests.support.api import Api, Json, walk
from tests.support.principals import fresh, grants, principal, secured
from tests.support.waiting import await_true

UNKNOWN = "01K0M8XJ5E3Q4T7N9V2B6C8D0F"


@pytest.fixture
def root(settings: Settings, unsent: object) -> Api:
    root = secured(settings, max_claims_per_principal=20)
    for name in ("docs", "src"):
        root.post("/slices", {"name": name, "paths": [f"{name}/"]}, 201)
    grants(
        root, "agent:a writer docs/", "agent:b writer docs/", "agent:b writer src/", "agent:top maintainer /",
        "agent:eyes reader docs/", "agent:all reader /", "agent:all writer src/",
    )  # fmt: skip
    return root


@pytest.fixture
def a(root: Api) -> Api:
    return principal(root, "agent:a")


@pytest.fixture
def b(root: Api) -> Api:
    return principal(root, "agent:b")


def claim(api: Api, *paths: str, status: int = 201, **more: Any) -> Json:
    body = {"paths": list(paths), "intent": "rewriting it", **more}
    return api.post("/claims", body, status).get_json(force=True)


def put(api: Api, slice_name: str, *paths: str) -> Json:
    changes = [{"op": "put", "path": path, "content": "x"} for path in paths]
    return api.submit(where=slice_name, base=api.get("/head")["tip"]["commit"], changes=changes)


def paths(items: list[Json]) -> list[list[str]]:
    return [item["paths"] for item in items]


def now() -> datetime:
    return datetime.now(UTC)


def test_a_claim_is_made_read_renewed_and_ended(a: Api) -> None:
    made = claim(a, "docs/guide/", "docs/a.md", ttl=60)
    assert (made["principal"], made["paths"], made["intent"]) == (
        "agent:a", ["docs/guide/", "docs/a.md"], "rewriting it",
    )  # fmt: skip
    assert 0 < (datetime.fromisoformat(made["expires"]) - now()).total_seconds() < 70
    assert a.get("/claims")["items"] == [made] == a.get("/claims", principal="agent:a")["items"]
    answer = a.http.patch(f"/v1/claims/{made['id']}", json={"ttl": 600, "intent": "nearly done"})
    renewed = answer.get_json(force=True)
    assert answer.status_code == 200 and renewed == made | {"expires": renewed["expires"], "intent": "nearly done"}
    assert renewed["expires"] > made["expires"]
    assert a.http.delete(f"/v1/claims/{made['id']}").status_code == 204
    assert a.http.delete(f"/v1/claims/{made['id']}").status_code == 404
    assert a.http.patch(f"/v1/claims/{made['id']}", json={"ttl": 600}).status_code == 404
    assert a.get("/claims")["items"] == []


def test_a_claim_lasts_ten_minutes_unless_it_says_otherwise(a: Api) -> None:
    left = datetime.fromisoformat(claim(a, "docs/")["expires"]) - now()
    assert 590 < left.total_seconds() < 610


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"intent": "x"}, "paths"),
        ({"paths": [], "intent": "x"}, "paths"),
        ({"paths": ["docs/"] * 2, "intent": "x"}, "paths[1]"),
        ({"paths": ["docs/../a"], "intent": "x"}, "paths[0]"),
        ({"paths": [f"docs/{i}" for i in range(51)], "intent": "x"}, "paths"),
        ({"paths": ["docs/"]}, "intent"),
        ({"paths": ["docs/"], "intent": " \n"}, "intent"),
        ({"paths": ["docs/"], "intent": "a\0b"}, "intent"),
        ({"paths": ["docs/"], "intent": "x" * 1001}, "intent"),
        ({"paths": ["docs/"], "intent": "x", "ttl": 0}, "ttl"),
        ({"paths": ["docs/"], "intent": "x", "ttl": 86_401}, "ttl"),
        ({"paths": ["docs/"], "intent": "x", "ttl": "60"}, "ttl"),
        ({"paths": ["docs/"], "intent": "x", "id": UNKNOWN}, "id"),
    ],
)
def test_what_is_no_claim_is_refused_and_named(a: Api, body: Json, field: str) -> None:
    problem = a.post("/claims", body, 422).get_json(force=True)
    assert [error["field"] for error in problem["errors"]] == [field]
    assert a.get("/claims")["items"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"path": "a", "principal": "agent:a"}, "principal"),
        ({"path": "/", "principal": "agent:a"}, "principal"),
        ({"path": "a//b"}, "path"),
        ({"path": "//"}, "path"),
        ({"path": ""}, "path"),
        ({"cursor": "AAAA"}, "cursor"),
        ({"slice": "docs"}, "slice"),
    ],
)
def test_what_is_no_list_is_refused(a: Api, query: Json, field: str) -> None:
    assert [error["field"] for error in a.get("/claims", 422, **query)["errors"]] == [field]


def test_ids_that_are_none_are_refused(a: Api) -> None:
    for method, url, status in (("DELETE", "x", 422), ("PATCH", "x", 422), ("DELETE", UNKNOWN, 404)):
        body = {"ttl": 60} if method == "PATCH" else None
        assert a.http.open(f"/v1/claims/{url}", method=method, json=body).status_code == status
    assert a.http.patch(f"/v1/claims/{UNKNOWN}", json={}).status_code == 422, "for how long?"


def test_a_list_is_of_what_is_at_above_and_below_a_path(root: Api, a: Api) -> None:
    everything = claim(root, "/")
    guide, both = claim(a, "docs/guide/"), claim(a, "docs/z/", "docs/guide/one.md", "docs/guide/")
    other = claim(root, "src/")
    assert list(walk(root, "/claims", path="docs/guide/one.md")) == [everything, guide, both]
    assert list(walk(root, "/claims", path="docs/")) == list(walk(root, "/claims", path="docs")) == [
        everything, guide, both,
    ]  # fmt: skip
    assert list(walk(root, "/claims", path="docs/z/deep")) == [everything, both]
    assert list(walk(root, "/claims")) == list(walk(root, "/claims", path="/")) == [everything, guide, both, other]
    assert list(walk(root, "/claims", principal="agent:a")) == [guide, both]
    assert list(walk(root, "/claims", principal="agent:b")) == []
    cursor = root.get("/claims", limit=1)["next"]
    assert root.get("/claims", 422, limit=1, cursor=cursor, path="docs")["errors"][0]["field"] == "cursor"


def test_writers_of_all_the_paths_make_claims_and_readers_of_all_of_them_know(root: Api, a: Api, b: Api) -> None:
    eyes = principal(root, "agent:eyes")
    refused = claim(a, "docs/", "src/", status=403)
    assert (refused["path"], refused["role"]) == ("src/", "writer")
    assert claim(eyes, "docs/", status=403)["path"] == "docs/"
    assert claim(a, "/", status=403)["path"] == "/"
    docs, wide = claim(a, "docs/"), claim(b, "docs/", "src/")
    assert eyes.get("/claims")["items"] == [docs], "who may not read src/ learns nothing of a claim on it"
    assert eyes.get("/claims", path="src")["items"] == []
    assert eyes.get("/claims", principal="agent:b")["items"] == []
    assert b.get("/claims")["items"] == [docs, wide]
    assert eyes.http.delete(f"/v1/claims/{wide['id']}").status_code == 404
    assert eyes.http.delete(f"/v1/claims/{docs['id']}").status_code == 403
    assert b.http.delete(f"/v1/claims/{docs['id']}").status_code == 403, "it is another's"
    assert b.http.patch(f"/v1/claims/{docs['id']}", json={"ttl": 60}).status_code == 403
    assert principal(root, "agent:top").http.delete(f"/v1/claims/{docs['id']}").status_code == 204
    small = principal(root, "agent:b", role="reader")
    assert small.http.delete(f"/v1/claims/{wide['id']}").status_code == 403, "its token may only read"


def test_a_page_goes_on_behind_no_path_that_is_hidden(root: Api, a: Api, b: Api) -> None:
    secret = [claim(b, f"src/plan-{number}") for number in range(3)]
    claim(b, "docs/seen", "src/unseen")
    mine = claim(a, "docs/mine", "docs/other")
    for query in ({}, {"path": "docs"}, {"path": "src/plan-1"}):
        following, seen = "", list[Json]()
        while following is not None:
            page = a.get("/claims", limit=1, **query, **({"cursor": following} if following else {}))
            seen, following = seen + page["items"], page["next"]
            if following:
                data = b64decode(following + "=" * (-len(following) % 4), altchars=b"-_")
                assert b64decode(json.loads(data[9:])[0]).startswith(b"docs/")
        assert seen == ([] if query.get("path") == "src/plan-1" else [mine])
    limited = principal(root, "agent:all", paths=["src/plan-0", "src/plan-1"])
    assert list(walk(limited, "/claims")) == secret[:2]


def test_claims_are_bounded(root: Api, a: Api) -> None:
    for i in range(20):
        claim(a, f"docs/{i}")
    answer = a.post("/claims", {"paths": ["docs/x"], "intent": "x"}, 429)
    assert answer.headers["Retry-After"] and "too much is waiting" in answer.get_json(force=True)["detail"]
    for i in range(20):
        claim(root, f"docs/{i}")
    told = root.post("/claims", {"paths": ["docs/x"], "intent": "x"}, 429).get_json(force=True)
    assert "max_claims_per_principal" in told["detail"]


def test_who_changes_a_claimed_path_is_told_and_not_hindered(root: Api, a: Api, b: Api) -> None:
    assert "claims" not in put(b, "docs", "docs/x")
    mine, theirs, elsewhere = claim(b, "docs/"), claim(a, "docs/guide/", "docs/"), claim(a, "docs/other.md")
    answer = put(b, "docs", "docs/guide/one.md", "docs/two.md")
    assert answer["status"] == "queued"
    assert answer["claims"] == [theirs | {"paths": ["docs/", "docs/guide/"]}]
    assert [each["id"] for each in put(a, "docs", "docs/x")["claims"]] == [mine["id"]]
    assert [each["id"] for each in put(root, "all", "docs/other.md")["claims"]] == [
        mine["id"], theirs["id"], elsewhere["id"],
    ]  # fmt: skip
    assert "claims" not in put(root, "all", "top.md") and "claims" not in put(b, "src", "src/x")
    root.world.work()
    assert b.get(f"/changesets/{answer['id']}")["status"] == "landed"


def test_a_hidden_claim_is_not_told_to_who_submits(root: Api, a: Api, b: Api) -> None:
    claim(b, "docs/", "src/"), claim(root, "/")
    assert "claims" not in put(a, "docs", "docs/x")
    assert a.get("/paths/docs/x")["claims"] == []
    assert len(put(root, "all", "docs/y")["claims"]) == 1
    fresh(root)


def test_in_bulk_the_claims_of_what_is_accepted_stand_beside_the_outcomes(root: Api, a: Api, b: Api) -> None:
    theirs = claim(a, "docs/guide/")
    base = b.get("/head")["tip"]["commit"]

    def item(path: str, where: str = "docs") -> Json:
        change = {"op": "put", "path": path, "content": "1"}
        return {"slice": where, "base": base, "message": "m", "changes": [change]}

    answer = b.post("/changesets", {"changesets": [item("docs/guide/a"), item("docs/b")]}, 202).get_json(force=True)
    assert answer["claims"] == [theirs] and len(answer["outcomes"]) == 2
    refused = [item("docs/guide/a", "src"), item("docs/b")]
    assert "claims" not in b.post("/changesets", {"changesets": refused}, 202).get_json(force=True)


def test_where_there_are_no_tokens_everybody_is_told_of_all_claims(api: Api) -> None:
    made = claim(api, "docs/")
    assert made["principal"] == "unknown"
    assert api.put("docs/x", "1")["claims"] == [made], "nobody is known from anybody else"


def test_an_accepted_submission_is_answered_though_claims_cannot_be_read(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim(api, "docs/")

    def away(*_: object) -> None:
        raise RedisAway("away")

    monkeypatch.setattr(AdvisoryClaims, "over", away)
    answer = api.put("docs/x", "1")
    assert answer["status"] == "queued" and "claims" not in answer


def test_a_path_shows_the_claims_on_it(root: Api, a: Api) -> None:
    theirs = claim(a, "docs/guide/")
    assert root.get("/paths/docs/guide/a")["claims"] == [theirs] == root.get("/paths/docs/guide")["claims"]
    assert root.get("/paths/docs/b")["claims"] == []
    assert root.get("/paths/docs/guide/a")["complete"]


def test_one_look_up_more_is_made_where_there_are_claims_and_none_where_there_are_none(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, over = Counter[str](), AdvisoryClaims.over

    def counted(self: AdvisoryClaims, *args: Any) -> Any:
        asked["over"] += 1
        return over(self, *args)

    monkeypatch.setattr(AdvisoryClaims, "over", counted)
    api.put("docs/x", "1")
    assert not asked
    made = claim(api, "src/")
    api.put("docs/x", "2")
    assert asked["over"] == 1
    api.http.delete(f"/v1/claims/{made['id']}")
    api.put("docs/x", "3")
    assert asked["over"] == 1


def test_a_claim_that_is_over_is_told_to_nobody(api: Api) -> None:
    over = api.world.repo.advisory_claims.make("agent:a", [b"docs/"], "x", 0.001)
    await_true(lambda: api.get("/claims")["items"] == [])
    assert "claims" not in api.put("docs/x", "1") and api.get("/paths/docs/x")["claims"] == []
    assert api.http.delete(f"/v1/claims/{over.id}").status_code == 404
    run_upkeep(api.world.repo)
    assert api.world.repo.queue.admit().advisory_claims == 0


def events(answer: TestResponse) -> Iterator[Json]:
    """Yield the blocks of a stream, as the names of their lines with the values."""
    text = ""
    for piece in answer.response:
        text += piece.decode() if isinstance(piece, bytes) else str(piece)
        *blocks, text = text.split("\n\n")
        for block in blocks:
            yield dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)


def told(answer: TestResponse, count: int) -> list[tuple[str, Json]]:
    """Return the next events of a stream that are of claims; none of them has an id."""
    found = (block for block in events(answer) if block.get("event", "").startswith("claim"))
    blocks = list(islice(found, count))
    assert all("id" not in block for block in blocks)
    return [(block["event"], json.loads(block["data"])) for block in blocks]


def test_claims_are_told_in_event_streams_of_every_process_without_an_id(root: Api, a: Api, b: Api) -> None:
    other = root.another()
    reader = other.as_(None)
    reader.http.environ_base.update(a.http.environ_base)
    streams = [api.http.get("/v1/events", buffered=False) for api in (a, reader)]
    begun = [next(iter(stream.response)) for stream in streams]
    assert all(b"id: " in (piece if isinstance(piece, bytes) else piece.encode()) for piece in begun)
    waiting = [api.http.application.extensions["sluice"].streams for api in (root, other)]
    channel = root.world.repo.advisory_claims.channel
    await_true(lambda: root.world.repo.redis.pubsub_numsub(channel)[0][1] >= len(waiting))
    claim(b, "docs/", "src/")  # hidden from who reads docs/ alone
    made = claim(b, "docs/guide/")
    a.http.delete(f"/v1/claims/{made['id']}")  # it is another's
    b.http.delete(f"/v1/claims/{made['id']}")
    over = root.world.repo.advisory_claims.make("agent:b", [b"docs/"], "short", 0.001)
    await_true(lambda: root.world.repo.advisory_claims.end_expired() == 1)
    for stream in streams:
        heard = told(stream, 4)
        assert heard[:2] == [("claimed", made), ("claim-ended", made)]
        assert [(name, data["id"]) for name, data in heard[2:]] == [("claimed", over.id), ("claim-ended", over.id)]
        stream.close()


def test_a_slices_stream_has_the_claims_on_its_paths(root: Api, b: Api) -> None:
    stream = root.http.get("/v1/events?slice=docs", buffered=False)
    next(iter(stream.response))
    channel = root.world.repo.advisory_claims.channel
    await_true(lambda: root.world.repo.redis.pubsub_numsub(channel)[0][1] >= 1)
    claim(b, "src/")
    above, below = claim(root, "/"), claim(b, "docs/guide/a")
    assert told(stream, 2) == [("claimed", above), ("claimed", below)]
    stream.close()
