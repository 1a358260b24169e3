"""Archives of a slice's files: the same bytes each time, in bounded memory, and cut off where they cannot go on."""

from __future__ import annotations

import http.client
import io
import socket
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.downloads import contents
from storage.base.ids import ObjectId
from storage.base.settings import Settings
from storage.lookup.object_store import ObjectStore
from tests.support.api import Api, Json
from tests.support.api_server import PATIENCE, serving
from tests.support.collisions import put
from tests.support.compaction import aged_world, compacted
from tests.support.logs import logged
from tests.support.waiting import await_true

FORMATS = ("tar", "tar.gz", "zip")


def land(api: Api, *changes: Json) -> str:
    api.submit(base=api.tip, changes=list(changes))
    api.world.work()
    return main(api)


def main(api: Api) -> str:
    return api.get("/head")["main"]["commit"]


@pytest.fixture
def filled(api: Api) -> Api:
    land(
        api,
        put("a.txt", "a\n"),
        put("web/ü", "u\n"),
        put("web/deep/er/x", "x\n"),
        {"op": "put", "path": "run", "content": "#!/bin/sh\n", "mode": "100755"},
        {"op": "put", "path": "web/link", "content": "../a.txt", "mode": "120000"},
        {"op": "put", "path": "web/module", "id": "8d" * 20, "mode": "160000"},
    )
    return api


def archive(api: Api, where: str = "all", **query: str) -> bytes:
    answer = api.http.get(f"/v1/slices/{where}/files", query_string=query)
    assert answer.status_code == 200, answer.data
    return answer.data


def names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getnames()


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_commit_and_slice_give_the_same_bytes(filled: Api, form: str) -> None:
    commit = main(filled)
    first = archive(filled, format=form)
    land(filled, put("later", "1\n"))
    assert archive(filled.another(), format=form, commit=commit) == first
    assert archive(filled, format=form) != first


def test_an_archive_is_the_same_where_packs_were_compacted(api: Api) -> None:
    api.world = aged_world(api.world, gc_grace=-1000.0)
    for i in range(4):
        land(api, put(f"d{i}/f", f"{i}\n"), put("all", f"{i}\n"))
    before = archive(api)
    compacted(api.world)
    assert not any(name.startswith("inbox/") for name in api.world.repo.bucket.list_keys("inbox/"))
    assert archive(api.another()) == before
    assert archive(api, commit=main(api)) == before


def test_an_archive_has_the_files_of_its_slice_below_the_prefix(filled: Api) -> None:
    filled.post("/slices", {"name": "team/some", "paths": ["web/deep/", "a.txt"]}, 201)
    assert names(archive(filled, "team%2Fsome")) == ["a.txt", "web", "web/deep", "web/deep/er", "web/deep/er/x"]
    assert names(archive(filled, "team%2Fsome", prefix="web/deep"))[-1] == "web/deep/er/x"
    assert names(archive(filled, prefix="web/deep")) == ["web", "web/deep", "web/deep/er", "web/deep/er/x"]
    for prefix in ("none", "a.txt", "../web", "web/../a.txt"):
        answer = filled.http.get("/v1/slices/all/files", query_string={"prefix": prefix})
        assert answer.status_code == 404, answer.data


def test_an_archive_says_what_it_is(filled: Api) -> None:
    filled.post("/slices", {"name": "team/ü", "paths": ["/"]}, 201)
    for form, kind in zip(FORMATS, ("application/x-tar", "application/gzip", "application/zip"), strict=True):
        with filled.http.get("/v1/slices/team%2F%C3%BC/files", query_string={"format": form}) as answer:
            assert answer.mimetype == kind
            assert answer.headers["X-Git-Commit"] == main(filled)
            assert f"filename=team-_-{main(filled)[:12]}.{form}" in answer.headers["Content-Disposition"]
            assert f"filename*=UTF-8''team-%C3%BC-{main(filled)[:12]}.{form}" in answer.headers["Content-Disposition"]
            tag = answer.headers["ETag"]
        known = filled.http.get(
            "/v1/slices/team%2F%C3%BC/files", query_string={"format": form}, headers={"If-None-Match": tag}
        )
        assert (known.status_code, known.data, known.headers["ETag"]) == (304, b"", tag)
    land(filled, put("a.txt", "b\n"))
    with filled.http.get("/v1/slices/team%2F%C3%BC/files", headers={"If-None-Match": tag}) as changed:
        assert changed.status_code == 200


@pytest.mark.parametrize(
    ("query", "field"),
    [({"format": "rar"}, "format"), ({"prefix": "/web"}, "prefix"), ({"prefix": "a\0"}, "prefix"),
     ({"cursor": "x"}, "cursor"), ({"commit": "8d" * 20}, "commit")],
)  # fmt: skip
def test_what_an_archive_cannot_be_asked_for_is_named(filled: Api, query: Json, field: str) -> None:
    answer = filled.http.get("/v1/slices/all/files", query_string=query)
    assert answer.status_code == 422 and answer.get_json(force=True)["errors"][0]["field"] == field


def test_contents_are_read_together_and_no_more_than_may_be_ahead(
    settings: Settings, unsent: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Contents that do not compress, in several packs, in an order that is not that of the paths.
    api = Api(replace(settings, archive_ahead_bytes=64 << 10))
    noise = ["".join(f"{(i * 977 + n) * 2654435761 % (1 << 32):08x}" for i in range(256)) for n in range(120)]
    for part in range(4):
        land(api, *[put(f"f{n:03}", noise[n]) for n in range(part, 120, 4)])
    groups: list[int] = []
    requests: list[str] = []
    real = ObjectStore.stored_many
    get_range = type(api.world.repo.bucket).get_range

    def stored_many(store: ObjectStore, located: Any, most: int | None = None) -> dict[ObjectId, bytes]:
        stored = real(store, located, most)
        groups.append(sum(map(len, stored.values())))
        return stored

    def counted(bucket: Any, name: str, offset: int, length: int) -> bytes:
        requests.append(name)
        return bytes(get_range(bucket, name, offset, length))

    fresh = api.another()
    monkeypatch.setattr(ObjectStore, "stored_many", stored_many)
    monkeypatch.setattr(type(api.world.repo.bucket), "get_range", counted)
    with tarfile.open(fileobj=io.BytesIO(archive(fresh))) as tar:
        assert [tar.extractfile(name).read().decode() for name in tar.getnames()] == noise  # type: ignore[union-attr]
    read = [size for size in groups if size > 1000]
    assert len(read) > 3 and max(read) <= 32 << 10, "half of it is with the client"
    assert len(requests) < 60, "120 contents"


def test_one_content_may_be_larger_than_what_may_be_ahead(settings: Settings, unsent: object) -> None:
    api = Api(replace(settings, archive_ahead_bytes=1))
    land(api, put("large", "0123456789" * 20_000), put("small", "s"), put("z", "z"))
    assert names(archive(api)) == ["large", "small", "z"]


def test_a_content_that_is_damaged_ends_the_archive(filled: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "object_id", lambda kind, content: b"\0" * 20)
    answer = filled.http.get("/v1/slices/all/files")
    assert answer.status_code == 500, "in the first pieces, which are made before the status is sent"


def test_an_archive_that_cannot_go_on_ends_without_its_last_chunk(
    settings: Settings, unsent: object, tmp_path: Path
) -> None:
    small = replace(settings, archive_ahead_bytes=64 << 10)
    api = Api(small)
    noise = "".join(f"{i * 2654435761 % (1 << 32):08x}" for i in range(8192))
    for i in range(8):
        land(api, put(f"f{i}", f"{i}{noise}"))
    land(api, put("d/whole", "x"))
    last = api.get("/slices/all/tree")["items"][-1]["id"]
    [location] = api.world.repo.objects.locate([ObjectId(bytes.fromhex(last))])
    assert location is not None
    api.world.repo.bucket.delete(location.pack + ".pack")
    with serving(small, tmp_path) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        connection.request("GET", "/v1/slices/all/files")
        answer = connection.getresponse()
        assert answer.status == 200
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
        connection.close()
        # HTTP/1.0, as proxies speak it, has no chunks: the end of the connection would be that of the answer.
        with pytest.raises(ConnectionResetError):
            whole(server.send(b"GET /v1/slices/all/files HTTP/1.0\r\n\r\n"))
        found = whole(server.send(b"GET /v1/slices/all/files?prefix=d HTTP/1.0\r\n\r\n"))
        assert names(found.partition(b"\r\n\r\n")[2]) == ["d", "d/whole"]
        log = tmp_path / "logs" / "api.log"

        def failed() -> list[dict[str, Any]]:
            return [each for each in logged(log.read_text()) if each["event"] == "download_failed"]

        await_true(lambda: bool(failed()))
        first = failed()[0]
        assert first["path"] == "/v1/slices/all/files" and first["request"] == answer.headers["X-Request-Id"]
        assert server.get("/v1/head").status == 200


def whole(sock: socket.socket) -> bytes:
    """Return all that comes until the connection ends."""
    data = b""
    while piece := sock.recv(1 << 20):
        data += piece
    return data


def test_a_client_that_hangs_up_ends_the_work(settings: Settings, unsent: object, tmp_path: Path) -> None:
    one = replace(settings, max_downloads=1, archive_ahead_bytes=64 << 10)
    api = Api(one)
    noise = "".join(f"{i * 2654435761 % (1 << 32):08x}" for i in range(1 << 17))
    for i in range(12):
        land(api, put(f"f{i}", f"{i}{noise}"))
    with serving(one, tmp_path) as server:
        sock = server.connect(receive_buffer=4096)
        sock.sendall(b"GET /v1/slices/all/files HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(12) == b"HTTP/1.1 200"
        assert server.get("/v1/slices/all/files").status == 429, "it has not read its archive"
        sock.close()
        await_true(lambda: server.get("/v1/slices/all/files").status == 200)
