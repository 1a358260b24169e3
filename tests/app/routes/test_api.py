"""Every endpoint of docs/api.md, with its errors, on real servers; workers run in the test's own process."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from queue import SimpleQueue
from time import sleep
from typing import Any

import pytest
import redis

from app.service.services import Services
from storage.backends.bucket import BucketError
from storage.base.errors import ViewStale
from storage.base.settings import Settings
from storage.commit.batch import commit_batch
from storage.commit.global_merge import merge_batch
from storage.coordination import nodes
from storage.queue.queue import Queue
from storage.queue.states import ChangesetState
from tasks.upkeep import run as run_upkeep
from tests.support.api import Api, Json, walk

pytestmark = pytest.mark.usefixtures("unsent")


def all_at_work(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Report all nodes that a deployment needs as at work; none falls silent because the machine is busy."""
    monkeypatch.setattr(nodes, "SILENCE", 50.0)
    for work in nodes.WORK:
        api.world.repo.nodes.say(nodes.Node(f"{work}@here", (work,), 1))


def test_slices_are_made_shown_and_listed(api: Api) -> None:
    made = api.post("/slices", {"name": "team/web", "paths": ["web/", "README.md"]}, 201).get_json()
    assert made["version"] == 1 and made["paths"] == ["README.md", "web/"]
    assert api.get(f"/slices/{made['id']}") == api.get("/slices/team%2Fweb") == made
    api.post("/slices", {"name": "docs", "paths": ["docs/"]}, 201)
    assert [each["name"] for each in walk(api, "/slices")] == ["all", "team/web", "docs"]
    assert [each["name"] for each in walk(api, "/slices", path="web/a.js")] == ["all", "team/web"]
    assert [each["name"] for each in walk(api, "/slices", path="web")] == ["all"], "a file web is not in web/"
    for taken in ("team/web", "team", "team/web/js"):
        answer = api.post("/slices", {"name": taken, "paths": ["x"]}, 409)
        assert answer.mimetype == "application/problem+json" and answer.get_json(force=True)["slice"] == made["id"]
    assert api.get("/slices/none", 404)["detail"] == "there is no slice 'none'"


def test_a_changeset_goes_from_queued_over_committed_to_landed(api: Api, unsent: SimpleQueue[str]) -> None:
    made = api.put("a", "1")
    assert made["status"] == "queued" and made["position"] == 0
    assert unsent.get(timeout=60) == "sluice.commit"
    assert api.put("b", "1")["position"] == 1
    passed_by = {"count": 0, "changesets": [], "complete": True}
    shown = api.get(f"/changesets/{made['id']}")
    assert {name: shown[name] for name in [*made, "eta", "passed_by"]} == made | {"eta": None, "passed_by": passed_by}
    assert shown["base"] == api.tip and shown["paths"] == ["a"] and "decided" not in shown
    commit_batch(api.world.repo)
    committed = api.get(f"/changesets/{made['id']}")
    assert committed["status"] == "committed" and committed["commit"] and committed["seq"] == 3
    api.world.work()
    assert api.get(f"/changesets/{made['id']}")["status"] == "landed"
    head = api.get("/head")
    assert head["pending"] == 0 and head["main"]["tree"] == head["tip"]["tree"]


def test_a_long_poll_ends_with_the_outcome(api: Api) -> None:
    made = api.put("a", "1")
    worker = threading.Timer(0.2, api.world.work)
    worker.start()
    answer = api.get(f"/changesets/{made['id']}", wait=30, until="landed")
    worker.join()
    assert answer["status"] == "landed"
    assert api.get(f"/changesets/{api.put('b', '1')['id']}", wait=0.05)["status"] == "queued", "the time is over"


def test_all_three_kinds_of_base(api: Api) -> None:
    start = api.tip
    first = api.submit(base=start, changes=[{"op": "put", "path": "f", "content": "1"}])
    second = api.submit(base=first["id"], changes=[{"op": "put", "path": "f", "content": "2"}])
    api.world.work()
    [file] = api.get("/slices/all/tree")["items"]
    third = api.submit(changes=[{"op": "put", "path": "f", "content": "3", "base": file["id"]}])
    late = api.submit(changes=[{"op": "put", "path": "f", "content": "4", "base": None}])
    api.world.work()
    for each in (first, second, third):
        assert api.get(f"/changesets/{each['id']}")["status"] == "landed"
    conflicted = api.get(f"/changesets/{late['id']}")
    assert conflicted["status"] == "conflicted" and "commit" not in conflicted
    [conflict] = conflicted["conflicts"]
    assert conflict["class"] == "add/add" and conflict["base"] is None and conflict["head"]["mode"] == "100644"


def test_modes_submodules_and_blobs_by_id(api: Api) -> None:
    api.submit(
        base=api.tip,
        changes=[
            {"op": "put", "path": "run", "content": "#!/bin/sh\n", "mode": "100755"},
            {"op": "put", "path": "link", "content": "run", "mode": "120000"},
            {"op": "put", "path": "sub", "id": "a" * 40, "mode": "160000"},
            {"op": "put", "path": "bin", "content_base64": "AP8A"},
        ],
    )
    api.world.work()
    files = {each["path"]: each for each in api.get("/slices/all/tree")["items"]}
    assert files["sub"] == {"path": "sub", "mode": "160000", "type": "commit", "id": "a" * 40, "size": None}
    assert files["bin"]["size"] == 3 and files["link"]["mode"] == "120000"
    api.submit(
        base=api.tip,
        changes=[
            {"op": "mode", "path": "run", "mode": "100644"},
            {"op": "put", "path": "copy", "id": files["run"]["id"]},
            {"op": "delete", "path": "link"},
        ],
    )
    api.world.work()
    files = {each["path"]: each for each in api.get("/slices/all/tree")["items"]}
    assert files["run"]["mode"] == "100644" and files["copy"]["id"] == files["run"]["id"] and "link" not in files
    refused = api.submit(422, base=api.tip, changes=[{"op": "put", "path": "x", "id": "b" * 40}])
    assert refused["errors"][0]["field"] == "changes[0].id"
    refused = api.submit(422, base=api.tip, changes=[{"op": "put", "path": "x", "id": api.tip}])
    assert "no blob" in refused["detail"]


def test_a_bulk_has_an_outcome_per_item_and_items_may_build_on_another(api: Api) -> None:
    def item(path: str, base: Any, **more: Any) -> Json:
        change = {"op": "put", "path": path, "content": path}
        return {"slice": "all", "base": base, "message": "m", "changes": [change], **more}

    items = [item("a", api.tip), item("../x", api.tip), item("b", 0), item("c", 1), item("d", api.tip, slice="none")]
    outcomes = api.post("/changesets", {"changesets": items}, 202, Idempotency_Key="k").get_json()["outcomes"]
    assert [each["status"] for each in outcomes] == [202, 422, 202, 422, 404]
    assert outcomes[1]["problem"]["errors"][0]["field"] == "changesets[1].changes[0].path"
    assert outcomes[3]["problem"]["errors"][0] == {"field": "changesets[3].base", "message": "item 1 was refused"}
    again = api.post("/changesets", {"changesets": items}, 202, Idempotency_Key="k").get_json()["outcomes"]
    assert [each.get("changeset", {}).get("id") for each in again] == [
        each.get("changeset", {}).get("id") for each in outcomes
    ]
    api.world.work()
    assert api.world.files() == {"a": b"a", "b": b"b"}
    api.post("/changesets", {"changesets": [item("../x", api.tip)]}, 422)


def test_an_idempotency_key_gets_one_changeset_before_and_after_a_decision(api: Api) -> None:
    base = api.tip
    change = [{"op": "put", "path": "f", "content": "1"}]
    first = api.submit(key="once", base=base, changes=change)
    assert api.submit(key="once", base=base, changes=change)["id"] == first["id"]
    api.world.work()
    repeat = api.submit(key="once", base=base, changes=change)
    assert repeat["id"] == first["id"] and repeat["status"] == "landed"
    other = api.submit(422, key="once", base=base, changes=[{"op": "put", "path": "f", "content": "2"}])
    assert other["errors"][0]["field"] == "Idempotency-Key"


def test_a_slices_changesets_are_listed_by_status(api: Api) -> None:
    base = api.tip
    landed = [api.put(f"f{i}", "1", base)["id"] for i in range(3)]
    conflicted = api.put("f0", "2", base)["id"]
    api.world.work()
    rejected = api.submit(base=api.tip, changes=[{"op": "mode", "path": "none", "mode": "100755"}])["id"]
    commit_batch(api.world.repo)
    committed = api.put("g", "1")["id"]
    commit_batch(api.world.repo)
    queued = [api.put(f"h{i}", "1")["id"] for i in range(2)]
    for status, ids in {
        "landed": landed,
        "conflicted": [conflicted],
        "rejected": [rejected],
        "committed": [committed],
        "queued": queued,
    }.items():
        found = list(walk(api, "/slices/all/changesets", status=status))
        assert [each["id"] for each in found] == ids and {each["status"] for each in found} == {status}
    assert api.get(f"/changesets/{rejected}")["reason"] == "missing-file"
    assert api.get("/slices/all/changesets", 422)["errors"][0]["field"] == "status"


def test_reads_of_a_slice_at_the_head_and_at_any_commit(api: Api) -> None:
    api.post("/slices", {"name": "docs", "paths": ["docs/", "README"]}, 201)
    api.put("docs/a/b", "1")
    api.put("README", "hello")
    api.put("src/x", "1")
    api.world.work()
    before = api.get("/head")["main"]["commit"]
    api.put("docs/a/c", "22")
    api.world.work()
    tree = list(walk(api, "/slices/docs/tree"))
    assert [(each["path"], each["size"]) for each in tree] == [("README", 5), ("docs/a/b", 1), ("docs/a/c", 2)]
    assert [each["path"] for each in walk(api, "/slices/docs/tree", commit=before)] == ["README", "docs/a/b"]
    assert [each["path"] for each in walk(api, "/slices/docs/tree", prefix="docs/a")] == ["docs/a/b", "docs/a/c"]
    assert api.get("/slices/all/tree")["tree"] == api.get("/head")["main"]["tree"]
    listed = list(walk(api, "/slices/all/commits"))
    assert len(listed) == 4 and listed[0]["status"] == "landed" and "Changeset-Id" in listed[0]["message"]
    assert api.get("/slices/docs/tree", 422, commit="b" * 40)["errors"][0]["field"] == "commit"

    answer = api.http.get("/v1/slices/docs/files/docs/a/c")
    assert answer.data == b"22" and answer.headers["X-Git-Mode"] == "100644"
    assert (
        api.http.get("/v1/slices/docs/files/docs/a/c", headers={"If-None-Match": answer.headers["ETag"]}).status_code
        == 304
    )
    for missing in ("docs/a", "docs/none", "src/x"):
        assert api.get(f"/slices/docs/files/{missing}", 404)["status"] == 404
    assert api.get("/slices/docs/files/docs/a/c", 404, commit=before)["status"] == 404


def test_global_commits_say_what_each_merged(api: Api) -> None:
    first = [api.put(f"f{i}", "1")["id"] for i in range(3)]
    api.world.work()
    second = [api.put("g", "1")["id"]]
    api.world.work()
    newest, older, genesis = walk(api, "/commits")
    assert [newest["changesets"], older["changesets"], genesis["changesets"]] == [1, 3, 0]
    assert newest["parents"][0] == older["commit"] and older["parents"][0] == genesis["commit"]
    assert [each["changeset"] for each in walk(api, f"/commits/{older['commit']}/changesets")] == first
    assert [each["changeset"] for each in walk(api, f"/commits/{newest['commit']}/changesets")] == second
    assert api.get(f"/commits/{api.tip}/changesets", 404)["status"] == 404


def test_a_cursor_of_another_list_is_refused(api: Api) -> None:
    for i in range(3):
        api.put(f"f{i}", "1")
    api.world.work()
    cursor = api.get("/slices/all/tree", limit=1)["next"]
    for path in ("/slices", "/commits", "/slices/all/commits"):
        assert api.get(path, 422, cursor=cursor)["errors"][0]["field"] == "cursor"
    assert api.get("/slices/all/changesets", 422, status="queued", cursor=cursor)["errors"][0]["field"] == "cursor"


def test_merges_are_asked_for_and_operators_are_answered(
    api: Api, unsent: SimpleQueue[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    api.put("f", "1")
    assert unsent.get(timeout=60) == "sluice.commit"
    commit_batch(api.world.repo)
    assert api.post("/merges", None, 202).get_json() == {"requested": True, "pending": 1}
    assert unsent.get(timeout=60) == "sluice.merge"
    assert api.http.get("/healthz").status_code == 200
    ready = api.http.get("/readyz")
    assert ready.status_code == 200 and ready.get_json()["checks"]["view"]["lag"] == 0
    assert api.get("/health", 503)["checks"]["workers"]["missing"] == ["commits", "merges", "upkeep", "beat"]
    all_at_work(api, monkeypatch)
    health = api.get("/health")
    assert health["healthy"] is True and set(health["checks"]) == {
        *ready.get_json()["checks"],
        "queue",
        "workers",
        "mirrors",
    }
    text = api.http.get("/metrics").get_data(as_text=True)
    assert "sluice_committed_total 1.0" in text and "sluice_root_mismatches_total 0.0" in text


def test_limits_answer_with_their_names_and_when_to_come_back(settings: Settings) -> None:
    api = Api(replace(settings, max_queued_per_slice=2, max_body_bytes=2000))
    api.put("a", "1")
    api.put("b", "1")
    full = api.post("/slices/all/changesets", {"base": api.tip, "message": "m", "changes": [
        {"op": "put", "path": "c", "content": "1"}]}, 429)  # fmt: skip
    assert "max_queued_per_slice" in full.get_json(force=True)["detail"] and int(full.headers["Retry-After"]) >= 1
    large = api.post("/slices", {"name": "x" * 3000, "paths": ["x"]}, 413)
    assert "max_body_bytes" in large.get_json(force=True)["detail"]
    pending = Api(replace(settings, repository=settings.repository + "p", max_pending=1))
    pending.put("a", "1")
    commit_batch(pending.world.repo)
    assert "max_pending" in pending.submit(429, base=pending.tip, changes=[{"op": "delete", "path": "a"}])["detail"]


def test_an_item_on_one_that_has_no_room_now_has_none_now_either(settings: Settings) -> None:
    api = Api(replace(settings, max_queued_per_slice=2))
    first = {"slice": "all", "message": "m", "base": api.tip}
    items = [first | {"changes": [{"op": "put", "path": name, "content": "1"}]} for name in "abcd"]
    items[3]["base"] = 2
    outcomes = api.post("/changesets", {"changesets": items}, 202).get_json()["outcomes"]
    assert [outcome["status"] for outcome in outcomes] == [202, 202, 429, 429]
    assert outcomes[3]["problem"]["detail"] == outcomes[2]["problem"]["detail"]
    full = api.post("/changesets", {"changesets": [items[2], items[3] | {"base": 0}]}, 429)
    assert "max_queued_per_slice" in full.get_json(force=True)["detail"] and int(full.headers["Retry-After"]) >= 1
    wrong = api.post("/changesets", {"changesets": [items[2], items[0] | {"slice": "nowhere"}]}, 422)
    assert [outcome["status"] for outcome in wrong.get_json()["outcomes"]] == [429, 404]


def test_two_applications_in_a_process_answer_with_their_own_settings(settings: Settings) -> None:
    apis = [
        Api(replace(settings, repository=f"{settings.repository}{wait}", max_queued_per_slice=0, retry_after=wait))
        for wait in (3, 9)
    ]
    change = {"op": "put", "path": "c", "content": "1"}
    body = [{"base": api.tip, "message": "m", "changes": [change]} for api in apis]
    answers = [api.post("/slices/all/changesets", each, 429) for api, each in zip(apis, body, strict=True)]
    assert [answer.headers["Retry-After"] for answer in answers] == ["3", "9"]


def test_a_longer_wait_than_the_longest_counts_as_the_longest(settings: Settings) -> None:
    assert settings.max_wait == 50, "proxies give up after 60 seconds"
    api = Api(replace(settings, max_wait=0.05))
    made = api.put("f", "1")
    for wait in ("60", "3600", "29.1234567", "9" * 400, "0.0000001", "0"):
        assert api.get(f"/changesets/{made['id']}", wait=wait)["status"] == "queued"


def test_long_polls_are_answered_though_the_bucket_failed_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made = api.put("f", "1")
    states, looks = Queue.states, threading.Semaphore(0)
    failures = [BucketError("away"), ViewStale("it went back")]

    def fail(queue: Queue, ids: Sequence[str]) -> tuple[bool, list[ChangesetState]]:
        if threading.current_thread().name != "waiting":
            return states(queue, ids)
        if failures:
            raise failures.pop()
        looks.release()
        return states(queue, ids)

    monkeypatch.setattr(Queue, "states", fail)
    poll = threading.Thread(target=api.get, args=[f"/changesets/{made['id']}"], kwargs={"wait": 30})
    poll.start()
    assert looks.acquire(timeout=60), "somebody looks again"
    commit_batch(api.world.repo)
    poll.join(60)
    assert not poll.is_alive()


def test_without_a_view_nothing_is_called_unknown(api: Api, unsent: SimpleQueue[str]) -> None:
    view = api.world.repo.view
    view.redis.delete(view.prefix + "recovered")
    unknown = api.http.get("/v1/changesets/01ARZ3NDEKTSV4RRFFQ69G5FAV")
    assert unknown.status_code == 503 and unknown.headers["Retry-After"]
    assert unsent.get(timeout=60) == "sluice.upkeep"
    assert api.submit(503, base="01ARZ3NDEKTSV4RRFFQ69G5FAV", changes=[{"op": "delete", "path": "f"}])["status"] == 503
    run_upkeep(api.world.repo)
    assert api.get("/changesets/01ARZ3NDEKTSV4RRFFQ69G5FAV", 404)["status"] == 404
    view.redis.delete(view.prefix + "epoch")
    assert api.get("/head", 503)["detail"] == "the view is being loaded"
    assert api.http.get("/readyz").status_code == 503 and api.http.get("/healthz").status_code == 200


def test_an_older_copy_of_redis_contradicts_no_earlier_answer(api: Api) -> None:
    landed, other = api.put("f", "1"), api.put("g", "1")
    commit_batch(api.world.repo)
    merge_batch(api.world.repo)
    committed = api.put("h", "1")
    commit_batch(api.world.repo)
    queued = api.submit(key="again", base=api.tip, changes=[{"op": "put", "path": "i", "content": "1"}])
    view = api.world.repo.view
    view.redis.delete(view.prefix + "recovered")
    for unsure in (committed, queued):
        assert api.get(f"/changesets/{unsure['id']}", 503)["detail"] == "changesets are being looked for"
        api.get(f"/changesets/{unsure['id']}/conflicts", 503)
    for status in ("queued", "held", "committed"):
        api.get("/slices/all/changesets", 503, status=status)
    api.get("/paths/i", 503)
    api.get("/slices/all/commits", 503)
    api.get("/conflicts", 503)
    api.submit(503, key="again", base=api.tip, changes=[{"op": "put", "path": "i", "content": "1"}])
    assert [each["id"] for each in api.get("/slices/all/changesets", status="landed")["items"]] == [
        landed["id"], other["id"]
    ]  # fmt: skip
    for final in (landed, other):
        assert api.get(f"/changesets/{final['id']}")["status"] == "landed", "what is final stays so"
    run_upkeep(api.world.repo)
    statuses = [api.get(f"/changesets/{each['id']}")["status"] for each in (landed, committed, queued)]
    assert statuses == ["landed", "committed", "queued"]


def test_a_deployment_that_asks_whether_it_is_ready_is_made_so(api: Api, unsent: SimpleQueue[str]) -> None:
    view = api.world.repo.view
    view.redis.delete(view.prefix + "recovered")
    answer = api.http.get("/readyz")
    assert answer.status_code == 503 and "the inbox is being listed" in answer.get_json()["checks"]["view"]["detail"]
    assert unsent.get(timeout=60) == "sluice.upkeep"
    run_upkeep(api.world.repo)
    assert api.http.get("/readyz").status_code == 200
    assert unsent.empty()


def test_a_health_check_sends_a_lost_message_again(
    settings: Settings, unsent: SimpleQueue[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api(replace(settings, max_queue_age=-1.0))
    api.put("f", "1")
    assert unsent.get(timeout=60) == "sluice.commit"
    all_at_work(api, monkeypatch)
    health = api.get("/health", 503)
    assert [name for name, check in health["checks"].items() if not check["ok"]] == ["queue"]
    assert unsent.get(timeout=60) == "sluice.upkeep"
    api.world.repo.redis.delete(api.world.repo.view.prefix + "upkeep_asked")  # as if a second had passed
    assert api.http.get("/readyz").status_code == 200, "a backlog is no reason to send anybody elsewhere"
    assert unsent.get(timeout=60) == "sluice.upkeep"


def test_what_is_wrong_is_said_though_upkeep_cannot_be_asked_for(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(api.http.application.extensions["sluice"].repo.redis, "set", refuse)
    api.world.repo.redis.delete(api.world.repo.view.prefix + "recovered")
    answer = api.http.get("/readyz")
    assert answer.status_code == 503 and answer.get_json()["ready"] is False
    assert answer.get_json()["checks"]["view"]["detail"].endswith("the inbox is being listed")


def test_202_means_durable_even_if_redis_dies_before_anything_is_queued(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> list[int]:
        raise redis.ConnectionError("gone")

    services: Services = api.http.application.extensions["sluice"]
    with monkeypatch.context() as redis_dies:
        # For this process it stays so; those of the workers find it.
        redis_dies.setattr(services.repo.queue, "enqueue", away)
        made = api.put("f", "1")
        assert made["status"] == "queued" and "position" not in made
        assert not commit_batch(api.world.repo).changesets, "nobody knows of it"
        assert run_upkeep(api.world.repo).enqueued == 1
        api.world.work()
        assert api.get(f"/changesets/{made['id']}")["status"] == "landed"
    tip = api.tip
    while len(services.intake._requeue):
        sleep(0.01)
    api.world.work()
    assert api.tip == tip, "what this process queues in the end is known to be decided"
