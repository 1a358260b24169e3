"""Files whose names are not UTF-8, of an imported history: the API reads, changes and merges them by their bytes."""

from __future__ import annotations

import io
import json
import tarfile
from base64 import b64decode, b64encode
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlencode

import pytest

from app.admin.deep import deep
from app.admin.verify import verify
from storage.base.settings import Settings
from storage.coordination.nodes import Node
from storage.importing import import_history
from storage.log.entry import GIT_FORMAT, Commits, decode
from storage.repository import Repository
from tasks.upkeep import run as run_upkeep
from tests.support.api import Api, Json, walk
from tests.support.collisions import LINES, edit
from tests.support.git_repository import GitRepository
from tests.support.principals import grants, principal, secured
from tests.support.world import World

LATIN, DEEP, BROKEN = b"caf\xe9.txt", b"na\xefve/\xff\xff\xff/\xfe", b"\xed\xa0\x80"


def b64(path: bytes) -> str:
    return b64encode(path).decode()


def in_url(path: bytes) -> str:
    """A path as the last part of a URL."""
    return b64(path).replace("/", "%2F") + "?encoding=base64"


def put(path: bytes, content: str, **more: Any) -> Json:
    return {"op": "put", "path_base64": b64(path), "content": content, **more}


def gone(path: bytes) -> Json:
    return {"op": "delete", "path_base64": b64(path)}


def source(folder: Path) -> GitRepository:
    """A history of two commits with such names."""
    made = GitRepository.begun(folder)
    for name, content in ((LATIN, LINES), (DEEP, "deep\n"), (BROKEN, "half\n"), ("docs/ü".encode(), "utf\n")):
        blob = made.git("hash-object", "-w", "--stdin", stdin=content.encode()).encode()
        made.git("update-index", "-z", "--add", "--index-info", stdin=b"100644 %s\t%s\0" % (blob, name))
    made.git("commit", "-qm", "names of old")
    return made


def imported(settings: Settings, folder: Path) -> Api:
    repo = Repository(settings)
    import_history(repo, source(folder / "repo").path)
    run_upkeep(repo)
    return Api(settings, World(repo))


@pytest.fixture
def api(settings: Settings, unsent: SimpleQueue[str], tmp_path: Path) -> Api:
    return imported(settings, tmp_path)


def files(api: Api) -> dict[bytes, bytes]:
    return {path.encode(errors="surrogateescape"): content for path, content in api.world.files().items()}


def status(api: Api, changeset: str) -> str:
    return str(api.get(f"/changesets/{changeset}")["status"])


def land(api: Api, *changes: Json, base: str | None = None, **more: Any) -> str:
    made = api.submit(base=base or api.tip, changes=list(changes), **more)
    api.world.work()
    assert status(api, made["id"]) == "landed", api.get(f"/changesets/{made['id']}")
    return str(made["id"])


def test_files_are_read_by_their_bytes(api: Api) -> None:
    for path, content in ((LATIN, LINES), (DEEP, "deep\n"), (BROKEN, "half\n")):
        answer = api.http.get(f"/v1/slices/all/files/{in_url(path)}")
        assert (answer.status_code, answer.data) == (200, content.encode())
    wanted = {"paths": ["README", "none"], "paths_base64": [b64(LATIN), b64(b"\xff-none"), b64(DEEP)]}
    answer = api.post("/slices/all/files", wanted, 200).get_json(force=True)
    told = [each.get("path") or b64decode(each["path_base64"]) for each in answer["files"]]
    assert told == ["README", LATIN, DEEP]
    assert (answer["missing"], answer["missing_base64"]) == (["none"], [b64(b"\xff-none")])
    below = [
        b64decode(each["path_base64"])
        for each in walk(api, "/slices/all/tree", prefix=b64(b"na\xefve/"), encoding="base64")
    ]
    assert below == [DEEP]
    archive = api.http.get("/v1/slices/all/files", query_string={"prefix": b64(b"na\xefve"), "encoding": "base64"})
    with tarfile.open(fileobj=io.BytesIO(archive.data), encoding="utf-8", errors="surrogateescape") as tar:
        assert [m.name.encode(errors="surrogateescape") for m in tar if m.isfile()] == [DEEP]
    missing = api.http.get("/v1/slices/all/files", query_string={"prefix": b64(b"\xff"), "encoding": "base64"})
    assert missing.status_code == 404


def test_a_path_has_one_spelling_in_a_url_too(api: Api) -> None:
    for path, code in (
        (b64(b"README") + "?encoding=base64", 422),
        (b64(LATIN), 404),
        ("caf%00e9.txt", 422),
        (b64(b"\xff/../README") + "?encoding=base64", 422),
        (b64(b"\xff\0") + "?encoding=base64", 422),
        (in_url(b"\xff"), 404),
    ):
        for at in ("slices/all/files/", "paths/"):
            expected = 200 if code == 404 and at == "paths/" else code
            answer = api.http.get(f"/v1/{at}{path}")
            assert answer.status_code == expected, (at, path, answer.data)
    # As a server hands on `%E9`: WSGI has the bytes of a path as characters of ISO 8859-1.
    raw = api.http.get("/v1/head", environ_overrides={"PATH_INFO": "/v1/slices/all/files/caf\xe9.txt"})
    assert raw.status_code == 400 and "encoding=base64" in raw.get_json(force=True)["detail"]


def test_they_are_put_deleted_moved_and_listed(api: Api) -> None:
    first = land(api, put(LATIN, edit(3, "changed")), put(b"new\xff", "1\n"), gone(BROKEN))
    move = {"op": "move", "from_base64": b64(DEEP), "path_base64": b64(b"moved/\xfe")}
    second = land(api, move, {"op": "mode", "path_base64": b64(LATIN), "mode": "100755"})
    there = files(api)
    assert there.keys() == {b"README", LATIN, b"new\xff", b"moved/\xfe", "docs/ü".encode()}
    assert there[b"moved/\xfe"] == b"deep\n" and there[LATIN] == edit(3, "changed").encode()
    one = api.get(f"/changesets/{first}")
    assert (one["paths"], {*one["paths_base64"]}) == ([], {b64(LATIN), b64(b"new\xff"), b64(BROKEN)})
    of_path = {"path": b64(LATIN), "encoding": "base64"}
    assert [each["id"] for each in walk(api, "/changesets", **of_path)] == [second, first]
    assert [each["changeset"] for each in walk(api, "/history", **of_path) if "changeset" in each] == [second, first]
    up, *_ = walk(api, "/history", prefix=b64(b"na\xefve/"), encoding="base64")
    assert (up["changeset"], up["change"]) == (second, "deleted")
    spans = api.get("/blame", **of_path)["items"]
    assert [(span["start"], span["changeset"]) for span in spans if "changeset" in span] == [(4, first)]
    diff = {
        each.get("path") or b64decode(each["path_base64"]): each for each in walk(api, f"/changesets/{second}/diff")
    }
    assert diff[b"moved/\xfe"]["status"] == "renamed" and b64decode(diff[b"moved/\xfe"]["from_base64"]) == DEEP
    changed = {b64decode(each["path_base64"]): each["change"] for each in walk(api, f"/commits/{one['commit']}")}
    assert changed == {LATIN: "modified", b"new\xff": "added", BROKEN: "deleted"}
    [act, *_] = api.get("/slices", **of_path)["items"]
    assert act["name"] == "all"
    entries = [decode(api.world.repo.log.read(n) or b"") for n in range(2, api.world.repo.view.head().applied + 1)]  # type: ignore[arg-type]
    assert {entry.format for entry in entries if isinstance(entry, Commits)} == {GIT_FORMAT}
    assert verify(api.world.repo).differences == [] and not deep(api.world.repo.settings).difference


def test_who_waits_at_such_a_path_is_told_and_claims_above_it_are(api: Api) -> None:
    queued = api.submit(base=api.tip, changes=[put(LATIN, "1\n")])
    shown = api.http.get(f"/v1/paths/{in_url(LATIN)}").get_json(force=True)
    assert b64decode(shown["path_base64"]) == LATIN and "path" not in shown
    assert [each["id"] for each in shown["queued"]] == [queued["id"]] and shown["complete"]
    assert [each["id"] for each in walk(api, "/changesets", path=b64(LATIN), encoding="base64", status="queued")] == [
        queued["id"]
    ]
    api.post("/claims", {"paths": ["docs/"], "intent": "tidy"}, 201)
    inside = {"path": b64(b"docs/\xff"), "encoding": "base64"}
    assert [each["paths"] for each in api.get("/claims", **inside)["items"]] == [["docs/"]]
    accepted = api.submit(base=api.tip, changes=[put(b"docs/\xff", "1\n")])
    assert [each["paths"] for each in accepted["claims"]] == [["docs/"]]


def conflicted(api: Api, path: bytes) -> str:
    """Have two changesets change the fifth line of a file; return the one that conflicts."""
    base = api.tip
    land(api, put(path, edit(5, "head")))
    late = api.submit(base=base, changes=[put(path, edit(5, "late")), put(b"beside\xff", "1\n")])
    api.world.work()
    assert status(api, late["id"]) == "conflicted"
    return str(late["id"])


def test_a_conflict_is_told_explained_and_resolved_by_bytes(api: Api) -> None:
    late = conflicted(api, LATIN)
    [told] = api.get(f"/changesets/{late}")["conflicts"]
    assert b64decode(told["path_base64"]) == LATIN and "path" not in told
    assert [each["id"] for each in walk(api, "/conflicts", path=b64(LATIN), encoding="base64")] == [late]
    [explained] = walk(api, f"/changesets/{late}/conflicts")
    assert b64decode(explained["path_base64"]) == LATIN and explained["hunks"][0]["ours"]["lines"] == ["head"]
    side = api.http.get(f"/v1/changesets/{late}/conflicts/submitted/{in_url(LATIN)}")
    assert side.data == edit(5, "late").encode()
    for body, field in (
        ({"paths": {"other": {"take": "ours"}}}, "paths.other"),
        ({"paths_base64": {b64(b"\xfe"): {"take": "ours"}}}, "paths_base64." + b64(b"\xfe")),
        ({"paths": {"README": {"take": "ours"}}}, "paths.README"),
    ):
        refused = api.post(f"/changesets/{late}/resolve", body, 422).get_json(force=True)
        assert refused["errors"][0]["field"] == field
    body = {"paths_base64": {b64(LATIN): {"content": edit(5, "both")}}}
    made = api.post(f"/changesets/{late}/resolve", body, 202).get_json(force=True)
    api.world.work()
    assert status(api, made["id"]) == "landed" and files(api)[LATIN] == edit(5, "both").encode()
    assert files(api)[b"beside\xff"] == b"1\n" and not api.get("/conflicts")["items"]
    stream, told_all = api.http.get("/v1/events?after=0", buffered=False), b""
    for piece in stream.iter_encoded():
        told_all += piece
        if b'"status":"conflicted"' in told_all:
            break
    stream.close()
    line = next(each for each in told_all.splitlines() if b'"status":"conflicted"' in each)
    event = json.loads(line.removeprefix(b"data: "))
    assert (event["conflicts"], event["conflicts_base64"]) == ([], [b64(LATIN)])
    assert not deep(api.world.repo.settings).difference


def test_a_file_in_the_place_of_a_directory_is_named(api: Api) -> None:
    base = api.tip
    land(api, put(b"folder/\xe9", "1\n"))
    late = api.submit(base=base, changes=[{"op": "put", "path": "folder", "content": "x"}])
    by_versions = api.submit(changes=[put(b"folder/\xe9/below", "x", base=None)])
    api.world.work()
    [told] = api.get(f"/changesets/{late['id']}")["conflicts"]
    assert (told["path"], b64decode(told["blocker_base64"])) == ("folder", b"folder/\xe9")
    [told] = api.get(f"/changesets/{by_versions['id']}")["conflicts"]
    assert {b64decode(told[name]) for name in ("path_base64", "blocker_base64")} == {
        b"folder/\xe9/below",
        b"folder/\xe9",
    }
    body = {"paths_base64": {told["path_base64"]: {"take": "theirs"}}}
    api.post(f"/changesets/{by_versions['id']}/resolve", body, 202)
    api.world.work()
    assert files(api)[b"folder/\xe9/below"] == b"x" and b"folder/\xe9" not in files(api)
    rejected = api.submit(base=api.tip, changes=[put(b"folder/\xe9/below/\xff", "x")])
    api.world.work()
    shown = api.get(f"/changesets/{rejected['id']}")
    assert shown["status"] == "rejected" and "folder/\\xe9/below" in shown["detail"]


def test_an_edit_follows_a_move_and_is_checked_rebased_and_reverted(api: Api) -> None:
    base = api.tip
    land(api, {"op": "move", "from_base64": b64(LATIN), "path_base64": b64(b"to/\xe9")})
    would = api.post(
        "/slices/all/check", {"base": base, "message": "m", "changes": [put(LATIN, edit(7, "late"))]}, 200
    ).get_json(force=True)
    [followed] = would["followed"]
    assert (b64decode(followed["path_base64"]), b64decode(followed["to_base64"])) == (LATIN, b"to/\xe9")
    late = land(api, put(LATIN, edit(7, "late")), base=base)
    assert files(api)[b"to/\xe9"] == edit(7, "late").encode() and LATIN not in files(api)
    two = api.post(
        "/slices/all/check", {"base": base, "message": "m", "changes": [put(LATIN, edit(12, "more"))]}, 200
    ).get_json(force=True)
    assert two["merged_base64"] == [b64(b"to/\xe9")]
    held = api.submit(base=base, changes=[put(LATIN, edit(12, "more"))], hold=True)
    rebased = api.post(f"/changesets/{held['id']}/rebase", None, 202).get_json(force=True)
    api.post(f"/changesets/{rebased['id']}/release", None, 200)
    api.world.work()
    assert files(api)[b"to/\xe9"] == edit(12, "more", edit(7, "late")).encode()
    api.post(f"/changesets/{late}/revert", None, 202, Idempotency_Key="k")
    api.world.work()
    assert files(api)[b"to/\xe9"] == edit(12, "more").encode()
    assert not deep(api.world.repo.settings).difference


def test_a_repeat_is_known_by_the_bytes_of_its_paths(api: Api) -> None:
    made = api.submit(key="k", base=api.tip, changes=[put(b"\xe9", "1\n")])
    assert api.submit(key="k", base=api.tip, changes=[put(b"\xe9", "1\n")])["id"] == made["id"]
    for other in (
        put(b"\xea", "1\n"),
        {"op": "put", "path": "é", "content": "1\n"},
        {"op": "put", "path": "\\xe9", "content": "1\n"},
    ):
        assert api.submit(422, key="k", base=api.tip, changes=[other])["type"].endswith("key-reused")


def test_while_an_older_node_is_at_work_none_is_taken(api: Api) -> None:
    nodes, base = api.world.repo.nodes, api.tip
    queued = api.submit(base=base, changes=[put(LATIN, "1\n")])["id"]
    old = Node("commits@old", ("commits",), 1, reads=GIT_FORMAT - 1)
    nodes.say(old)
    other = api.another()
    refused = other.submit(503, base=base, changes=[put(DEEP, "1\n")])
    assert "older version" in refused["detail"]
    plain = other.submit(base=base, changes=[{"op": "put", "path": "docs/ü", "content": "1\n"}])["id"]
    other.world.work()
    assert (status(api, queued), status(api, plain)) == ("queued", "landed"), "older workers cannot read its entry"
    nodes.say(old, at_work=False)
    api.another().world.work()
    assert status(api, queued) == "landed"


def test_rights_are_judged_by_the_bytes(settings: Settings, unsent: SimpleQueue[str], tmp_path: Path) -> None:
    root = secured(settings, imported(settings, tmp_path).world)
    land(root, put(b"docs/\xe9", LINES), put(b"secret/\xe9", "hidden\n"))
    root.post("/slices", {"name": "docs", "paths": ["docs/"]}, 201)
    grants(root, "agent:a writer docs/")
    agent = principal(root, "agent:a")
    tip = agent.get("/head")["tip"]["commit"]
    made = agent.submit(where="docs", base=tip, changes=[put(b"docs/\xe9", edit(1, "x"))])
    root.world.work()
    assert agent.get(f"/changesets/{made['id']}")["paths_base64"] == [b64(b"docs/\xe9")]
    hidden, in_query = in_url(b"secret/\xe9"), urlencode({"path": b64(b"secret/\xe9"), "encoding": "base64"})
    for at in (f"slices/docs/files/{hidden}", f"paths/{hidden}", f"history?{in_query}", f"blame?{in_query}"):
        answer = agent.http.get(f"/v1/{at}")
        assert answer.status_code == 404 and b"hidden" not in answer.data, at
    wanted = {"paths_base64": [b64(b"secret/\xe9"), b64(b"docs/\xe9")]}
    answer = agent.post("/slices/docs/files", wanted, 200).get_json(force=True)
    assert answer["missing_base64"] == [b64(b"secret/\xe9")] and len(answer["files"]) == 1
    # Names that some reader of UTF-8 would take for one below docs/.
    for path in (b"secret/\xe9", b"doc\xf3/x", b"docs\xff/x", b"\xffdocs/x"):
        refused = agent.submit(422, where="docs", base=tip, changes=[put(path, "x")])
        assert refused["errors"][0]["field"] == "changes[0].path_base64"
        assert "not in the slice" in refused["errors"][0]["message"]
    grants(root, "agent:a writer docs/", "agent:a reader /")
    refused = agent.submit(403, base=tip, changes=[put(b"secret/\xe9", "x")])
    assert refused["path"] == "secret/\\xe9"
