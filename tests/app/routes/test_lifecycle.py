"""What becomes of a changeset besides committing: hold, release, abandon, rebase, resolve, check; open conflicts."""

from __future__ import annotations

import pytest

from app.admin.verify import verify
from app.routes import explanations
from storage.base.ids import new_ulid
from storage.operations.seen import UnknownBase
from storage.view.view import View
from tasks.upkeep import run as run_upkeep
from tests.support.api import Api, Json, walk
from tests.support.collisions import LINES, collide_on, edit, landed, put, status, text
from tests.support.redis_rows import flush


def test_what_is_held_waits_for_its_release(api: Api) -> None:
    held = api.submit(base=api.tip, changes=[put("a", "1")], hold=True)
    assert held["status"] == "held" and "position" not in held
    api.world.work()
    run_upkeep(api.world.repo)
    api.world.work()
    shown = api.get(f"/changesets/{held['id']}")
    assert shown.items() >= held.items() and "position" not in shown and "decided" not in shown
    assert [each["id"] for each in walk(api, "/slices/all/changesets", status="held")] == [held["id"]]
    assert not api.get("/slices/all/changesets", status="queued")["items"]
    released = api.post(f"/changesets/{held['id']}/release", None, 200).get_json()
    assert released["status"] == "queued" and released["position"] == 0
    again = api.post(f"/changesets/{held['id']}/release", None, 200).get_json()
    assert again == released
    api.world.work()
    assert status(api, held) == "landed" and text(api, "a") == "1"
    assert api.post(f"/changesets/{held['id']}/release", None, 200).get_json()["status"] == "landed"


def test_a_release_survives_redis_and_the_death_of_who_gave_it(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    held = api.submit(base=api.tip, changes=[put("a", "1")], hold=True)
    stays = api.submit(base=api.tip, changes=[put("b", "1")], hold=True)
    with monkeypatch.context() as dying:
        dying.setattr(api.world.repo.queue, "enqueue", lambda changesets: pytest.fail("not reached"))
        dying.setattr("storage.operations.lifecycle._queue", lambda repo, changeset: 0)
        api.post(f"/changesets/{held['id']}/release", None, 200)
    run_upkeep(api.world.repo)
    assert status(api, held) == "queued"
    flush(api.world)
    run_upkeep(api.world.repo)
    assert status(api, held) == "queued" and status(api, stays) == "held"
    api.world.work()
    assert status(api, held) == "landed" and status(api, stays) == "held"


@pytest.mark.parametrize("hold", [True, False])
def test_what_is_abandoned_is_never_committed(api: Api, hold: bool) -> None:
    made = api.submit(base=api.tip, changes=[put("a", "1")], hold=hold, key="k")
    stacked = api.submit(base=made["id"], changes=[put("b", "1")])
    for _ in range(2):
        assert api.post(f"/changesets/{made['id']}/abandon", None, 200).get_json()["status"] == "abandoned"
    api.world.work()
    assert status(api, made) == "abandoned" and not api.world.files()
    assert api.get(f"/changesets/{stacked['id']}")["reason"] == "base-not-landed"
    assert [each["id"] for each in walk(api, "/slices/all/changesets", status="abandoned")] == [made["id"]]
    assert api.post(f"/changesets/{made['id']}/release", None, 409).get_json(force=True)["detail"]
    repeat = api.submit(base=api.tip, changes=[put("a", "1")], hold=hold, key="k")
    assert (repeat["id"], repeat["status"]) == (made["id"], "abandoned")
    flush(api.world)
    run_upkeep(api.world.repo)
    api.world.work()
    assert status(api, made) == "abandoned"


def test_what_is_committed_cannot_be_taken_back(api: Api) -> None:
    made = api.put("a", "1")
    api.world.work()
    assert "committed" in api.post(f"/changesets/{made['id']}/abandon", None, 409).get_json(force=True)["detail"]
    assert api.post(f"/changesets/{made['id']}/rebase", None, 409)
    assert api.post(f"/changesets/{made['id']}/resolve", {"paths": {"a": {"take": "ours"}}}, 409)


def test_open_conflicts_are_listed_until_something_takes_their_place(api: Api) -> None:
    found = collide_on(api)
    other = collide_on(api, "dir/g")
    everywhere = [each["id"] for each in walk(api, "/conflicts")]
    assert everywhere == [found["id"], other["id"]]
    assert [each["id"] for each in walk(api, "/conflicts", slice="all")] == everywhere
    assert [each["id"] for each in walk(api, "/conflicts", path="dir/g")] == [other["id"]]
    assert api.get("/conflicts", path="nothing/here")["items"] == []
    closed = api.post(f"/changesets/{found['id']}/abandon", None, 200).get_json()
    assert closed["status"] == "conflicted" and closed["closed_by"] == "abandoned"
    assert api.post(f"/changesets/{found['id']}/abandon", None, 200).get_json() == closed
    made = api.post(f"/changesets/{other['id']}/resolve", {"paths": {"dir/g": {"take": "theirs"}}}, 202).get_json()
    assert [each["id"] for each in walk(api, "/conflicts")] == [other["id"]], "not before it is decided"
    api.world.work()
    assert api.get("/conflicts")["items"] == [] and api.get("/conflicts", path="dir/g")["items"] == []
    assert api.get(f"/changesets/{other['id']}")["closed_by"] == made["id"]
    assert api.get(f"/changesets/{made['id']}")["resolves"] == other["id"]
    assert text(api, "dir/g") == edit(5, "late") and text(api, "other") == "new\n"


def test_a_resolution_gives_each_path_what_its_writer_says(api: Api) -> None:
    base = landed(api, a=LINES, b=LINES, c=LINES, d=LINES, e=LINES, sub__x="x\n")
    names = ("a", "b", "c", "d")
    api.submit(base=base, changes=[put(name, edit(5, "head")) for name in names])
    late = api.submit(
        base=base,
        changes=[put(name, edit(5, "late")) for name in names] + [put("e", edit(1, "mine"))],
    )
    api.world.work()
    paths = {"a": {"take": "ours"}, "b": {"take": "theirs"}, "c": {"content": "c\n", "mode": "100755"}}
    missing = api.post(f"/changesets/{late['id']}/resolve", {"paths": paths}, 422).get_json(force=True)
    assert missing["errors"] == [{"field": "paths.d", "message": "is in conflict and not resolved"}]
    paths["d"] = {"delete": True}
    made = api.post(f"/changesets/{late['id']}/resolve", {"paths": paths, "message": "Resolved"}, 202).get_json()
    assert made["status"] == "queued" and made["resolves"] == late["id"]
    assert (
        api.post(f"/changesets/{late['id']}/resolve", {"paths": paths, "message": "Resolved"}, 202).get_json() == made
    )
    other = {**paths, "a": {"take": "theirs"}}
    refused = api.post(f"/changesets/{late['id']}/resolve", {"paths": other, "message": "Resolved"}, 409)
    assert refused.get_json(force=True)["changeset"] == made["id"]
    api.submit(base=api.tip, changes=[put("e", edit(15, "landed meanwhile"))])
    api.world.work()
    files = {path: content.decode() for path, content in api.world.files().items()}
    assert files["a"] == edit(5, "head") and files["b"] == edit(5, "late")
    assert files["c"] == "c\n" and "d" not in files
    assert files["e"] == edit(15, "landed meanwhile", edit(1, "mine"))


def test_a_resolution_never_overwrites_what_its_writer_did_not_see(api: Api) -> None:
    found = collide_on(api)
    api.submit(base=api.tip, changes=[put("f", edit(5, "once more", text(api, "f")).replace("head", "once more"))])
    api.world.work()
    made = api.post(f"/changesets/{found['id']}/resolve", {"paths": {"f": {"take": "theirs"}}}, 202).get_json()
    api.world.work()
    assert status(api, made) == "conflicted" and "once more" in text(api, "f")
    assert [each["id"] for each in walk(api, "/conflicts")] == [made["id"]], "the newest of the chain is the open one"


def test_a_file_in_the_way_is_resolved(api: Api) -> None:
    base = landed(api, keep="1")
    api.submit(base=base, changes=[put("d", "a file")])
    late = api.submit(base=base, changes=[put("d/x", "1"), put("d/y", "2")])
    api.world.work()
    found = api.get(f"/changesets/{late['id']}")
    assert {each["class"] for each in found["conflicts"]} == {"directory/file"}
    paths = {"d/x": {"take": "theirs"}, "d/y": {"content": "two"}}
    api.post(f"/changesets/{late['id']}/resolve", {"paths": paths}, 202)
    api.world.work()
    assert api.world.files() == {"keep": b"1", "d/x": b"1", "d/y": b"two"}


def test_a_rebase_merges_onto_the_tip_or_says_what_collides(api: Api) -> None:
    found = collide_on(api)
    refused = api.post(f"/changesets/{found['id']}/rebase", None, 409).get_json(force=True)
    assert [each["path"] for each in refused["conflicts"]] == ["f"] and refused["conflict_count"] == 1
    api.submit(base=api.tip, changes=[put("f", edit(15, "elsewhere"))])
    api.world.work()
    made = api.post(f"/changesets/{found['id']}/rebase", None, 202).get_json()
    assert made["resolves"] == found["id"]
    assert api.post(f"/changesets/{found['id']}/rebase", None, 202).get_json() == made
    api.world.work()
    assert status(api, made) == "landed"
    assert text(api, "f") == edit(5, "late", edit(15, "elsewhere")) and text(api, "other") == "new\n"
    assert api.get("/conflicts")["items"] == []


def test_a_held_changeset_is_rebased_and_the_old_one_abandoned(api: Api) -> None:
    base = landed(api, f=LINES)
    held = api.submit(base=base, changes=[put("f", edit(5, "held"))], hold=True)
    api.submit(base=base, changes=[put("f", edit(15, "other"))])
    api.world.work()
    made = api.post(f"/changesets/{held['id']}/rebase", None, 202).get_json()
    assert made["status"] == "held" and status(api, held) == "abandoned"
    api.post(f"/changesets/{made['id']}/release", None, 200)
    api.world.work()
    assert text(api, "f") == edit(5, "held", edit(15, "other"))


def test_a_stack_whose_base_did_not_make_it_is_rebased(api: Api) -> None:
    found = collide_on(api)
    stacked = api.submit(base=found["id"], changes=[put("g", "1\n")])
    api.world.work()
    assert api.get(f"/changesets/{stacked['id']}")["reason"] == "base-not-landed"
    made = api.post(f"/changesets/{stacked['id']}/rebase", None, 202).get_json()
    api.world.work()
    assert status(api, made) == "landed" and text(api, "g") == "1\n"


def test_a_check_says_what_would_become_of_it_and_stores_nothing(api: Api) -> None:
    base = landed(api, f=LINES)
    api.submit(base=base, changes=[put("f", edit(5, "head"))])
    api.world.work()

    def check(**body: object) -> Json:
        return api.post("/slices/all/check", {"message": "m", **body}, 200).get_json()

    before = list(api.world.repo.bucket.list_keys(""))
    assert check(base=base, changes=[put("g", "1")])["would"] == "commit"
    merged = check(base=base, changes=[put("f", edit(15, "late"))])
    assert merged["would"] == "commit" and merged["merged"] == ["f"]
    collides = check(base=base, changes=[put("f", edit(5, "late"))])
    assert collides["would"] == "conflict" and collides["conflicts"][0]["class"] == "content"
    rejected = check(base=base, changes=[{"op": "mode", "path": "none", "mode": "100755"}])
    assert rejected["would"] == "reject" and rejected["reason"] == "missing-file"
    assert list(api.world.repo.bucket.list_keys("")) == before
    queued = api.put("h", "1")
    assert check(base=queued["id"], changes=[put("h", "2")])["would"] == "wait"
    api.post("/slices/none/check", {"message": "m", "base": base, "changes": [put("f", "")]}, 404)
    api.post("/slices/all/check", {"message": "m", "base": base, "changes": [put("../f", "")]}, 422)


def test_what_is_going_on_at_a_path(api: Api) -> None:
    api.post("/slices", {"name": "web", "paths": ["web/"]}, 201)
    committed = api.put("web/a", "1")
    from storage.commit.batch import commit_batch

    commit_batch(api.world.repo)
    queued = api.put("web/a", "2")
    held = api.submit(base=api.tip, changes=[put("web/a", "3")], hold=True)
    api.put("web/b", "4")
    found = api.get("/paths/web/a")
    assert [each["name"] for each in found["slices"]] == ["all", "web"]
    assert [each["id"] for each in found["queued"]] == [queued["id"], held["id"]]
    assert [each["id"] for each in found["committed"]] == [committed["id"]]
    assert found["lock"] is None and found["complete"]
    claimed = api.world.repo.queue.claim("worker-1")
    assert claimed and api.get("/paths/web/a")["lock"]["owner"] == "worker-1"
    api.world.repo.queue.release("worker-1", claimed)
    api.post(f"/changesets/{held['id']}/abandon", None, 200)
    api.world.work()
    done = api.get("/paths/web/a")
    assert (done["queued"], done["committed"], done["lock"]) == ([], [], None)
    assert api.get("/paths/..%2Fx", 422)["errors"][0]["field"] == "path"


def test_a_slice_changes_and_goes_beside_what_is_queued_in_it(api: Api) -> None:
    made = api.post("/slices", {"name": "web", "paths": ["web/", "doc/"]}, 201).get_json()
    inside = api.submit(where="web", base=api.tip, changes=[put("web/a", "1")])
    outside = api.submit(where="web", base=api.tip, changes=[put("doc/a", "1")])
    for _ in range(2):
        answer = api.http.patch("/v1/slices/web", json={"paths": ["web/"], "version": 1})
        assert answer.status_code == 200 and answer.get_json() == {**made, "paths": ["web/"], "version": 2}
    stale = api.http.patch("/v1/slices/web", json={"paths": ["x/"], "version": 1})
    assert stale.status_code == 409 and stale.get_json(force=True)["slice"]["version"] == 2
    api.world.work()
    assert status(api, inside) == "landed"
    assert api.get(f"/changesets/{outside['id']}")["reason"] == "outside-slice"
    assert [each["name"] for each in walk(api, "/slices", path="doc/a")] == ["all"]
    gone = api.submit(where="web", base=api.tip, changes=[put("web/b", "1")])
    assert api.http.delete("/v1/slices/web?version=1").status_code == 409
    assert api.http.delete("/v1/slices/web?version=2").status_code == 204
    assert api.http.delete("/v1/slices/web").status_code == 404
    again = api.post("/slices", {"name": "web", "paths": ["web/"]}, 201).get_json()
    assert again["id"] != made["id"] and again["version"] == 1
    api.world.work()
    assert api.get(f"/changesets/{gone['id']}")["reason"] == "no-such-slice"
    assert [each["id"] for each in walk(api, "/slices", path="web/a")] == [api.world.all.id, again["id"]]
    for body in ({}, {"paths": []}, {"paths": ["web/"], "version": 0}, {"paths": ["web/"], "name": "x"}):
        assert api.http.patch("/v1/slices/web", json=body).status_code == 422


def test_strategies_by_pattern_and_by_change(api: Api) -> None:
    base = landed(api, **{"a.lock": "1\n", "gen__a.lock": "1\n", "b": "1\n", "c": "1\n"})
    api.submit(base=base, changes=[put(name, "head\n") for name in ("a.lock", "gen/a.lock", "b", "c")])
    rules = [{"pattern": "*.lock", "strategy": "theirs"}, {"pattern": "/gen/", "strategy": "ours"}]
    names = ("a.lock", "gen/a.lock", "b")
    mixed = api.submit(
        base=base,
        strategies=rules,
        changes=[
            put(names[0], "mine\n"),
            put(names[1], "mine\n"),
            put(names[2], "mine\n") | {"strategy": "theirs"},
        ],
    )
    exact = api.submit(base=base, changes=[put("c", "head\n1\n") | {"strategy": "exact"}])
    api.world.work()
    assert status(api, mixed) == "landed" and status(api, exact) == "conflicted"
    files = api.world.files()
    assert [files[name] for name in names] == [b"mine\n", b"head\n", b"mine\n"]


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"pattern": "*.x", "strategy": "mine"}, "strategies[0].strategy"),
        ({"strategy": "ours"}, "strategies[0].pattern"),
        ({"pattern": "!x", "strategy": "ours"}, "strategies[0].pattern"),
        ({"pattern": "[z-a]", "strategy": "ours"}, "strategies[0].pattern"),
        ({"pattern": "x" * 2000, "strategy": "ours"}, "strategies[0].pattern"),
        ({"pattern": 1, "strategy": "ours"}, "strategies[0].pattern"),
        ("ours", "strategies[0]"),
    ],
)
def test_rules_that_are_none_are_refused(api: Api, rule: object, field: str) -> None:
    answer = api.submit(status=422, base=api.tip, changes=[put("f", "")], strategies=[rule])
    assert answer["errors"][0]["field"] == field


@pytest.mark.parametrize("verb", ["release", "abandon", "rebase"])
def test_each_verb_refuses_what_does_not_exist(api: Api, verb: str) -> None:
    api.post(f"/changesets/{new_ulid()}/{verb}", None, 404)
    assert api.post(f"/changesets/nothing/{verb}", None, 422).get_json(force=True)["errors"][0]["field"] == "id"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "paths"),
        ({"paths": {}}, "paths"),
        ({"paths": {"../f": {"take": "ours"}}}, "paths.../f"),
        ({"paths": {"f": {}}}, "paths.f"),
        ({"paths": {"f": {"take": "mine"}}}, "paths.f.take"),
        ({"paths": {"f": {"take": "ours", "delete": True}}}, "paths.f"),
        ({"paths": {"f": {"take": "ours", "mode": "100644"}}}, "paths.f.mode"),
        ({"paths": {"f": {"content": "", "mode": "160000"}}}, "paths.f.mode"),
        ({"paths": {"f": {"content_base64": "?"}}}, "paths.f.content_base64"),
        ({"paths": {"f": {"take": "ours"}, "g": {"take": "ours"}}}, "paths.g"),
    ],
)
def test_resolutions_that_are_none_are_refused(api: Api, body: Json, field: str) -> None:
    found = collide_on(api)
    answer = api.post(f"/changesets/{found['id']}/resolve", body, 422).get_json(force=True)
    assert answer["errors"][0]["field"] == field
    api.world.work()
    assert [each["id"] for each in walk(api, "/conflicts")] == [found["id"]]


def test_an_older_copy_within_a_request_refuses_nothing_for_good(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    late, view = collide_on(api), api.world.repo.view

    def forget(self: View, name: str) -> None:
        """As Redis from a snapshot before the slice was made, and not recovered yet."""
        view.redis.delete(view.prefix + "recovered")

    with monkeypatch.context() as older:
        older.setattr(View, "slice", forget)
        for verb, body in (("rebase", None), ("resolve", {"paths": {"f": {"take": "theirs"}}})):
            run_upkeep(api.world.repo)
            refusal = api.post(f"/changesets/{late['id']}/{verb}", body, 503)
            assert refusal.headers["Retry-After"] and refusal.get_json()["detail"] == "the view may be behind the log"
    run_upkeep(api.world.repo)
    resolved = api.post(f"/changesets/{late['id']}/resolve", {"paths": {"f": {"take": "theirs"}}}, 202).get_json()
    assert resolved["resolves"] == late["id"]

    # A base that the older copy does not know yet: its conflict shows that, its diff needs it.
    def unknown(*_: object) -> None:
        view.redis.delete(view.prefix + "recovered")
        raise UnknownBase("of an older copy")

    with monkeypatch.context() as older:
        older.setattr(explanations, "seen_by_writer", unknown)
        api.get(f"/changesets/{late['id']}/diff", 503)
    run_upkeep(api.world.repo)
    assert api.get(f"/changesets/{late['id']}/diff")["items"]


def test_while_redis_is_empty_nothing_is_said_to_be_unknown(api: Api) -> None:
    held = api.submit(base=api.tip, changes=[put("a", "1")], hold=True)
    flush(api.world)
    for verb in ("release", "abandon", "rebase"):
        answer = api.post(f"/changesets/{held['id']}/{verb}", None, 503)
        assert answer.headers["Retry-After"]


def test_of_too_many_open_conflicts_the_oldest_are_closed(api: Api) -> None:
    base = api.put("f", "0")["id"]
    api.world.work()
    api.put("f", "ours", base)
    ids = [api.put("f", f"theirs {i}", base)["id"] for i in range(5)]
    api.world.work()
    run_upkeep(api.world.reopened(max_open_conflicts=2).repo)
    assert [each["id"] for each in walk(api, "/conflicts")] == ids[3:]
    assert [api.get(f"/changesets/{each}").get("closed_by") for each in ids] == ["expired"] * 3 + [None] * 2
    assert (
        api.post(f"/changesets/{ids[0]}/resolve", {"paths": {"f": {"take": "ours"}}}, 409).get_json(force=True)[
            "closed_by"
        ]
        == "expired"
    )
    before = api.world.repo.view.head().applied
    run_upkeep(api.world.repo)
    assert api.world.repo.view.head().applied == before
    assert not verify(api.world.repo).differences
