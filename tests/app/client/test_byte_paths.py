"""Paths that are not UTF-8, between the command line, which has them with halves of surrogate pairs, and the API."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from urllib.parse import parse_qs, unquote, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from app.client.byte_paths import dumps, in_base64, loads, path_url, query_of

NAMES = st.binary(min_size=1, max_size=12)


def text(path: bytes) -> str:
    return path.decode(errors="surrogateescape")


def b64(path: bytes) -> str:
    return b64encode(path).decode()


@given(NAMES, NAMES)
def test_what_the_api_tells_of_paths_comes_back_to_it(path: bytes, other: bytes) -> None:
    value = {"items": [{"path": text(path), "from": text(other), "mode": "100644"}], "paths": [text(path), "a"]}
    sent = dumps(value)
    sent.encode("ascii")
    assert "\\ud" not in sent or "\\ud8" in sent or "\\ud9" in sent or "\\uda" in sent or "\\udb" in sent
    back = loads(sent)
    assert back["items"] == value["items"] and sorted(back["paths"]) == sorted(value["paths"])
    assert loads(sent.encode()) == back


def test_only_what_is_not_utf8_is_in_base64() -> None:
    latin, emoji = text(b"caf\xe9"), "\U0001f600"
    assert json.loads(dumps({"path": emoji, "content": emoji})) == {"path": emoji, "content": emoji}
    assert json.loads(
        dumps({"changes": [{"op": "put", "path": latin, "content_base64": "AA=="}, {"path": emoji}]})
    ) == {"changes": [{"op": "put", "path_base64": b64(b"caf\xe9"), "content_base64": "AA=="}, {"path": emoji}]}
    assert in_base64({"paths": {latin: {"take": "ours"}, "a": {"delete": True}}}) == {
        "paths": {"a": {"delete": True}},
        "paths_base64": {b64(b"caf\xe9"): {"take": "ours"}},
    }
    assert in_base64({"paths": [latin]}) == {"paths": [], "paths_base64": [b64(b"caf\xe9")]}
    assert json.loads(dumps({"paths": [latin]})) == {"paths_base64": [b64(b"caf\xe9")]}, "no list without items is sent"
    assert in_base64({"conflicts": [{"path": latin, "blocker": latin}]}) == {
        "conflicts": [{"path_base64": b64(b"caf\xe9"), "blocker_base64": b64(b"caf\xe9")}]
    }


def test_contents_in_base64_stay_what_they_are() -> None:
    answer = {"content_base64": b64(b"\xff"), "patch_base64": b64(b"\xff"), "lines_base64": [b64(b"\xff")]}
    assert loads(json.dumps(answer)) == answer
    assert loads(json.dumps({"missing": ["a"], "missing_base64": [b64(b"\xe9")]})) == {"missing": ["a", text(b"\xe9")]}


def test_urls_have_paths_by_their_bytes() -> None:
    assert path_url("/v1/paths", "a b/ü?") == "/v1/paths/a%20b/%C3%BC%3F"
    assert path_url("/x", "a", {"commit": "1"}) == "/x/a?commit=1"
    split = urlsplit(path_url("/x", text(b"\xff\xff\xff/\xfe"), {"commit": "1"}))
    assert unquote(split.path) == "/x/" + b64(b"\xff\xff\xff/\xfe") and split.path.count("/") == 2
    assert parse_qs(split.query) == {"commit": ["1"], "encoding": ["base64"]}
    assert query_of({"path": "ü", "limit": 1}) == "path=%C3%BC&limit=1"
    assert parse_qs(query_of({"path": text(b"\xff\xfb"), "limit": 1})) == {
        "path": [b64(b"\xff\xfb")], "limit": ["1"], "encoding": ["base64"],
    }  # fmt: skip
    assert parse_qs(query_of({"prefix": os.fsdecode(b"\xe9/")}))["prefix"] == [b64(b"\xe9/")]
