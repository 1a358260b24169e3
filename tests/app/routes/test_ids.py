"""Ids that a request names: each is of the kind that it has to be, or is refused, or counts as unknown."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from msgspec import structs

from app.admin.deep.verification import deep
from app.intake.checks import MAX_JUDGED_BYTES
from storage.backends.bucket import Bucket
from storage.backends.deadline import Spent
from storage.base.ids import ObjectId
from storage.commit.batch import commit_batch
from storage.git.packs import HEAD_BYTES
from storage.git.threeway import Strategy
from storage.lookup import object_kinds as storage_kinds
from storage.lookup.object_store import ObjectStore
from tests.support.api import Api, Json
from tests.support.collisions import put
from tests.support.compaction import aged_world, compacted
from tests.support.world import item

UNKNOWN = "9" * 40
KINDS = ["commit", "tree", "subtree", "blob", "unknown"]


@pytest.fixture
def ids(api: Api) -> dict[str, str]:
    """The ids of a stored object of each kind, and one of none."""
    api.submit(base=api.tip, changes=[put("d/f", "1\n"), put("g", "2\n")])
    api.world.work()
    head = api.get("/head")["main"]
    tree = api.world.repo.objects.tree(ObjectId(bytes.fromhex(head["tree"])))
    subtree, blob = tree.get(b"d"), tree.get(b"g")
    assert subtree and blob
    return {
        "commit": head["commit"], "tree": head["tree"], "subtree": subtree.oid.hex(), "blob": blob.oid.hex(),
        "unknown": UNKNOWN,
    }  # fmt: skip


def final(api: Api, made: str) -> Json:
    """Return what became of a changeset after one batch and its merge, and have every look at it answered."""
    api.world.work()
    for what in ("diff", "conflicts"):
        api.get(f"/changesets/{made}/{what}")
    for each in api.get(f"/changesets/{made}").get("conflicts", []):
        for side in ("base", "head", "submitted"):
            answer = api.http.get(f"/v1/changesets/{made}/conflicts/{side}/{each['path']}")
            assert answer.status_code in (200, 404)
    return api.get(f"/changesets/{made}")


OPS: dict[str, Callable[[str], Json]] = {
    "put": lambda path: put(path, "3\n"),
    "delete": lambda path: {"op": "delete", "path": path},
    "mode": lambda path: {"op": "mode", "path": path, "mode": "100755"},
    "link": lambda path: put(path, "to", mode="120000"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_version_seen_is_no_commit_and_no_tree(api: Api, ids: dict[str, str], kind: str) -> None:
    for op, path in product(OPS, ["g", "none", "d/new"]):
        body = {"message": "m", "changes": [put("fine", "1", base=None), OPS[op](path) | {"base": ids[kind]}]}
        if kind in ("blob", "unknown"):
            would = api.post("/slices/all/check", body, 200).get_json()["would"]
            status = {"commit": "landed", "conflict": "conflicted", "reject": "rejected"}[would]
            assert final(api, api.submit(changes=body["changes"])["id"])["status"] == status
            continue
        for at in ("check", "changesets"):
            [error] = api.post(f"/slices/all/{at}", body, 422).get_json(force=True)["errors"]
            assert error["field"] == "changes[1].base" and ids[kind] in error["message"]
            assert kind.removeprefix("sub") in error["message"]


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_bulk_the_item_with_an_id_of_the_wrong_kind_is_refused_alone(
    api: Api, ids: dict[str, str], kind: str
) -> None:
    fine = {"slice": "all", "message": "m", "changes": [put("x", "1", base=None)]}
    wrong = {"slice": "all", "message": "m", "changes": [put("y", "1", base=ids[kind])]}
    outcomes = api.post("/changesets", {"changesets": [fine, wrong]}, 202).get_json()["outcomes"]
    assert outcomes[0]["status"] == 202
    if kind in ("blob", "unknown"):
        assert outcomes[1]["status"] == 202
    else:
        assert outcomes[1]["problem"]["errors"][0]["field"] == "changesets[1].changes[0].base"


@pytest.mark.parametrize("kind", KINDS)
def test_an_accepted_version_of_the_wrong_kind_is_decided_at_once(api: Api, ids: dict[str, str], kind: str) -> None:
    """As one that is not stored here: no batch fails, and nobody waits."""
    made = [
        accepted_before(api, op, path, ids[kind], strategy)
        for op, path, strategy in product(OPS, ["g", "none", "d", "d/f"], Strategy)
    ]
    made.append(api.put("neighbour", "1")["id"])
    assert commit_batch(api.world.repo).changesets == len(made), "in one batch"
    for each in made:
        found = final(api, each)
        assert found["status"] in ("landed", "conflicted", "rejected") and found.get("reason") != "poison"
    assert found["status"] == "landed"
    assert api.world.repo.redis.zcard(api.world.repo.view.prefix + "suspects") == 0
    assert deep(api.world.repo.settings).difference == "", "and Git makes the same of it"


def accepted_before(api: Api, op: str, path: str, base: str, strategy: Strategy) -> str:
    """Have a changeset in the queue as one without any check of its base would be, and return its id."""
    change = OPS[op](path)
    mode = 0 if op == "delete" else int(change.get("mode", "100644"), 8)
    made = item(api.world.all, {path: None if op == "delete" else b"3\n"}, bases={path: bytes.fromhex(base)})
    given = structs.replace(made.submission.changes[0], op="put" if op == "link" else op, mode=mode, strategy=strategy)
    if op == "mode":
        made, given = structs.replace(made, oids=(None,), blobs={}), structs.replace(given, content=None)
    return api.world.submit(structs.replace(made, submission=structs.replace(made.submission, changes=(given,))))[0]


def test_a_submodule_may_point_to_a_stored_object_and_be_a_seen_version(api: Api, ids: dict[str, str]) -> None:
    for kind in KINDS:
        api.submit(base=api.tip, changes=[{"op": "put", "path": f"sub-{kind}", "id": ids[kind], "mode": "160000"}])
    api.world.work()
    changes = []
    for kind in KINDS:
        changes.append({"op": "delete", "path": f"sub-{kind}", "base": ids[kind]})
    made = api.submit(changes=changes)["id"]
    assert final(api, made)["status"] == "landed"
    moved = {"op": "put", "path": "sub", "mode": "160000", "id": UNKNOWN, "base": ids["commit"]}
    assert final(api, api.submit(changes=[moved])["id"])["status"] == "conflicted"
    report = deep(api.world.repo.settings)
    assert report.difference == "" and report.unchecked > 0, "Git's import takes no tree for a submodule's commit"


@pytest.mark.parametrize("kind", KINDS)
def test_every_other_id_is_of_its_kind_too(api: Api, ids: dict[str, str], kind: str) -> None:
    oid = ids[kind]
    by_id = {"op": "put", "path": "h", "id": oid}
    answer = api.http.post("/v1/slices/all/changesets", json={"base": api.tip, "message": "m", "changes": [by_id]})
    assert answer.status_code == (202 if kind == "blob" else 422)
    if kind != "blob":
        assert answer.get_json(force=True)["errors"][0]["field"] == "changes[0].id"
    is_commit = kind == "commit"
    body = {"base": oid, "message": "m", "changes": [put("i", "1")]}
    answer = api.http.post("/v1/slices/all/changesets", json=body)
    assert answer.status_code == (202 if is_commit else 422)
    for at in ("/slices/all/tree", "/slices/all/files/g"):
        answer = api.http.get("/v1" + at, query_string={"commit": oid})
        assert answer.status_code == (200 if is_commit else 422)
        if not is_commit:
            assert answer.get_json(force=True)["errors"][0]["field"] == "commit"
    api.get(f"/commits/{oid}/changesets", 200 if is_commit else 404)
    api.world.work()


@pytest.mark.parametrize("oid", ["9" * 39, "9" * 41, "A" * 40, "0" * 40, "", "g" * 40, " " + "9" * 39, "９" * 40])
def test_what_is_no_id_is_refused_wherever_one_may_stand(api: Api, oid: str) -> None:
    for changes in (
        [put("a", "1", base=oid)],
        [{"op": "put", "path": "a", "id": oid, "base": None}],
        [{"op": "put", "path": "a", "id": oid, "base": None, "mode": "160000"}],
    ):
        api.submit(422, changes=changes)
    api.submit(422, base=oid, changes=[put("a", "1")])
    for at in ("/slices/all/tree", "/slices/all/files/g"):
        assert api.http.get("/v1" + at, query_string={"commit": oid}).status_code == 422


LARGE = 3 << 20


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of all that is read of the bucket."""
    lengths: list[int] = []
    get_range, get = Bucket.get_range, Bucket.get

    def ranged(self: Bucket, name: str, offset: int, length: int) -> bytes:
        data = get_range(self, name, offset, length)
        lengths.append(len(data))
        return data

    def whole(self: Bucket, name: str) -> bytes:
        data = get(self, name)
        lengths.append(len(data))
        return data

    monkeypatch.setattr(Bucket, "get_range", ranged)
    monkeypatch.setattr(Bucket, "get", whole)
    return lengths


def test_a_put_by_id_reads_and_stores_no_content(api: Api, read: list[int]) -> None:
    noise = "".join(f"{i * 2654435761 % (1 << 32):08x}" for i in range(LARGE // 8))
    api.submit(base=api.tip, changes=[put("large", noise)])
    api.world.work()
    oid = api.get("/slices/all/tree")["items"][0]["id"]
    fresh = api.another()
    kept: list[int] = []
    bucket = fresh.http.application.extensions["sluice"].repo.bucket
    put_verified = bucket.put_verified
    bucket.put_verified = lambda name, data: kept.append(len(data)) or put_verified(name, data)
    read.clear()
    made = fresh.submit(base=api.tip, changes=[{"op": "put", "path": f"copy{i}", "id": oid} for i in range(3)])
    assert sum(read) < 10_000 and sum(kept) < 10_000
    fresh.world.work()
    assert fresh.get(f"/changesets/{made['id']}")["status"] == "landed"
    assert sum(read) < 100_000, "nor does a worker read it"
    assert {path: len(text) for path, text in fresh.world.files().items()} == dict.fromkeys(
        ["copy0", "copy1", "copy2", "large"], len(noise)
    )
    fresh.close()


def test_a_rebase_and_a_resolution_copy_no_content_that_was_put_by_id(api: Api, read: list[int]) -> None:
    noise = "".join(f"{i * 2654435761 % (1 << 32):08x}" for i in range(LARGE // 8))
    api.submit(base=api.tip, changes=[put("large", noise), put("f", "1\n")])
    api.world.work()
    [oid] = [each["id"] for each in api.get("/slices/all/tree")["items"] if each["path"] == "large"]
    by_id = [{"op": "put", "path": path, "id": oid} for path in ("copy", "f")]
    held = api.submit(base=api.tip, hold=True, changes=by_id[:1])["id"]
    api.submit(base=api.tip, changes=by_id)
    base = api.tip
    api.world.work()
    again = api.submit(base=base, changes=[by_id[0] | {"path": "copy2"}, put("f", "2\n")])["id"]
    api.world.work()
    fresh = api.another()
    read.clear()
    rebased = fresh.post(f"/changesets/{held}/rebase", None, 202).get_json()["id"]
    resolution = {"paths": {"f": {"take": "theirs"}}}
    resolved = fresh.post(f"/changesets/{again}/resolve", resolution, 202).get_json()["id"]
    assert sum(read) < 100_000
    fresh.post(f"/changesets/{rebased}/release", None, 200)
    fresh.world.work()
    assert [fresh.get(f"/changesets/{each}")["status"] for each in (rebased, resolved)] == ["landed", "landed"]
    assert {path: len(text) for path, text in fresh.world.files().items()} == {
        "copy": len(noise), "copy2": len(noise), "f": 2, "large": len(noise),
    }  # fmt: skip
    fresh.close()


def test_what_is_in_a_compacted_pack_is_told_by_its_first_bytes(api: Api, ids: dict[str, str], read: list[int]) -> None:
    fresh = api.another()
    read.clear()
    kinds = fresh.world.repo.kinds.of(ObjectId(bytes.fromhex(each)) for each in ids.values())
    assert sorted(kind.kind.name for kind in kinds.values()) == ["BLOB", "COMMIT", "TREE", "TREE"]
    assert len(read) <= 2 and sum(read) < 100_000, "neighbours are read together, and no content"
    read.clear()
    assert fresh.world.repo.kinds.of(kinds) == kinds and not read, "an object's kind is remembered"
    fresh.close()


@pytest.mark.parametrize(
    ("path", "mode"), [("link", "120000"), (".gitmodules", "100644"), (".gitattributes", "100644")]
)
def test_content_by_id_is_read_only_where_it_is_judged_and_if_small(
    api: Api, read: list[int], path: str, mode: str
) -> None:
    contents = {
        "good": "x = y\n" if path != "link" else "to",
        "bad": "\0" + "a" * 3000,
        "large": "x\n" * MAX_JUDGED_BYTES,
    }
    if path == ".gitmodules":
        contents = contents | {"good": "[a]\n", "bad": '[submodule "a"]\nurl = --x\n'}
    api.submit(base=api.tip, changes=[put(name, content) for name, content in contents.items()])
    api.world.work()
    ids = {each["path"]: each["id"] for each in api.get("/slices/all/tree")["items"]}
    for name, status in (("large", 422), ("bad", 422), ("good", 202)):
        fresh = api.another()
        read.clear()
        change = {"op": "put", "path": path, "mode": mode, "id": ids[name]}
        answer = fresh.submit(status, base=api.tip, changes=[change])
        assert sum(read) < 100_000
        if status == 422:
            assert answer["errors"][0]["field"] == "changes[0].id"
        fresh.close()


def test_a_commit_that_is_asked_for_is_not_read_where_it_is_a_large_file(api: Api, read: list[int]) -> None:
    noise = "".join(f"{i * 2654435761 % (1 << 32):08x}" for i in range(LARGE // 8))
    api.submit(base=api.tip, changes=[put("large", noise)])
    api.world.work()
    oid = api.get("/slices/all/tree")["items"][0]["id"]
    fresh = api.another()
    read.clear()
    fresh.get("/slices/all/tree", 422, commit=oid)
    fresh.submit(422, base=oid, changes=[put("a", "1")])
    assert sum(read) < 100_000
    fresh.close()


@pytest.fixture
def compacted_ids(api: Api) -> list[str]:
    """The ids of five contents that stand in no submission's pack any more."""
    api.submit(base=api.tip, changes=[put(f"f{i}", f"{i}\n") for i in range(5)])
    api.world.work()
    ids = [each["id"] for each in api.get("/slices/all/tree")["items"]]
    compacted(aged_world(api.world))
    located = api.world.repo.objects.locate([ObjectId(bytes.fromhex(each)) for each in ids])
    assert all(each and each.pack.startswith("packs/") for each in located)
    return ids


def by_ids(ids: list[str]) -> list[Json]:
    return [{"op": "put", "path": f"copy{i}", "id": oid} for i, oid in enumerate(ids)]


def test_too_many_new_ids_are_503_and_a_repeat_continues_there(
    api: Api, compacted_ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_kinds, "MAX_LOOKUPS", 2)
    fresh = api.another()
    # In a bulk they count together.
    items = [{"slice": "all", "message": "m", "base": api.tip, "changes": [each]} for each in by_ids(compacted_ids)]
    for looked_up in (2, 4):
        answer = fresh.post("/changesets", {"changesets": items}, 503)
        assert answer.headers["Retry-After"] and "repeat the request" in answer.get_json(force=True)["detail"]
        known = fresh.http.application.extensions["sluice"].repo.kinds._known
        assert len(known) == looked_up
    fresh.post("/changesets", {"changesets": items}, 202)
    unknown = fresh.submit(422, base=api.tip, changes=by_ids([*compacted_ids, UNKNOWN]))
    assert [each["field"] for each in unknown["errors"]] == ["changes[5].id"], "unknown ones are refused as ever"
    fresh.close()


def test_what_was_looked_up_before_the_time_limit_is_not_looked_up_again(
    api: Api, compacted_ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh, looked_up = api.another(), list[list[ObjectId]]()
    stored_many = ObjectStore.stored_many

    def slow(store: ObjectStore, located: Any, most: int | None = None) -> dict[ObjectId, bytes]:
        if most == HEAD_BYTES:
            looked_up.append([oid for oid, _ in located])
            if len(looked_up) == 2:
                raise Spent("request_budget")
        return stored_many(store, located, most)

    monkeypatch.setattr(storage_kinds, "_HEADS_FIRST", 2)
    monkeypatch.setattr(ObjectStore, "stored_many", slow)
    fresh.submit(503, base=api.tip, changes=by_ids(compacted_ids))
    fresh.submit(base=api.tip, changes=by_ids(compacted_ids))
    first, failed, *rest = looked_up
    assert (len(first), len(failed)) == (2, 3)
    assert [oid for oids in rest for oid in oids] == failed, "only those that failed were asked for again"
    fresh.close()
