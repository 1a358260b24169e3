"""Pages of lists: they go on where they began, whatever lands meanwhile, and none is larger than it may be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from app.protocol import cursors
from storage.base.ids import ObjectId
from storage.base.settings import Settings
from storage.git.objects import Tree
from storage.lookup.object_store import ObjectMissing, ObjectStore
from storage.operations import history
from tests.support.api import Api, Json
from tests.support.collisions import collide, put

ROOM = 12_000


@pytest.fixture
def small(settings: Settings) -> Iterator[Api]:
    """An API whose pages have few bytes."""
    made = Api(replace(settings, max_page_bytes=ROOM))
    yield made
    made.close()


def land(api: Api, *changes: Json) -> str:
    api.submit(base=api.tip, changes=list(changes))
    api.world.work()
    return api.tip


def pages(api: Api, at: str, **query: str) -> list[tuple[int, list[Json]]]:
    """Return the size of each page of a list, and its items."""
    found, cursor = [], None
    while True:
        answer = api.http.get("/v1" + at, query_string=query | ({"cursor": cursor} if cursor else {}))
        assert answer.status_code == 200, answer.data
        page = answer.get_json()
        found.append((len(answer.data), page["items"]))
        cursor = page["next"]
        if cursor is None:
            return found


def test_pages_of_a_tree_are_of_the_commit_that_the_first_one_was_of(api: Api) -> None:
    land(api, *[put(f"f{i}", "1\n") for i in range(4)])
    first = api.get("/slices/all/tree", limit=1)
    found, cursor = first["items"], first["next"]
    for i in range(3):
        land(
            api,
            put(f"f{i}", "2\n"),
            put(f"new{i}", "1\n"),
            {"op": "delete", "path": "f3"} if not i else put("x", f"{i}"),
        )
        page = api.get("/slices/all/tree", limit=1, cursor=cursor)
        assert (page["commit"], page["tree"]) == (first["commit"], first["tree"])
        found, cursor = found + page["items"], page["next"]
    assert cursor is None
    assert [each["path"] for each in found] == ["f0", "f1", "f2", "f3"]
    assert found == api.get("/slices/all/tree", commit=first["commit"])["items"]


def test_a_cursor_of_a_tree_goes_on_beside_its_own_commit_and_no_other(api: Api) -> None:
    old = land(api, put("a", "1\n"), put("b", "1\n"))
    new = land(api, put("a", "2\n"))
    first = api.get("/slices/all/tree", limit=1, commit=old)
    [b] = api.get("/slices/all/tree", cursor=first["next"])["items"]
    assert api.get("/slices/all/tree", cursor=first["next"], commit=old)["items"] == [b]
    assert "another list" in api.get("/slices/all/tree", 422, cursor=first["next"], commit=new)["detail"]
    assert "another list" in api.get("/slices/all/tree", 422, cursor=first["next"], prefix="a")["detail"]


def test_pages_of_a_tree_are_of_the_slice_as_it_was_at_the_first_one(api: Api) -> None:
    api.post("/slices", {"name": "web", "paths": ["a/", "b/", "c/"]}, 201)
    land(api, *[put(f"{name}/f", "1\n") for name in "abcd"])
    whole = api.get("/slices/web/tree")
    page = api.get("/slices/web/tree", limit=1)
    found = page["items"]
    for paths in (["a/"], ["d/"]):
        api.http.patch("/v1/slices/web", json={"paths": paths})
        page = api.get("/slices/web/tree", limit=1, cursor=page["next"])
        assert page["tree"] == whole["tree"]
        found += page["items"]
    assert found == whole["items"] and page["next"] is None
    assert [each["path"] for each in api.get("/slices/web/tree")["items"]] == ["d/f"]


def test_where_it_is_not_known_any_more_how_the_slice_was_that_is_said(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.post("/slices", {"name": "web", "paths": ["a/", "b/"]}, 201)
    land(api, put("a/f", "1\n"), put("b/f", "1\n"))
    cursor = api.get("/slices/web/tree", limit=1)["next"]
    for i in range(4):
        land(api, put("a/f", f"{i}"))
    api.http.patch("/v1/slices/web", json={"paths": ["a/"]})
    monkeypatch.setattr(history, "MAX_READ", 4)
    refused = api.get("/slices/web/tree", 422, cursor=cursor)
    assert refused["errors"][0]["field"] == "cursor" and "begin again" in refused["detail"]


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_page_is_read_again_where_a_tree_was_not_found_at_first(
    api: Api, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    land(api, *[put(f"d{i}/f", "1\n") for i in range(3)])
    whole = api.get("/slices/all/tree")["items"]
    real, read = ObjectStore.tree, []

    def tree(store: ObjectStore, oid: ObjectId) -> Tree:
        read.append(oid)
        if len(read) == failing:
            raise ObjectMissing(oid.hex())
        return real(store, oid)

    monkeypatch.setattr(ObjectStore, "tree", tree)
    assert api.get("/slices/all/tree")["items"] == whole
    assert len(read) > failing


def test_a_cursor_of_an_earlier_version_is_refused_with_what_to_do(api: Api) -> None:
    land(api, put("a", "1\n"), put("b", "1\n"))
    commit = api.get("/head")["main"]["commit"]
    filters = {"slice": api.world.all.id, "version": 1, "commit": commit, "prefix": ""}
    refused = api.get("/slices/all/tree", 422, cursor=cursors.encode("tree", filters, (b"a",)))
    assert "begin again" in refused["errors"][0]["message"]


@pytest.mark.parametrize("position", [(b"a", "0" * 40, 1, 1), (b"a", "x", 1, 1), (b"a", "A" * 40, 1, 1)])
def test_a_cursor_of_no_commit_is_refused(api: Api, position: cursors.Position) -> None:
    filters = {"slice": api.world.all.id, "prefix": ""}
    refused = api.get("/slices/all/tree", 422, cursor=cursors.encode("tree", filters, position))
    assert refused["errors"][0]["field"] in ("cursor", "commit")


def long_paths(api: Api) -> tuple[str, dict[str, str]]:
    for i in range(6):
        paths = [f"{i}/{'d' * 200}{j}/" for j in range(40)]
        api.post("/slices", {"name": f"long{i}", "paths": paths}, 201)
    return "/slices", {}


def long_messages(api: Api) -> tuple[str, dict[str, str]]:
    for i in range(6):
        api.submit(base=api.tip, message="m" * 9000, changes=[put(f"f{i}", "1\n")])
    api.world.work()
    return "/slices/all/commits", {}


def deep_files(api: Api) -> tuple[str, dict[str, str]]:
    land(api, *[put(f"{'/'.join(['d' * 200] * 10)}/{i:02}", "1\n") for i in range(20)])
    return "/slices/all/tree", {}


def large_diffs(api: Api) -> tuple[str, dict[str, str]]:
    made = api.submit(base=api.tip, changes=[put(f"f{i}", "line\n" * 1000) for i in range(6)])
    return f"/changesets/{made['id']}/diff", {}


def collisions(api: Api) -> str:
    names = [f"{'d' * 200}/{i:02}" for i in range(30)]
    return collide(api, *[[put(name, f"{side}\n" * 100) for name in names] for side in ("base", "head", "late")])


def large_conflicts(api: Api) -> tuple[str, dict[str, str]]:
    return f"/changesets/{collisions(api)}/conflicts", {}


def open_conflicts(api: Api) -> tuple[str, dict[str, str]]:
    for _ in range(4):
        collisions(api)
    return "/conflicts", {}


def conflicted(api: Api) -> tuple[str, dict[str, str]]:
    return "/slices/all/changesets", open_conflicts(api)[1] | {"status": "conflicted"}


def held(api: Api) -> tuple[str, dict[str, str]]:
    for i in range(300):
        api.submit(base=api.tip, hold=True, changes=[put(f"f{i}", "1")])
    return "/slices/all/changesets", {"status": "held", "limit": "1000"}


def global_commits(api: Api) -> tuple[str, dict[str, str]]:
    for i in range(80):
        land(api, put("f", f"{i}"))
    return "/commits", {}


def merged(api: Api) -> tuple[str, dict[str, str]]:
    for i in range(150):
        api.submit(base=api.tip, changes=[put(f"f{i}", "1")])
    api.world.work()
    return f"/commits/{api.get('/head')['main']['commit']}/changesets", {"limit": "1000"}


@pytest.mark.parametrize(
    "fill",
    [long_paths, long_messages, deep_files, large_diffs, large_conflicts, open_conflicts, conflicted, held,
     global_commits, merged],
)  # fmt: skip
def test_a_page_of_any_list_ends_with_its_bytes(small: Api, fill: Any) -> None:
    at, query = fill(small)
    found = pages(small, at, **query)
    assert len(found) > 1
    for size, items in found:
        assert items and (len(items) == 1 or size <= ROOM + cursors.MAX_CHARACTERS + 200)
    small.http.application.extensions["sluice"].repo.settings = replace(
        small.world.repo.settings, max_page_bytes=1 << 30
    )
    [(_, whole)] = pages(small, at, **{"limit": "1000"} | query)
    assert [each for _, items in found for each in items] == whole


def test_a_page_has_one_item_at_least_however_large_it_is(settings: Settings) -> None:
    api = Api(replace(settings, max_page_bytes=1))
    land(api, put("a", "1\n"), put("b", "1\n"), put("c", "1\n"))
    assert [len(items) for _, items in pages(api, "/slices/all/tree")] == [1, 1, 1]
    api.close()
