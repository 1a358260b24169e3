"""What the API does where its input, or what is stored already, is at the edge of what can be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from app.protocol.url_names import WORDS
from storage.base.settings import Settings
from storage.git.objects import Ident
from storage.lookup.object_store import ObjectStore
from tasks.upkeep import run as run_upkeep
from tests.support.api import Api, Json, walk
from tests.support.world import item

pytestmark = pytest.mark.usefixtures("unsent")


def test_a_tree_goes_on_behind_a_path_of_control_characters(api: Api) -> None:
    path = "/".join(["\x01" * 255] * 6)
    api.put(path, "1")
    api.put("z", "1")
    api.world.work()
    assert [each["path"] for each in walk(api, "/slices/all/tree")] == [path, "z"]


@pytest.mark.parametrize(
    ("time", "zone", "shown"),
    [
        (253402304399, -60, "9999-12-31T23:59:59-01:00"),
        (253402300799, 60, "9999-12-31T23:59:59+01:00"),
        (0, -60, "1969-12-31T23:00:00-01:00"),
        (1 << 62, 0, "9999-12-31T23:59:59+00:00"),
        (0, 5999, "1970-01-01T00:00:00+00:00"),
    ],
)
def test_a_commit_of_a_time_without_a_date_is_listed_all_the_same(api: Api, time: int, zone: int, shown: str) -> None:
    made = structs.replace(
        item(api.world.all, {"f": b"1"}, api.world.tip), author=Ident("Ada", "ada@example.org", time, zone)
    )
    api.world.submit(made)
    api.world.work()
    [listed] = api.get("/slices/all/commits")["items"]
    assert listed["time"] == shown


def test_while_the_view_may_be_behind_the_log_nothing_is_called_unknown(api: Api) -> None:
    """An older copy of Redis came back: what it does not have may well be in the log."""
    nothing = "ab" * 20
    delete = [{"op": "delete", "path": "f"}]

    def ask(missing: int, refused: int) -> None:
        api.get("/slices/web", missing)
        api.get(f"/commits/{nothing}/changesets", missing)
        api.get("/slices/all/tree", refused, commit=nothing)
        api.submit(missing, where="web", base=api.tip, changes=delete)
        api.submit(refused, base=nothing, changes=delete)
        api.submit(refused, base=api.tip, changes=[{"op": "put", "path": "f", "id": nothing}])

    api.world.repo.redis.delete(api.world.repo.view.prefix + "recovered")
    ask(503, 503)
    assert api.http.get("/v1/slices/web").headers["Retry-After"]
    assert api.get("/slices/all")["name"] == "all", "what is there is shown"
    run_upkeep(api.world.repo)
    ask(404, 422)


def test_contents_put_by_id_are_bounded_as_a_body_is(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api(replace(settings, max_body_bytes=3500))
    api.world.put({f"big/{i}": b"%d" % i * 1000 for i in range(4)})
    api.world.work()
    stored = api.get("/slices/all/tree")["items"]
    reads: list[bytes] = []
    real = ObjectStore.read
    monkeypatch.setattr(ObjectStore, "read", lambda self, oid: reads.append(oid) or real(self, oid))

    def changes(count: int) -> list[Json]:
        return [{"op": "put", "path": f"copy/{i}", "id": each["id"]} for i, each in enumerate(stored[:count])]

    refused = api.submit(422, base=api.tip, changes=changes(4))
    assert refused["errors"][0]["field"] == "changes[3].id" and "max_body_bytes" in refused["detail"]
    assert bytes.fromhex(stored[3]["id"]) not in reads, "it is refused before it is read"
    api.submit(base=api.tip, changes=changes(3))
    items = [{"slice": "all", "base": api.tip, "message": "m", "changes": changes(2)} for _ in range(2)]
    outcomes = api.post("/changesets", {"changesets": items}, 202).get_json()["outcomes"]
    assert outcomes[1]["problem"]["errors"][0]["field"] == "changesets[1].changes[1].id", "all of a request counts"


def test_a_key_is_for_what_its_base_by_position_says_not_for_the_number(api: Api) -> None:
    base = api.tip

    def bulk(path: str, name: str = "x") -> list[Any]:
        items = [
            {"slice": "all", "base": base, "message": "m", "changes": [{"op": "put", "path": path, "content": path}]},
            {"slice": "all", "base": 0, "message": "m", "changes": [{"op": "put", "path": name, "content": name}]},
            {"slice": "all", "base": 1, "message": "m", "idempotency_key": "k", "changes": [
                {"op": "put", "path": "g", "content": "g"}]},
        ]  # fmt: skip
        outcomes = api.post("/changesets", {"changesets": items}, 202).get_json()["outcomes"]
        return [each["changeset"]["id"] if each["status"] == 202 else each["status"] for each in outcomes]

    first = bulk("f")
    assert bulk("f")[2] == first[2], "the same again"
    assert bulk("h")[2] == 422, "another item below the one below"
    assert bulk("f", "y")[2] == 422


def test_a_key_at_the_end_of_a_long_stack(api: Api) -> None:
    items = [{"slice": "all", "base": i - 1 if i else api.tip, "message": str(i), "changes": [
        {"op": "put", "path": "f", "content": str(i)}]} for i in range(1000)]  # fmt: skip
    items[-1]["idempotency_key"] = "k"
    made = [api.post("/changesets", {"changesets": items}, 202).get_json()["outcomes"][-1] for _ in range(2)]
    assert made[0]["changeset"]["id"] == made[1]["changeset"]["id"]


def test_a_path_may_have_the_words_that_follow_a_slices_name(api: Api) -> None:
    files = [f"{above}{word}" for word in WORDS for above in ("", "a/b/", "src/files/")]
    api.world.put({path: path.encode() for path in files})
    api.post("/slices", {"name": "team/web", "paths": ["/"]}, 201)
    api.world.work()
    for name in ("all", "team/web", "team%2Fweb", api.world.all.id):
        for path in files:
            answer = api.http.get(f"/v1/slices/{name}/files/{path}")
            assert (answer.status_code, answer.data) == (200, path.encode())
    for name in ("team/web", "team%2Fweb"):
        assert len(api.get(f"/slices/{name}/tree")["items"]) == len(files)
        assert api.get(f"/slices/{name}/commits")["items"] == []
        assert api.get(f"/slices/{name}/changesets", status="queued")["items"] == []
    for word in WORDS:
        for name in (word, f"web/{word}", f"{word}/web"):
            refused = api.post("/slices", {"name": name, "paths": ["x"]}, 422).get_json(force=True)
            assert refused["errors"][0]["field"] == "name" and f"'{word}'" in refused["detail"]


def test_every_word_behind_a_slices_name_is_one_that_no_name_has(api: Api) -> None:
    rules = [rule.rule for rule in api.http.application.url_map.iter_rules()]
    behind = {rule.split("/")[4] for rule in rules if rule.startswith("/v1/slices/") and rule.count("/") > 3}
    assert behind == set(WORDS)
