"""Reads say of which commit they are, and one rule says when a change can be read."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from storage.base.settings import Settings
from storage.commit import commit_batch
from tests.support.api import Api, Json
from tests.support.principals import grants, principal, secured
from tests.support.waiting import await_true

HEADER = "X-Sluice-Commit"


def ask(api: Api, method: str, path: str, body: Json | None = None, **headers: str) -> Any:
    more = {} if body is None else {"json": body}
    return api.http.open(f"/v1{path}", method=method, headers=headers, **more)


READS = [
    ("GET", "/slices/all/files/a", None),
    ("GET", "/slices/all/tree", None),
    ("GET", "/slices/all/files", None),
    ("POST", "/slices/all/files", {"paths": ["a", "none"]}),
]


@pytest.mark.parametrize(("method", "path", "body"), READS)
def test_a_read_is_of_the_global_head_or_of_the_commit_that_was_asked_for_and_says_so(
    api: Api, method: str, path: str, body: Json | None
) -> None:
    api.put("a", "1")
    api.world.work()
    main = api.get("/head")["main"]["commit"]
    api.put("a", "2")
    commit_batch(api.world.repo)
    head = api.get("/head")
    assert head["main"]["commit"] == main != head["tip"]["commit"]
    assert ask(api, method, path, body).headers[HEADER] == main
    if body is None:
        chosen = ask(api, method, f"{path}?commit={head['tip']['commit']}")
    else:
        chosen = ask(api, method, path, body | {"commit": head["tip"]["commit"]})
    assert chosen.status_code == 200 and chosen.headers[HEADER] == head["tip"]["commit"]


def test_what_the_client_has_already_is_of_a_commit_too(api: Api) -> None:
    api.put("a", "1")
    api.world.work()
    main = api.get("/head")["main"]["commit"]
    for path in ("/slices/all/files/a", "/slices/all/files"):
        etag = ask(api, "GET", path).headers["ETag"]
        answer = ask(api, "GET", path, **{"If-None-Match": etag})
        assert (answer.status_code, answer.headers[HEADER]) == (304, main)


def test_manifests_later_pages_merges_and_activity_say_theirs(api: Api) -> None:
    api.put("a", "1"), api.put("b", "1")
    api.world.work()
    first = api.get("/head")["main"]["commit"]
    page = ask(api, "GET", "/slices/all/tree?limit=1")
    lines = ask(api, "GET", "/slices/all/tree", Accept="application/x-ndjson")
    assert page.headers[HEADER] == lines.headers[HEADER] == lines.headers["X-Git-Commit"] == first
    api.put("c", "1")
    api.world.work()
    head = api.get("/head")
    rest = ask(api, "GET", f"/slices/all/tree?cursor={page.get_json(force=True)['next']}")
    assert rest.headers[HEADER] == first, "the commit of the first page"
    assert ask(api, "GET", f"/commits/{first}/changesets").headers[HEADER] == first
    assert ask(api, "GET", "/paths/a").headers[HEADER] == head["tip"]["commit"]


def read(api: Api, path: str) -> tuple[int, bytes]:
    answer = ask(api, "GET", f"/slices/all/files/{path}")
    return answer.status_code, answer.data


@pytest.mark.parametrize("until", [{}, {"until": "landed"}])
def test_after_the_default_wait_a_default_read_of_any_process_shows_the_change(api: Api, until: Json) -> None:
    made, answered = api.put("a", "mine"), []
    waiting = threading.Thread(target=lambda: answered.append(api.get(f"/changesets/{made['id']}", wait=50, **until)))
    waiting.start()
    await_true(lambda: api.http.application.extensions["sluice"].waiting.feed._waiting > 0)
    commit_batch(api.world.repo)
    assert api.get(f"/changesets/{made['id']}", wait=0.01, **until)["status"] == "committed", "not yet"
    assert read(api, "a")[0] == 404
    api.world.work()
    waiting.join()
    assert [each["status"] for each in answered] == ["landed"]
    assert read(api, "a") == read(api.another(), "a") == (200, b"mine")


def test_after_a_wait_until_it_is_committed_a_read_of_its_commit_shows_the_change(api: Api) -> None:
    made = api.put("a", "mine")
    commit_batch(api.world.repo)
    now = api.get(f"/changesets/{made['id']}", wait=50, until="committed")
    assert now["status"] == "committed"
    answer = ask(api, "GET", f"/slices/all/files/a?commit={now['commit']}")
    assert (answer.data, answer.headers[HEADER]) == (b"mine", now["commit"])


def test_how_a_queued_changeset_gets_on_is_told_as_far_as_one_may_know(settings: Settings, unsent: object) -> None:
    root = secured(settings, commit_changesets=1, max_commit_changesets=1)
    root.post("/slices", {"name": "docs", "paths": ["docs/"]}, 201)
    grants(root, "agent:a writer docs/")
    agent = principal(root, "agent:a")
    tip = root.tip

    def put(name: str, **more: Any) -> str:
        change = {"op": "put", "path": f"docs/{name}", "content": "1"}
        return str(agent.submit(where="docs", base=tip, changes=[change], **more)["id"])

    held, *ids = [put("held", hold=True), *(put(f"f{i}") for i in range(4))]
    assert "eta" not in agent.get(f"/changesets/{held}"), "nobody knows when it is released"
    assert agent.get(f"/changesets/{ids[3]}")["eta"] is None, "nothing is known yet"
    for _ in range(2):
        commit_batch(root.world.repo)
    agent.post(f"/changesets/{held}/release", {}, 403)
    root.post(f"/changesets/{held}/release", {}, 200)
    shown = agent.get(f"/changesets/{ids[3]}")
    assert shown["position"] == 2 and shown["eta"].keys() == {"seconds"} and shown["eta"]["seconds"] >= 0
    assert "passed_by" not in shown, "how many there are is told to who may read everything"
    everything = root.get(f"/changesets/{held}")
    assert everything["passed_by"] == {"count": 2, "changesets": [ids[1], ids[0]], "complete": True}
    eta = everything["eta"]
    assert eta["decided"] == 1 and eta["over"] >= 0 and everything["position"] == 0
    root.world.work()
    assert not {"eta", "passed_by", "position"} & root.get(f"/changesets/{held}").keys()
