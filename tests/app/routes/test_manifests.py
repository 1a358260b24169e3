"""A slice's manifest in one answer: the files of its pages, resumable, and what was cut off does not pass for whole."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from app.downloads import manifest as manifests
from app.service.downloads import Interrupted
from storage.backends.bucket import BucketError
from storage.base.settings import Settings
from storage.lookup.object_store import ObjectStore
from tests.support.api import Api, Json
from tests.support.collisions import edit, put
from tests.support.compaction import emptied

LINES = {"Accept": manifests.MEDIA_TYPE}
MODULE = "8d" * 20


def land(api: Api, *changes: Json) -> str:
    api.submit(base=api.tip, changes=list(changes))
    api.world.work()
    return api.tip


@pytest.fixture
def filled(api: Api) -> Api:
    land(
        api,
        put("a.txt", "a\n"),
        put('web/ä "quoted" \\ \n.txt', "umlaut\n"),
        put("web/deep/er/x", "x\n"),
        {"op": "put", "path": "run", "content": "#!/bin/sh\n", "mode": "100755"},
        {"op": "put", "path": "web/link", "content": "../a.txt", "mode": "120000"},
        {"op": "put", "path": "web/module", "id": MODULE, "mode": "160000"},
        put("web/z", "z\n"),
    )
    return api


def lines(api: Api, where: str = "all", **query: Any) -> list[Json]:
    answer = api.http.get(f"/v1/slices/{where}/tree", query_string=query, headers=LINES)
    assert answer.status_code == 200, answer.data
    assert answer.mimetype == manifests.MEDIA_TYPE and answer.vary.as_set() == {"accept"}
    assert answer.data.endswith(b"\n")
    manifest = [json.loads(line) for line in answer.data.splitlines()]
    assert answer.headers["X-Git-Commit"] == manifest[0]["commit"]
    return manifest


def files(manifest: list[Json]) -> list[Json]:
    return [line for line in manifest if "path" in line]


@pytest.mark.parametrize("query", [{}, {"prefix": "web"}, {"prefix": "web/deep/"}, {"prefix": "none"}])
def test_a_manifest_has_the_files_of_the_pages(filled: Api, query: Json) -> None:
    page = filled.get("/slices/all/tree", **query)
    manifest = lines(filled, sizes="true", **query)
    assert files(manifest) == page["items"]
    assert (manifest[0]["commit"], manifest[0]["tree"]) == (page["commit"], page["tree"])
    assert manifest[-1] == {"next": None, "files": len(page["items"])}
    without = [{name: value for name, value in item.items() if name != "size"} for item in page["items"]]
    assert files(lines(filled, **query)) == without


def test_others_are_served_while_a_manifest_is_made(filled: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[int] = []
    monkeypatch.setattr(manifests, "_ROWS", 2)
    monkeypatch.setattr(manifests, "breathe", lambda: turns.append(0))
    assert len(files(lines(filled))) == 7
    assert len(turns) >= 4, "two lines at a time, and none of another directory"


def test_sizes_are_looked_up_while_lines_are_sent(filled: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "_PIECE_BYTES", 1)
    monkeypatch.setattr(manifests, "_ROWS", 1)
    assert files(lines(filled, sizes="true")) == filled.get("/slices/all/tree")["items"]


def test_a_manifest_is_of_the_paths_of_its_slice(filled: Api) -> None:
    filled.post("/slices", {"name": "some", "paths": ["web/deep/", "a.txt", "none/"]}, 201)
    manifest = lines(filled, "some")
    assert [item["path"] for item in files(manifest)] == ["a.txt", "web/deep/er/x"]
    assert manifest[0]["tree"] == filled.get("/slices/some/tree")["tree"]


def test_a_manifest_is_of_the_commit_that_is_asked_for(filled: Api) -> None:
    old = filled.tip
    land(filled, put("new", "1\n"))
    assert lines(filled, commit=old)[0]["commit"] == old
    assert "new" not in {item["path"] for item in files(lines(filled, commit=old))}
    assert "new" in {item["path"] for item in files(lines(filled))}


@pytest.mark.parametrize("way", ["manifest", "pages"])
def test_a_manifest_goes_on_behind_any_of_its_cursors(
    filled: Api, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:  # fmt: skip
    monkeypatch.setattr(manifests, "_PIECE_BYTES", 1)
    monkeypatch.setattr(manifests, "_ROWS", 1)
    filled.post("/slices", {"name": "web", "paths": ["web/", "run"]}, 201)
    whole = lines(filled, "web")
    land(filled, put("web/aaa", "new\n"), {"op": "delete", "path": "web/z"})
    filled.http.patch("/v1/slices/web", json={"paths": ["a.txt"]})
    cursors = [i for i, line in enumerate(whole) if line.get("next")]
    assert len(cursors) == len(files(whole))
    for i in cursors:
        cursor = whole[i]["next"]
        if way == "manifest":
            rest = lines(filled, "web", cursor=cursor)
            assert rest[0] == whole[0]
            assert rest[-1] == {"next": None, "files": len(files(whole[i:]))}
        else:
            rest = filled.get("/slices/web/tree", cursor=cursor)["items"]
            rest = [{name: value for name, value in item.items() if name != "size"} for item in rest]
        assert files(rest) == files(whole[i:])


@pytest.mark.parametrize(
    ("accept", "status", "chosen"),
    [
        (None, 200, "application/json"),
        ("*/*", 200, "application/json"),
        ("application/*", 200, "application/json"),
        ("application/json, application/x-ndjson", 200, "application/json"),
        ("application/x-ndjson", 200, "application/x-ndjson"),
        ("application/json;q=0.5, application/x-ndjson", 200, "application/x-ndjson"),
        ("application/x-ndjson;q=0.4, */*;q=0.5", 200, "application/json"),
        ("application/json;q=0, */*", 200, "application/x-ndjson"),
        ("text/html, */*;q=0.1", 200, "application/json"),
        ("text/html", 406, "application/problem+json"),
        ("application/json;q=0", 406, "application/problem+json"),
    ],
)
def test_the_form_of_a_tree_is_what_its_client_accepts_best(
    api: Api, accept: str | None, status: int, chosen: str
) -> None:
    answer = api.http.get("/v1/slices/all/tree", headers={"Accept": accept} if accept else {})
    assert (answer.status_code, answer.mimetype) == (status, chosen)


@pytest.mark.parametrize(
    ("query", "field"),
    [({"limit": "5"}, "limit"), ({"sizes": "yes"}, "sizes"), ({"cursor": "x"}, "cursor"), ({"commit": "ab"}, "commit")],
)
def test_what_a_manifest_cannot_be_asked_for_is_named(api: Api, query: Json, field: str) -> None:
    answer = api.http.get("/v1/slices/all/tree", query_string=query, headers=LINES)
    assert answer.status_code == 422 and answer.get_json(force=True)["errors"][0]["field"] == field


def test_more_downloads_than_a_process_sends_are_429(settings: Settings, unsent: object) -> None:
    api = Api(replace(settings, max_downloads=1))
    with api.http.get("/v1/slices/all/tree", headers=LINES, buffered=False):
        refused = api.http.get("/v1/slices/all/tree", headers=LINES)
        assert refused.status_code == 429 and b"max_downloads" in refused.data
        assert api.http.get("/v1/slices/all/tree").status_code == 200, "pages are none"
    for _ in range(3):
        with api.http.head("/v1/slices/all/tree", headers=LINES) as head:
            assert head.status_code == 200 and head.headers["X-Git-Commit"] == api.tip
    assert files(lines(api)) == []


def test_a_failure_before_the_first_line_is_a_problem(filled: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ObjectStore, "trees", _failing)
    answer = filled.http.get("/v1/slices/all/tree", headers=LINES)
    assert answer.status_code == 503 and answer.mimetype == "application/problem+json"
    monkeypatch.undo()
    assert len(files(lines(filled))) == 7


def test_a_failure_behind_the_first_lines_cuts_the_answer_off(
    filled: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(manifests, "_PIECE_BYTES", 1)
    monkeypatch.setattr(manifests, "_ROWS", 1)
    real, calls = ObjectStore.trees, []

    def trees(store: ObjectStore, oids: list[bytes]) -> Any:
        calls.append(oids)
        return _failing() if len(calls) > 2 else real(store, oids)

    monkeypatch.setattr(ObjectStore, "trees", trees)
    with filled.http.get("/v1/slices/all/tree", headers=LINES, buffered=False) as answer:
        assert answer.status_code == 200
        sent: list[bytes] = []
        with pytest.raises(Interrupted):
            sent.extend(answer.iter_encoded())
    assert sent and b'"next":null' not in b"".join(sent)
    assert "download_failed" in capsys.readouterr().err
    monkeypatch.undo()
    assert len(files(lines(filled))) == 7, "its place is free again"


def _failing(*_: object) -> Any:
    raise BucketError("the bucket is away")


def test_a_merged_file_has_its_size_after_redis_was_lost(api: Api) -> None:
    text = "".join(f"line {number}\n" for number in range(20))
    base = land(api, put("f", text))
    for number in (3, 15):
        api.submit(base=base, changes=[put("f", edit(number, "changed by one of two", text))])
    api.world.work()
    merged = len(text) + 2 * len("changed by one of two") - len("line 3") - len("line 15")
    emptied(api.world)
    fresh = api.another()
    assert fresh.get("/slices/all/tree")["items"][0]["size"] == merged
    assert files(lines(fresh, sizes="true"))[0]["size"] == merged
