"""Tags over the API: made, listed, moved, deleted, by whom; and what Git finds of them in an export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from app.admin.export import export
from app.admin.verify import verify
from storage.base.settings import Settings
from storage.coordination import Node
from storage.maintenance.rebuild import rebuild
from storage.operations.tags import tag_of
from storage.view.tags import next_tags, tags_of
from tests.support.api import Api, Json, walk
from tests.support.compaction import aged_world, compacted
from tests.support.git_repository import GitRepository
from tests.support.principals import grants, principal, secured


@pytest.fixture
def root(settings: Settings, unsent: object) -> Api:
    made = secured(settings)
    made.put("a", "1\n")
    made.put("b", "2\n")
    made.world.work()
    return made


def put(api: Api, name: str, commit: str, status: int, seen: str | None = None, **more: Any) -> Json:
    headers = {"If-Match": seen if seen == "*" else f'"{seen}"'} if seen else {}
    answer: TestResponse = api.http.put(f"/v1/tags/{name}", json={"commit": commit, **more}, headers=headers)
    assert answer.status_code == status, answer.data
    return answer.get_json(force=True)


def delete(api: Api, name: str, status: int, seen: str | None = None) -> None:
    headers = {"If-Match": f'"{seen}"'} if seen else {}
    assert api.http.delete(f"/v1/tags/{name}", headers=headers).status_code == status


def heads(api: Api) -> tuple[str, str]:
    head = api.get("/head")
    return head["main"]["commit"], head["tip"]["commit"]


def test_a_tag_is_what_git_tag_makes_of_the_same(root: Api, tmp_path: Path) -> None:
    main, tip = heads(root)
    grants(root, "user:ada maintainer /", people={"user:ada": {"name": "Ada Ä", "emails": ["ada@example.org"]}})
    ada = principal(root, "user:ada")
    light = put(ada, "light", tip, 201)
    assert (light["id"], light["commit"], light["annotated"], light["message"]) == (tip, tip, False, None)
    made = put(ada, "rel/v1.0-ü", main, 201, message="The first\n\nSo it begins.")
    assert made["commit"] == main and made["annotated"] and made["tagger"] == {
        "name": "Ada Ä", "email": "ada@example.org"}  # fmt: skip
    exported = tmp_path / "export.git"
    export(ada.world.repo.settings, exported)
    clone = GitRepository(tmp_path / "clone")
    clone.git("fetch", "--quiet", str(exported), "main:there", "refs/tags/*:refs/tags/*")
    clone.git("fsck", "--strict")
    assert clone.git("rev-parse", "light", "rel/v1.0-ü") == f"{tip}\n{made['id']}"
    seconds = clone.git("for-each-ref", "--format=%(taggerdate:unix)", "refs/tags/rel/v1.0-ü")
    clone.git("tag", "-d", "rel/v1.0-ü")
    clone.git(
        "tag", "-a", "rel/v1.0-ü", "-m", "The first\n\nSo it begins.", main,
        environ={
            "GIT_COMMITTER_NAME": "Ada Ä",
            "GIT_COMMITTER_EMAIL": "ada@example.org",
            "GIT_COMMITTER_DATE": f"{seconds} +0000",
        },
    )  # fmt: skip
    assert clone.git("rev-parse", "rel/v1.0-ü") == made["id"]
    assert verify(ada.world.repo).differences == []


def test_tags_are_listed_by_name_and_shown(root: Api) -> None:
    main, tip = heads(root)
    names = ["b/2", "a", "b/10", "ü", "Z"]
    for name in names:
        put(root, name, tip, 201, **({"message": "m"} if name == "a" else {}))
    assert [tag["name"] for tag in walk(root, "/tags")] == sorted(names, key=str.encode)
    shown = root.http.get("/v1/tags/b%2F10")
    assert shown.get_json()["commit"] == tip and shown.headers["ETag"] == f'"{tip}"'
    assert root.get("/tags/none", 404)["type"].endswith("not-found")
    assert main != tip


def test_a_tag_moves_only_where_its_writer_says_so(root: Api) -> None:
    main, tip = heads(root)
    put(root, "v1", main, 201)
    put(root, "v1", main, 200)
    assert put(root, "v1", tip, 409)["id"] == main
    assert put(root, "v1", tip, 412, seen=tip)["id"] == main
    assert put(root, "v1", tip, 200, seen=main)["commit"] == tip
    first = put(root, "v1", tip, 200, seen="*", message="said")
    assert put(root, "v1", tip, 200, message="said") == first, "a repeat is the tag of the first time"
    assert put(root, "v1", tip, 409, message="otherwise")["id"] == first["id"]
    assert put(root, "v2", tip, 412, seen=main)["id"] is None
    delete(root, "v1", 412, seen=tip)
    delete(root, "v1", 204, seen=first["id"])
    delete(root, "v1", 404)
    assert [row["action"] for row in root.get("/audit", action="tag")["items"]] == [
        "tag.delete", "tag.move", "tag.move", "tag.create"]  # fmt: skip
    oldest = root.get("/audit", action="tag.move", order="oldest")["items"][0]
    assert (oldest["name"], oldest["object"], oldest["was"]) == ("v1", tip, main)


@pytest.mark.parametrize(
    "name",
    ["-a", "HEAD", "@", "a..b", "a.lock", "a%20b", "a~1", ".a", "a%2F", "a%2F%2Fb", "a@%7B", "a" * 201, "0" * 40],
)
def test_what_git_takes_for_no_tag_is_refused(root: Api, name: str) -> None:
    answer = root.http.put(f"/v1/tags/{name}", json={"commit": root.tip})
    assert answer.status_code == 422 and answer.get_json(force=True)["errors"][0]["field"] == "tag", answer.data


@pytest.mark.parametrize("seen", ["", '"v1"', f'W/"{"1" * 40}"', f'"{"1" * 40}", "{"2" * 40}"', "1" * 39])
def test_what_is_no_id_that_was_seen_is_refused(root: Api, seen: str) -> None:
    for method, body in (("PUT", {"commit": root.tip}), ("DELETE", None)):
        answer = root.http.open("/v1/tags/v1", method=method, json=body, headers={"If-Match": seen})
        assert answer.status_code == 422 and answer.get_json(force=True)["errors"][0]["field"] == "If-Match", (
            answer.data
        )


def test_names_collide_as_refs_do(root: Api) -> None:
    put(root, "a/b", root.tip, 201)
    for name in ("a", "a/b/c"):
        assert "a/b" in put(root, name, root.tip, 409)["detail"]
    put(root, "a-", root.tip, 201)
    put(root, "a/c", root.tip, 201)


@pytest.mark.parametrize("what", ["tree", "blob", "tag", "none"])
def test_only_a_commit_of_the_repository_is_tagged(root: Api, what: str) -> None:
    ids = {
        "tree": root.get("/head")["main"]["tree"],
        "blob": root.get("/slices/all/tree")["items"][0]["id"],
        "tag": put(root, "there", root.tip, 201, message="m")["id"],
        "none": "1" * 40,
    }
    answer = put(root, "v1", ids[what], 422)
    assert answer["errors"] == [{"field": "commit", "message": f"{ids[what]} is no commit of this repository"}]


@pytest.mark.parametrize("message", ["", "\n", "a\0b"])
def test_a_message_that_git_refuses_is_refused(root: Api, message: str) -> None:
    assert put(root, "v1", root.tip, 422, message=message)["errors"][0]["field"] == "message"


def test_readers_of_everything_see_tags_and_maintainers_of_everything_make_them(root: Api) -> None:
    put(root, "v1", root.tip, 201, message="m")
    grants(root, "user:reader reader /", "user:writer writer /", "user:part maintainer a", "user:maker maintainer /")
    reader, writer, part, maker = (principal(root, f"user:{name}") for name in ("reader", "writer", "part", "maker"))
    for api in (reader, writer):
        assert [tag["name"] for tag in api.get("/tags")["items"]] == ["v1"]
        assert put(api, "v2", root.tip, 403)["role"] == "maintainer"
        delete(api, "v1", 403)
    for at in ("/tags", "/tags/v1", "/tags/none"):
        assert part.get(at, 403)["path"] == "/"
    put(maker, "v2", root.tip, 201)
    delete(maker, "v1", 204)


def test_tags_are_not_written_while_a_node_is_at_work_that_cannot_read_them(root: Api) -> None:
    repo = root.world.repo
    repo.nodes.say(Node("old@host", ("commits",), 1, reads=4))
    assert root.http.put("/v1/tags/v1", json={"commit": root.tip}).status_code == 503
    assert root.get("/tags")["items"] == []


def test_they_survive_compactions_checkpoints_and_the_loss_of_the_view(root: Api) -> None:
    tip = root.tip
    made = [put(root, "v1", tip, 201, message="kept"), put(root, "v0", tip, 201)]
    put(root, "gone", root.tip, 201)
    delete(root, "gone", 204)
    root.put("c", "3\n")
    root.world.work()
    assert compacted(aged_world(root.world))
    repo = root.world.repo
    rebuild(repo, repo.view.epoch(), lambda _: None)
    again = root.world.reopened().repo
    assert next_tags(again.view, "", 10) == [
        (tag["name"], bytes.fromhex(tag["id"])) for tag in sorted(made, key=lambda tag: tag["name"])
    ]
    shown = tag_of(again, "v1", tags_of(again.view, ["v1"])["v1"])
    assert shown.of and shown.of.message == "kept\n" and shown.commit and shown.commit.hex() == tip
    assert verify(again).differences == []


def test_a_tag_that_the_view_has_otherwise_is_found(root: Api) -> None:
    put(root, "v1", root.tip, 201)
    repo = root.world.repo
    repo.redis.hset(repo.view.key("tags"), "v1", "1" * 40)
    [difference] = verify(repo, with_git=False).differences
    assert difference.startswith("view: tags 'v1' is '" + "1" * 40)
