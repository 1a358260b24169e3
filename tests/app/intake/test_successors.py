"""Changesets that take the place of another: nothing that others did is undone, and nothing is said that is not so."""

from __future__ import annotations

import base64
import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from storage.base.ids import ChangesetId, ObjectId
from storage.git.objects import Kind, object_id
from storage.git.trees import lookup
from storage.log.manifest import Changeset
from storage.log.records import Actor, Status
from storage.lookup.object_store import ObjectMissing
from storage.operations.lifecycle import abandon, release
from storage.queue.submission_packs import read_changesets
from storage.repository import Repository
from tasks.upkeep import run as run_upkeep
from tests.support.api import Api, Json
from tests.support.collisions import LINES, collide_on, edit, landed, put, status, text

NEVER_STORED = "12" * 20


def repo_of(api: Api) -> Repository:
    """Return the repository of the app itself."""
    return api.http.application.extensions["sluice"].repo


def mode_of(api: Api, path: str) -> str:
    root = ObjectId(bytes.fromhex(api.world.repo.view.head().root))
    version = lookup(api.world.repo.objects.tree, root, path.encode())
    assert version is not None
    return f"{version.mode:06o}"


def chmod(path: str, mode: str = "100755", **more: str) -> Json:
    return {"op": "mode", "path": path, "mode": mode, **more}


def late_conflict(api: Api, base: str, *more: Json, path: str = "f") -> Json:
    """Have a changeset conflict on `path` that changes more beside it."""
    api.submit(base=base, changes=[put(path, edit(5, "head"))])
    late = api.submit(base=base, changes=[put(path, edit(5, "late")), *more])
    api.world.work()
    assert status(api, late) == "conflicted"
    return late


def resolve(api: Api, changeset: Json, paths: Mapping[str, Any], expected: int = 202, **headers: str) -> Json:
    answer = api.post(f"/changesets/{changeset['id']}/resolve", {"paths": paths}, expected, **headers)
    return answer.get_json(force=True)


def rebase(api: Api, changeset: Json, expected: int = 202, **headers: str) -> Json:
    return api.post(f"/changesets/{changeset['id']}/rebase", None, expected, **headers).get_json(force=True)


def stored(api: Api, changeset: Json) -> Changeset:
    """Return what a changeset that waits says in its pack."""
    _, [state] = api.world.repo.queue.states([changeset["id"]])
    assert state.pack is not None
    return read_changesets(api.world.repo.archive, api.world.repo.queue, [(changeset["id"], state.pack)])[0]


def test_a_resolution_leaves_the_modes_of_paths_that_are_not_in_conflict(api: Api) -> None:
    base = landed(api, f=LINES, tool="1\n", own="1\n")
    api.submit(base=base, changes=[chmod("tool")])
    late = late_conflict(api, base, put("tool", "2\n"), chmod("own"))
    api.submit(base=api.tip, changes=[put("own", "2\n")])
    made = resolve(api, late, {"f": {"take": "theirs"}})
    api.world.work()
    assert status(api, made) == "landed"
    assert (mode_of(api, "tool"), text(api, "tool")) == ("100755", "2\n")
    assert (mode_of(api, "own"), text(api, "own")) == ("100755", "2\n")


def test_a_resolution_notices_that_a_kind_moved_though_the_bytes_did_not(api: Api) -> None:
    base = landed(api, f=LINES, s="target")
    late = late_conflict(api, base, put("s", "mine\n"))
    api.submit(base=api.tip, changes=[put("s", "target") | {"mode": "120000"}])
    api.world.work()
    made = resolve(api, late, {"f": {"take": "theirs"}})
    api.world.work()
    assert status(api, made) == "conflicted" and mode_of(api, "s") == "120000"


@pytest.mark.parametrize(
    ("head", "submitted", "mode"), [("100755", "100644", "100755"), ("100644", "100755", "100755")]
)
def test_a_content_without_a_mode_takes_that_of_the_side_which_moved_it(
    api: Api, head: str, submitted: str, mode: str
) -> None:
    base = landed(api, f=LINES)
    for side, its in (("head", head), ("late", submitted)):
        late = api.submit(base=base, changes=[put("f", edit(5, side)) | {"mode": its}])
    api.world.work()
    resolve(api, late, {"f": {"content": "by hand\n"}})
    api.world.work()
    assert (text(api, "f"), mode_of(api, "f")) == ("by hand\n", mode)


def test_a_mode_that_moves_behind_a_resolution_stays(api: Api) -> None:
    found = collide_on(api)
    api.submit(base=api.tip, changes=[chmod("f")])
    api.world.work()
    made = resolve(api, found, {"f": {"content": "by hand\n"}})
    api.world.work()
    assert status(api, made) == "landed" and mode_of(api, "f") == "100755"


@pytest.mark.parametrize(("strategy", "expected"), [("exact", "conflicted"), ("ours", "landed"), ("merge", "landed")])
def test_a_rebase_keeps_each_changes_strategy(api: Api, strategy: str, expected: str) -> None:
    base = landed(api, f=LINES)
    mine = put("f", edit(5, "mine")) | {"strategy": strategy}
    made = rebase(api, api.submit(base=base, changes=[mine], hold=True))
    api.submit(base=base, changes=[put("f", edit(15, "other"))])
    api.world.work()
    api.post(f"/changesets/{made['id']}/release", None, 200)
    api.world.work()
    assert status(api, made) == expected and ("mine" in text(api, "f")) is (strategy == "merge")


def test_what_is_kept_stands_in_the_way_of_what_is_below_it(api: Api) -> None:
    base = landed(api, d="1\n", keep="1\n")
    api.submit(base=base, changes=[put("d", "2\n")])
    late = api.submit(base=base, changes=[put("d/x", "x\n"), {"op": "delete", "path": "d"}])
    api.world.work()
    refused = resolve(api, late, {"d": {"take": "ours"}, "d/x": {"take": "theirs"}}, 422)
    assert refused["errors"][0]["field"] == "paths.d/x" and " d, " in refused["errors"][0]["message"]
    refused = resolve(api, late, {"d": {"content": "3\n"}, "d/x": {"content": "x\n"}}, 422)
    assert refused["errors"][0]["field"] == "paths.d/x"
    made = resolve(api, late, {"d": {"take": "theirs"}, "d/x": {"take": "theirs"}})
    assert [each.path for each in stored(api, made).changes] == [b"d/x", b"d"], "no path twice"
    api.world.work()
    assert status(api, made) == "landed" and api.world.files() == {"d/x": b"x\n", "keep": b"1\n"}


def test_a_file_in_the_way_goes_though_its_own_change_would_keep_it(api: Api) -> None:
    base = landed(api, d="1\n", keep="1\n")
    api.submit(base=base, changes=[put("d", "2\n")])
    leaves = {"op": "delete", "path": "d", "strategy": "ours"}
    late = api.submit(base=base, changes=[leaves, put("d/x", "x\n")])
    api.world.work()
    made = resolve(api, late, {"d/x": {"take": "theirs"}})
    assert sorted(each.path for each in stored(api, made).changes) == [b"d", b"d/x"]
    api.world.work()
    assert api.world.files() == {"d/x": b"x\n", "keep": b"1\n"}


def test_a_resolution_cannot_hold_files_that_are_in_each_others_way(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    found = collide_on(api)
    monkeypatch.setattr(
        "app.intake.successors.in_each_others_way", lambda changes: iter([(len(changes) - 1, "cannot be")])
    )
    assert resolve(api, found, {"f": {"take": "theirs"}}, 422)["errors"][0]["field"] == "paths.other"


def test_a_file_in_the_way_outside_the_slice_is_named(api: Api) -> None:
    api.post("/slices", {"name": "below", "paths": ["d/"]}, 201)
    base = landed(api, keep="1\n")
    api.submit(base=base, changes=[put("d", "a file")])
    late = api.submit(where="below", base=base, changes=[put("d/x", "1")])
    api.world.work()
    assert status(api, late) == "conflicted"
    refused = resolve(api, late, {"d/x": {"take": "theirs"}}, 422)
    assert refused["errors"] == [{"field": "paths.d/x", "message": "d is in its way, and not in the slice below"}]


def test_a_held_changeset_that_cannot_be_rebased_now_stays_held(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    held = api.submit(base=api.tip, changes=[put("a", "1")], hold=True)
    with monkeypatch.context() as full:
        full.setattr(repo_of(api), "settings", dataclasses.replace(api.world.repo.settings, max_queued=0))
        rebase(api, held, 429)
    assert status(api, held) == "held"


def test_a_release_is_not_lost_to_a_rebase(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    held = api.submit(base=api.tip, changes=[put("a", "1")], hold=True)

    def released_before(repo: Any, changeset: ChangesetId, actor: Actor | None, only_held: bool) -> None:
        release(api.world.repo, changeset)
        abandon(repo, changeset, actor, only_held=only_held)

    with monkeypatch.context() as between:
        between.setattr("app.routes.lifecycle.abandon", released_before)
        assert rebase(api, held, 409)["detail"] == "it is queued", "as it is by then"
    assert status(api, held) == "queued"
    api.world.work()
    assert status(api, held) == "landed"


def big(api: Api, count: int) -> list[str]:
    names = [f"big{i}" for i in range(count)]
    for name in names:
        content = base64.b64encode(os.urandom(100_000)).decode()
        api.submit(base=api.tip, changes=[{"op": "put", "path": name, "content_base64": content}])
    api.world.work()
    return names


def test_a_change_of_mode_copies_no_content(api: Api) -> None:
    names, base = big(api, 3), landed(api, f=LINES)
    held = api.submit(base=base, changes=[chmod(name) for name in names], hold=True)
    made = rebase(api, held)
    assert {(each.op, each.oid, each.range) for each in stored(api, made).changes} == {("mode", None, None)}
    late = late_conflict(api, base, *(chmod(name) for name in names))
    resolved = stored(api, resolve(api, late, {"f": {"take": "theirs"}}))
    assert {each.op for each in resolved.changes if each.path != b"f"} == {"mode"}
    api.post(f"/changesets/{made['id']}/release", None, 200)
    api.world.work()
    assert {mode_of(api, name) for name in names} == {"100755"}


def test_taking_a_mode_in_conflict_with_a_symlink_restores_the_file(api: Api) -> None:
    base = landed(api, f="1\n")
    api.submit(base=base, changes=[put("f", "1\n") | {"mode": "120000"}])
    late = api.submit(base=base, changes=[chmod("f")])
    api.world.work()
    assert status(api, late) == "conflicted"
    made = resolve(api, late, {"f": {"take": "theirs"}})
    assert [each.op for each in stored(api, made).changes] == ["put"], "a mode alone is never a symlink's"
    api.world.work()
    assert status(api, made) == "landed" and mode_of(api, "f") == "100755" and text(api, "f") == "1\n"


@pytest.mark.parametrize("mode", ["100644", "120000"])
def test_the_writer_decides_whether_content_is_a_file_or_a_symlink(api: Api, mode: str) -> None:
    base = landed(api, f="1\n")
    api.submit(base=base, changes=[put("f", "target") | {"mode": "120000"}])
    late = api.submit(base=base, changes=[put("f", "2\n")])
    api.world.work()
    refused = resolve(api, late, {"f": {"content": "3"}}, 422)
    assert refused["errors"][0]["field"] == "paths.f.mode"
    made = resolve(api, late, {"f": {"content": "3", "mode": mode}})
    api.world.work()
    assert status(api, made) == "landed" and (mode_of(api, "f"), text(api, "f")) == (mode, "3")


@pytest.mark.parametrize("kind", ["symlink", "submodule"])
@pytest.mark.parametrize("base", ["commit", "stack", "versions"])
def test_the_mode_of_what_is_no_regular_file_cannot_change(api: Api, kind: str, base: str) -> None:
    is_link = kind == "symlink"
    made_so = put("f", "target") | {"mode": "120000"} if is_link else put("f", "") | {"mode": "160000"}
    if not is_link:
        made_so = {name: value for name, value in made_so.items() if name != "content"} | {"id": "1" * 40}
    made = api.submit(base=api.tip, changes=[made_so])
    if base != "stack":
        api.world.work()
    seen = {"base": api.tip if base == "commit" else made["id"]} if base != "versions" else {}
    oid = object_id(Kind.BLOB, b"target").hex() if is_link else "1" * 40
    body = seen | {"changes": [chmod("f", base=oid) if base == "versions" else chmod("f")]}
    late = api.submit(**body)
    if base != "stack":
        checked = api.post("/slices/all/check", {"message": "m", **body}, 200).get_json()
        assert (checked["would"], checked["reason"]) == ("reject", "missing-file")
    api.world.work()
    found = api.get(f"/changesets/{late['id']}")
    assert (found["status"], found["reason"]) == ("rejected", "missing-file")
    assert found["detail"] == f"f is a {kind} in the base, so its mode cannot change"
    assert mode_of(api, "f") == ("120000" if is_link else "160000")


def test_a_held_change_of_a_symlinks_mode_cannot_be_rebased(api: Api) -> None:
    api.submit(base=api.tip, changes=[put("f", "target") | {"mode": "120000"}])
    api.world.work()
    held = api.submit(base=api.tip, changes=[chmod("f")], hold=True)
    refused = rebase(api, held, 409)
    assert refused["reason"] == "missing-file" and "symlink" in refused["detail"]
    assert status(api, held) == "held"


def test_an_accepted_mode_change_of_a_symlink_is_not_resolved_into_a_file(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = landed(api, f=LINES)
    api.submit(base=base, changes=[put("s", "target") | {"mode": "120000"}])
    api.world.work()
    base = api.tip
    with monkeypatch.context() as before:
        before.setattr("storage.commit.decide.why_no_mode", lambda change, seen: None)
        late = late_conflict(api, base, chmod("s"))
    refused = resolve(api, late, {"f": {"take": "theirs"}}, 409)
    assert refused["detail"] == "s is a symlink in the base, so its mode cannot change"


@pytest.mark.parametrize("verb", ["rebase", "resolve"])
def test_what_a_successor_copies_is_bounded(api: Api, verb: str) -> None:
    names, base = big(api, 3), landed(api, f=LINES)
    root = ObjectId(bytes.fromhex(api.world.repo.view.head().root))
    found = {name: lookup(api.world.repo.objects.tree, root, name.encode()) for name in names}
    copies = [
        {"op": "put", "path": f"copy/{name}", "id": version.oid.hex()} for name, version in found.items() if version
    ]
    late = late_conflict(api, base, *copies)
    held = api.submit(base=base, changes=copies, hold=True)
    repo = repo_of(api)
    repo.settings = dataclasses.replace(repo.settings, max_body_bytes=250_000)
    refused = rebase(api, held, 413) if verb == "rebase" else resolve(api, late, {"f": {"take": "theirs"}}, 413)
    assert "max_body_bytes" in refused["detail"] and status(api, held) == "held"


def test_what_was_never_stored_cannot_be_taken(api: Api) -> None:
    landed(api, f="1\n", g="1\n")
    api.submit(base=api.tip, changes=[{"op": "delete", "path": "f"}])
    api.world.work()
    late = api.submit(changes=[chmod("f", base=NEVER_STORED)])
    api.world.work()
    refused = resolve(api, late, {"f": {"take": "theirs"}}, 422)
    assert refused["errors"] == [{"field": "paths.f", "message": "has a content that is not stored here"}]
    held = api.submit(changes=[chmod("g", base=NEVER_STORED)], hold=True)
    made = rebase(api, held)
    assert [each.op for each in stored(api, made).changes] == ["mode"]


def test_a_rebase_of_what_was_never_stored_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    held = api.submit(base=api.tip, changes=[put("g", "1\n")], hold=True)

    def missing(self: object, oid: ObjectId) -> bytes:
        raise ObjectMissing(oid.hex())

    monkeypatch.setattr("storage.operations.rebase.Remerge.content", missing)
    assert "not stored" in rebase(api, held, 409)["detail"]
    assert status(api, held) == "held"


def dying(monkeypatch: pytest.MonkeyPatch, call: Callable[[], Any]) -> None:
    """Call as one who dies once the log has it."""
    with monkeypatch.context() as context:
        context.setattr("storage.queue.queue.Queue.drop_decided", lambda *args: pytest.fail("died"))
        with pytest.raises(pytest.fail.Exception):
            call()


@pytest.mark.parametrize("repeat", [True, False])
def test_what_was_abandoned_by_one_who_died_is_held_no_longer(
    api: Api, monkeypatch: pytest.MonkeyPatch, repeat: bool
) -> None:
    held = api.submit(base=api.tip, changes=[put("a", "1")], hold=True)
    stays = api.submit(base=api.tip, changes=[put("b", "1")], hold=True)
    dying(monkeypatch, lambda: abandon(api.world.repo, held["id"]))
    if repeat:
        api.post(f"/changesets/{held['id']}/abandon", None, 200)
    else:
        run_upkeep(api.world.repo)
    assert [each["id"] for each in api.get("/slices/all/changesets", status="held")["items"]] == [stays["id"]]
    assert api.world.repo.queue.admit([], [], []).held == 1
    assert api.world.repo.queue.wanting(b"a", "", 10) == []


def test_what_was_committed_before_redis_came_back_older_is_held_no_longer(api: Api) -> None:
    repo = api.world.repo
    held = api.submit(base=api.tip, changes=[put("a", "1")], hold=True)
    escaped = repo.view.prefix.replace("{", "[{]").replace("}", "[}]")
    before = {key: repo.redis.dump(key) for key in repo.redis.scan_iter(escaped + "*")}
    api.post(f"/changesets/{held['id']}/release", None, 200)
    api.world.work()
    repo.redis.delete(*repo.redis.scan_iter(escaped + "*"))
    for key, value in before.items():
        repo.redis.restore(key, 0, value)
    run_upkeep(repo)
    assert status(api, held) == "landed"
    assert api.get("/slices/all/changesets", status="held")["items"] == [] and repo.queue.held("", 10) == []


@pytest.mark.parametrize("verb", ["rebase", "resolve"])
def test_a_successor_that_came_to_nothing_blocks_no_other(api: Api, verb: str) -> None:
    found = collide_on(api)
    if verb == "rebase":
        api.submit(base=api.tip, changes=[put("f", edit(15, "elsewhere"))])
        api.world.work()
    take: Callable[[str], Json] = lambda side: (  # noqa: E731
        rebase(api, found) if verb == "rebase" else resolve(api, found, {"f": {"take": side}})
    )
    first = take("theirs")
    assert take("theirs") == first
    api.post(f"/changesets/{first['id']}/abandon", None, 200)
    second = take("ours")
    assert second["id"] != first["id"] and second["status"] == "queued" and take("ours") == second
    api.world.work()
    assert status(api, second) == "landed" and api.get(f"/changesets/{found['id']}")["closed_by"] == second["id"]
    assert take("ours")["id"] == second["id"]


def test_a_closed_conflict_is_not_taken_again(api: Api) -> None:
    found = collide_on(api)
    made = resolve(api, found, {"f": {"take": "theirs"}}, Idempotency_Key="mine")
    api.world.work()
    for refused in (resolve(api, found, {"f": {"take": "ours"}}, 409), rebase(api, found, 409)):
        assert refused["closed_by"] == made["id"] and made["id"] in refused["detail"]
    repeated = resolve(api, found, {"f": {"take": "theirs"}}, Idempotency_Key="mine")
    assert (repeated["id"], repeated["status"]) == (made["id"], "landed")
    other = collide_on(api, "g")
    api.post(f"/changesets/{other['id']}/abandon", None, 200)
    assert rebase(api, other, 409)["closed_by"] == Status.ABANDONED


@pytest.mark.parametrize("verb", ["rebase", "resolve"])
def test_a_key_that_was_used_for_another_request_is_refused_as_such(api: Api, verb: str) -> None:
    found = collide_on(api)
    api.submit(key="k", base=api.tip, changes=[put("z", "1")])
    if verb == "rebase":
        refused = rebase(api, found, 422, Idempotency_Key="k")
    else:
        refused = resolve(api, found, {"f": {"take": "theirs"}}, 422, Idempotency_Key="k")
    assert refused["type"].endswith("key-reused") and refused["errors"][0]["field"] == "Idempotency-Key"


def test_a_check_says_wait_only_for_a_base_that_is_not_decided(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    base = landed(api, f=LINES)
    api.submit(base=base, changes=[put("f", edit(5, "head"))])
    api.world.work()
    waits = api.put("h", "1")
    monkeypatch.setattr("storage.git.run_git.program", lambda: "/nonexistent/git")
    body = {"message": "m", "base": base, "changes": [put("f", edit(15, "late"))]}
    assert api.post("/slices/all/check", body, 503).headers["Retry-After"]
    body["base"] = waits["id"]
    assert api.post("/slices/all/check", body, 200).get_json()["would"] == "wait"


def test_a_check_needs_no_room(api: Api) -> None:
    repo = repo_of(api)
    repo.settings = dataclasses.replace(repo.settings, max_queued=0, max_queued_per_slice=0, max_pending=0)
    body = {"message": "m", "base": api.tip, "changes": [put("f", "1")]}
    assert api.post("/slices/all/check", body, 200).get_json()["would"] == "commit"
    api.post("/slices/all/changesets", body, 429)
