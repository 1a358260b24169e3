"""200 malformed requests of 20 kinds: each a problem document that names what is wrong, and nothing half done."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import urllib3

from app.admin.verify import verify
from app.client.api_client import Client
from app.stack.stack import Stack
from storage.repository import Repository

ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
Request = tuple[str, str, str, bytes, str]
"""Kind, method, path, body, and a word that the answer must have."""


def change(**fields: Any) -> dict[str, Any]:
    return {"op": "put", "path": "f", "content": "x"} | fields


def submission(tip: str, *changes: Any, **fields: Any) -> bytes:
    return json.dumps({"base": tip, "message": "m", "changes": list(changes) or [change()]} | fields).encode()


PATHS = [
    "", "/", "/a", "a/", "a//b", ".", "..", "./a", "a/./b", "../a", "a/../b", "a/..", ".git", ".git/config", "a/.git/x",
    ".GIT/x", ".Git", "a/.giT", ".git ", ".git.", ".git. .", "git~1", "GIT~1/x", "a/git~1", ".git::$INDEX_ALLOCATION",
    ".git:x", ".g\u200cit", ".\u200dgit/config", "\ufeff.git", "a\\.git", "a\\..\\b\\.git", "nul\0", "x" * 256,
    "a/" * 2100 + "b",
]  # fmt: skip
TYPES = [None, 1, 1.5, True, [], {}, ["f"], {"a": 1}]
CONTENTS = [
    (".gitmodules", '[submodule "../x"]\n\tpath = x\n\turl = u\n'),
    (".gitmodules", '[submodule "x"]\n\tpath = -x\n\turl = u\n'),
    (".gitmodules", '[submodule "x"]\n\tpath = x\n\turl = -u\n'),
    (".gitmodules", '[submodule "x"]\n\tpath = x\n\turl = u\n\tupdate = !sh\n'),
    ("deep/.GITMODULES", '[submodule ".."]\n\tpath = x\n\turl = u\n'),
    ("gitmod~1", '[submodule "../x"]\n\tpath = x\n\turl = u\n'),
    (".gitattributes", "* " + "a" * 3000 + "\n"),
]


def requests(tip: str, cursors: dict[str, str]) -> Iterator[Request]:  # noqa: C901 - a table
    """Yield the requests; `cursors` are real ones, of other lists."""
    post, get = "/v1/slices/all/changesets", "GET"
    for path in PATHS:
        yield "bad path", "POST", post, submission(tip, change(path=path)), "changes[0].path"
    for value in TYPES:
        yield "wrong type of path", "POST", post, submission(tip, change(path=value)), "changes[0].path"
        yield "wrong type of content", "POST", post, submission(tip, change(content=value)), "changes[0].content"
        yield "wrong type of message", "POST", post, submission(tip, message=value), "message"
    for value in [1, 1.5, True, {}, "x", [1], [None], [[]]]:
        yield "wrong changes", "POST", post, submission(tip, changes=value), "changes"
    for value in [1, "x", [], "a" * 39, "a" * 41, "A" * 40, "0" * 40, ULID.lower(), ULID[:-1], "8" + ULID[1:], 0, -1]:
        yield "wrong base", "POST", post, submission(tip, base=value), "base"
    for value in ["a" * 40, "f" * 40, ULID, "0" * 25 + "1"]:
        yield "unknown base", "POST", post, submission(tip, base=value), "base"
    for name in ["none", ULID, "%00", "ALL", "all%2Fx", "..", "%20"]:
        yield "unknown slice", "POST", f"/v1/slices/{name}/changesets", submission(tip), "status"
        yield "unknown slice", get, f"/v1/slices/{name}/tree", b"", "status"
    for mode in ["100664", "644", "040000", "0", "", 33188, None, "160000", "120001"]:
        yield "wrong mode", "POST", post, submission(tip, change(mode=mode)), "changes[0]"
    for op in ["", "PUT", "add", None, 1, "rename"]:
        yield "wrong op", "POST", post, submission(tip, change(op=op)), "changes[0].op"
    for text in ["a", "a===", "ä", "YQ", "YQ=", "YQ==\n", "*", None, 5]:
        body = submission(tip, {"op": "put", "path": "f", "content_base64": text})
        yield "wrong base64", "POST", post, body, "changes[0].content_base64"
    for path, content in CONTENTS:
        yield (
            "content that fsck refuses",
            "POST",
            post,
            submission(tip, change(path=path, content=content)),
            "changes[0]",
        )
    for path in (".gitmodules", "x/.gitmodules"):
        body = submission(tip, change(path=path, mode="120000", content="target"))
        yield "content that fsck refuses", "POST", post, body, "changes[0]"
    for target in ("", "a\0b", "x" * 5000):
        body = submission(tip, change(mode="120000", content=target))
        yield "symlink that cannot be", "POST", post, body, "changes[0].content"
    for paths in (["a", "a"], ["a", "a/b"], ["a/b/c", "a/b"]):
        body = submission(tip, *(change(path=path) for path in paths))
        yield "paths in each other's way", "POST", post, body, "path"
    for raw in [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000, b'{"message": "\xff"}', b"1"]:
        yield "no JSON, or not an object", "POST", post, raw, "status"
    body = submission(tip).replace(b'"x"', b'"\\ud800"')
    yield "binary in text", "POST", post, body, "changes[0].content"
    yield "binary in text", "POST", post, submission(tip).replace(b'"m"', b'"\\udfff"'), "message"
    for field in ("mesage", "id", "status", "__proto__"):
        yield "unknown field", "POST", post, submission(tip, **{field: 1}), field
    for author in [1, "Ada", {}, {"name": "A"}, {"name": "", "email": "e"}, {"name": "a<b", "email": "e"},
                   {"name": "a", "email": "e>"}, {"name": "a\nb", "email": "e"}]:  # fmt: skip
        yield "wrong author", "POST", post, submission(tip, author=author), "author"
    for when in ["yesterday", 5, "2026-01-31", "2026-13-01T00:00:00Z", "2026-01-31T12:00:00", "1960-01-01T00:00:00Z"]:
        yield "wrong time", "POST", post, submission(tip, time=when), "time"
    for message in ["a\0b", "Changeset-Id: x", "x\n\nchangeset-id: y\n", "x" * (65 << 10), "", " \n",
                    f"# {'-' * 24} >8 {'-' * 24}\nx"]:  # fmt: skip
        yield "wrong message", "POST", post, submission(tip, message=message), "message"
    for name in ["", "a..b", "a b", "-a", "a.lock", "/a", "a/", "a//b", "@{", "a\\b", "a~", "x" * 300]:
        body = json.dumps({"name": name, "paths": ["x"]}).encode()
        yield "wrong slice name", "POST", "/v1/slices", body, "name"
    for paths in [[], "x", [""], ["../x"], ["a//b"], [".git/"], [1], ["a", "a"], ["/a"]]:
        yield "wrong slice paths", "POST", "/v1/slices", json.dumps({"name": "n", "paths": paths}).encode(), "paths"
    for query in [
        "limit=0",
        "limit=-1",
        "limit=x",
        "limit=1001",
        "limit=1&limit=2",
        "cursor=x",
        "nonsense=1",
        "cursor=",
    ]:
        yield "wrong query", get, f"/v1/slices/all/tree?{query}", b"", query.split("=")[0]
    for name, cursor in cursors.items():
        for path in ("/v1/slices", "/v1/commits", "/v1/slices/all/commits", "/v1/slices/all/tree"):
            if not path.endswith(name):
                yield "cursor of another list", get, f"{path}?cursor={cursor}", b"", "cursor"
    for changeset in ["x", ULID.lower(), ULID, "a" * 40]:
        yield "unknown changeset", get, f"/v1/changesets/{changeset}", b"", "status"
    for query in ["wait=x", "wait=-1", "wait=1e9", "until=never"]:
        yield "wrong wait", get, f"/v1/changesets/{ULID}?{query}", b"", query.split("=")[0]
    yield "body too large", "POST", post, submission(tip, change(content="x" * 300_000)), "max_body_bytes"


@pytest.mark.parametrize("s3_kind", ["seaweedfs"], indirect=True)
def test_each_is_refused_by_name_and_nothing_is_half_done(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack({"max_body_bytes": 250_000}, with_flower=False)
    client = Client(stack.url)
    client.create_slice("all", ["/"])
    client.create_slice("other", ["o/"])
    for i in range(2):
        made = client.submit("all", json.loads(submission(client.head()["tip"]["commit"], change(path=f"p{i}"))))
        assert client.changeset(made["id"], 30, "landed")["status"] == "landed"
    before = client.head()
    cursors = {
        path.rpartition("/")[2]: client.call("GET", f"{path}?limit=1")["next"]
        for path in ("/v1/slices", "/v1/slices/all/tree", "/v1/slices/all/commits")
    }
    http = urllib3.PoolManager(retries=False)
    kinds: dict[str, int] = {}
    for kind, method, path, body, word in requests(before["tip"]["commit"], cursors):
        answer = http.request(method, stack.url + path, body=body or None, timeout=60)
        shown = f"{kind}: {method} {path} {body[:200]!r} -> {answer.status} {answer.data[:400]!r}"
        assert 400 <= answer.status < 500, shown
        assert answer.headers["Content-Type"] == "application/problem+json", shown
        assert {"type", "title", "status"} <= answer.json().keys() and answer.json()["status"] == answer.status, shown
        assert word in answer.data.decode(), shown
        kinds[kind] = kinds.get(kind, 0) + 1
    assert len(kinds) >= 20 and sum(kinds.values()) >= 200
    assert client.head() == before
    repo = Repository(stack.settings)
    assert repo.queue.length() == 0
    assert not verify(repo).differences
