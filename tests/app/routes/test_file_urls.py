"""Every path that can be submitted can be asked for by a plain GET, and a client that has the file is told so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from storage.base.settings import Settings
from storage.repository import Repository
from tests.support.api import Api
from tests.support.api_server import serving
from tests.support.world import World

CONTROLS = [chr(i) for i in range(1, 32)] + ["\x7f", "\x80", "\x85", "\x9f", "\u2028", "\u2029", "\ufeff", "\u202e"]
ODD = [
    *(f"{form}" for c in CONTROLS for form in (c, f"a{c}", f"{c}a", f"a{c}b/c{c}d")),
    *("a?b", "a#b", "a%b", "a%2Fb", "a%0Ab", "a;b=c", "a&b", "a+b", "a b", " a", "a ", "a\\b", "[a]", "{a}", "<a>"),
    *("files/tree", "x/files/y", "commits", "a\nfiles/b", "tree\n", "ü", "e\u0301", "日本", "😀", "a:b", "@", "*", '"'),
]  # fmt: skip


def put(path: str, content: str, base: str | None = None) -> dict[str, object]:
    return {"op": "put", "path": path, "content": content, "base": base}


def valid(api: Api, paths: list[str]) -> list[str]:
    """Land one file for each of the paths, its content the path."""
    api.submit(changes=[put(path, path) for path in paths])
    api.world.work()
    return paths


def without_collisions(paths: list[str]) -> list[str]:
    return [path for path in paths if not any(other.startswith(path + "/") for other in paths)]


def test_a_file_is_read_by_its_url_whatever_characters_its_path_has(api: Api) -> None:
    listed = valid(api, without_collisions([path for path in ODD if "//" not in path]))
    for path in listed:
        answer = api.http.get(f"/v1/slices/all/files/{quote(path, safe='')}")
        assert (answer.status_code, answer.data.decode()) == (200, path), repr(path)
    for path in listed[::8]:
        assert api.http.get(f"/v1/slices/all/files/{quote(path)}").data.decode() == path, "with its slashes as they are"
        assert api.get(f"/paths/{quote(path)}")["path"] == path
    shown = {item["path"] for item in api.get("/slices/all/tree", limit=1000)["items"]}
    assert shown == set(listed)


def test_a_line_feed_at_the_end_of_a_url_is_no_other_file(api: Api) -> None:
    valid(api, ["a", "tree"])
    for path in ("a%0A", "%0Aa", "a%0D", "a%20", "a%00", "%FF", "a%C3"):
        answer = api.http.get(f"/v1/slices/all/files/{path}")
        assert 400 <= answer.status_code < 500, path
    for path in ("/v1/slices/all/tree%0A", "/v1/head%0A", "/v1%0A/head", "/v1/slices/all%0A/tree"):
        assert api.http.get(path).status_code == 404, path


def test_each_side_of_a_conflict_is_read_whatever_characters_its_path_has(api: Api) -> None:
    paths = [f"c{c}/d{c}" for c in CONTROLS] + ["e\n", "\nf"]
    base = api.tip
    api.submit(base=base, changes=[{"op": "put", "path": path, "content": "head"} for path in paths])
    late = api.submit(base=base, changes=[{"op": "put", "path": path, "content": "late"} for path in paths])["id"]
    api.world.work()
    for path in paths:
        for side, content in (("head", b"head"), ("submitted", b"late")):
            answer = api.http.get(f"/v1/changesets/{late}/conflicts/{side}/{quote(path)}")
            assert (answer.status_code, answer.data) == (200, content), repr(path)


def test_the_longest_paths_are_read_over_a_real_connection(settings: Settings, tmp_path: Path) -> None:
    world = World(Repository(settings))
    name = "漢" * 85  # 255 bytes
    longest = "/".join([name] * 15 + ["字" * 83, "x" * 6])
    control = "/".join(["\x01" * 255] * 16)
    assert len(longest.encode()) == 4096 == len(control) + 1
    paths = [longest, control, "/".join(["漢" * 80] * 12)]
    for path in paths:
        world.put({path: path[-20:].encode()})
    world.work()
    with serving(settings, tmp_path) as server:
        for path in paths:
            got = server.get(f"/v1/slices/all/files/{quote(path)}?commit={world.tip.hex()}")
            assert (got.status, got.body.decode()) == (200, path[-20:])
            assert server.get(f"/v1/paths/{quote(path)}").status == 200
            assert server.get(f"/v1/conflicts?path={quote(path)}").status == 200
            assert server.get(f"/v1/slices/all/tree?prefix={quote(path)}").status == 200
        page = server.get("/v1/slices/all/tree?limit=1")
        seen = []
        while True:
            found = json.loads(page.body)
            seen += [item["path"] for item in found["items"]]
            if not found["next"]:
                break
            page = server.get(f"/v1/slices/all/tree?limit=1&cursor={quote(found['next'])}")
        assert set(paths) <= set(seen), "cursors that hold a path too"


def test_a_path_above_the_limit_names_the_limit(settings: Settings, tmp_path: Path) -> None:
    World(Repository(settings))
    with serving(replace(settings, max_path_bytes=100), tmp_path) as server:
        answer = server.get(f"/v1/slices/all/files/{'x/' * 60}y")
        assert answer.status == 422 and "max_path_bytes" in str(answer.problem["detail"])


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        ('"{id}"', 304),
        ('W/"{id}"', 304),
        ('"other", "{id}"', 304),
        ('"other" , W/"{id}","third"', 304),
        ("*", 304),
        ('"other"', 200),
        ('W/"other"', 200),
        ("", 200),
        ("{id}", 304),
        ('"{id}x"', 200),
    ],
)
def test_a_client_that_names_the_files_tag_in_any_form_has_it_already(api: Api, tags: str, status: int) -> None:
    valid(api, ["f"])
    first = api.http.get("/v1/slices/all/files/f")
    tag = first.headers["ETag"]
    answer = api.http.get("/v1/slices/all/files/f", headers={"If-None-Match": tags.format(id=tag.strip('"'))})
    assert answer.status_code == status and answer.headers["ETag"] == tag
    assert answer.data == (b"" if status == 304 else b"f")
