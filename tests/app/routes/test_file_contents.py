"""The contents of several files in one answer: bounded, of one commit, and nothing outside of the slice."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace

import pytest

from storage.base.settings import Settings
from tests.support.api import Api, Json
from tests.support.collisions import put

FILES = {"a.txt": "a\n", "web/ü": "ü\n", "web/empty": "", "web/control": "\1\2", "web/nul": "a\0b"}


def land(api: Api, *changes: Json) -> None:
    api.submit(base=api.tip, changes=list(changes))
    api.world.work()


@pytest.fixture
def filled(api: Api) -> Api:
    land(
        api,
        *[put(path, content) for path, content in FILES.items()],
        {"op": "put", "path": "bytes", "content_base64": "/w=="},
        {"op": "put", "path": "run", "content": "x", "mode": "100755"},
        {"op": "put", "path": "module", "id": "8d" * 20, "mode": "160000"},
    )
    return api


def ask(api: Api, where: str = "all", status: int = 200, **body: object) -> Json:
    return api.post(f"/slices/{where}/files", body, status).get_json(force=True)


def content(item: Json) -> bytes:
    return item["content"].encode() if "content" in item else b64decode(item["content_base64"])


def test_several_files_come_in_the_order_of_the_request(filled: Api) -> None:
    paths = ["web/ü", "a.txt", "bytes", "web/nul", "web/control", "web/empty", "a.txt"]
    answer = ask(filled, paths=paths)
    assert [item["path"] for item in answer["files"]] == paths[:-1], "each once"
    expected = {**{path: text.encode() for path, text in FILES.items()}, "bytes": b"\xff"}
    assert {item["path"]: content(item) for item in answer["files"]} == expected
    listed = {item["path"]: item for item in filled.get("/slices/all/tree")["items"]}
    for item in answer["files"]:
        assert (item["mode"], item["id"], item["size"]) == tuple(
            listed[item["path"]][name] for name in ("mode", "id", "size")
        )
    assert {item["path"] for item in answer["files"] if "content" in item} == {"web/ü", "a.txt", "web/empty"}
    assert (answer["missing"], answer["next"]) == ([], None)
    assert answer["commit"] == filled.get("/head")["main"]["commit"]


def test_what_is_no_file_of_the_slice_is_missing(filled: Api) -> None:
    filled.post("/slices", {"name": "web", "paths": ["web/", "module"]}, 201)
    answer = ask(filled, "web", paths=["a.txt", "web/ü", "web", "web/none", "web/ü/x", "run", "module"])
    assert [item["path"] for item in answer["files"]] == ["web/ü", "module"]
    assert answer["files"][1] == {"path": "module", "mode": "160000", "id": "8d" * 20}
    assert answer["missing"] == ["a.txt", "web", "web/none", "web/ü/x", "run"]


def test_contents_are_of_the_commit_that_is_asked_for(filled: Api) -> None:
    old = filled.get("/head")["main"]["commit"]
    land(filled, put("a.txt", "b\n"))
    assert content(ask(filled, paths=["a.txt"])["files"][0]) == b"b\n"
    answer = ask(filled, paths=["a.txt"], commit=old)
    assert content(answer["files"][0]) == b"a\n" and answer["commit"] == old


def test_an_answer_has_bounded_contents_and_a_cursor_for_the_rest(settings: Settings, unsent: object) -> None:
    api = Api(replace(settings, max_read_bytes=100))
    paths = [f"f{i}" for i in range(6)]
    land(api, *[put(path, path * 20) for path in paths], put("large", "x" * 500))
    wanted = [*paths[:3], "none", "large", *paths[3:]]
    contents, missing, cursor, answers = [], [], None, 0
    while True:
        answer = ask(api, paths=wanted, **({"cursor": cursor} if cursor else {}))
        sizes = [item["size"] for item in answer["files"]]
        assert sum(sizes) <= 100 or len(sizes) == 1
        contents += answer["files"]
        missing += answer["missing"]
        cursor, answers = answer["next"], answers + 1
        if cursor is None:
            break
        # All answers are of the first one's commit.
        land(api, put("f5", f"other {answers}"))
    assert [item["path"] for item in contents] == [path for path in wanted if path != "none"] and missing == ["none"]
    assert content(contents[-1]) == b"f5" * 20
    refused = ask(api, status=422, paths=paths, cursor=api_cursor(api, wanted))
    assert refused["errors"][0]["field"] == "cursor"


def api_cursor(api: Api, paths: list[str]) -> str:
    return str(ask(api, paths=paths)["next"])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "paths"),
        ({"paths": []}, "paths"),
        ({"paths": "a"}, "paths"),
        ({"paths": ["a", 1]}, "paths[1]"),
        ({"paths": ["../a"]}, "paths[0]"),
        ({"paths": ["a\0"]}, "paths[0]"),
        ({"paths": ["a"] * 1001}, "paths"),
        ({"paths": ["a"], "commit": "x"}, "commit"),
        ({"paths": ["a"], "commit": "8d" * 20}, "commit"),
        ({"paths": ["a"], "cursor": "x"}, "cursor"),
        ({"paths": ["a"], "more": 1}, "more"),
    ],
)
def test_a_wrong_request_for_files_names_its_field(api: Api, body: Json, field: str) -> None:
    assert ask(api, status=422, **body)["errors"][0]["field"] == field


def test_what_an_older_copy_of_redis_does_not_know_is_not_missing(filled: Api) -> None:
    redis, key = filled.world.repo.redis, filled.world.repo.view.prefix + "recovered"
    redis.set(key, "the id of an earlier run")
    assert ask(filled, paths=["a.txt"])["missing"] == []
    assert ask(filled, status=503, paths=["a.txt", "none"])
