"""One changeset takes the place of another, and no second: asked for at once, by many, and after Redis forgot."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.admin.verify import verify
from storage.base.settings import Settings
from storage.operations.succession import turn
from tasks.upkeep import run as run_upkeep
from tests.support.api import Api, Json
from tests.support.collisions import collide_on, edit, put, status, text
from tests.support.compaction import aged_world, compacted
from tests.support.redis_rows import flush


def say(api: Api, changeset: Json, verb: str, side: str = "theirs", key: str | None = None) -> tuple[int, Json]:
    """Ask for a successor; return the answer's status and body."""
    body = {"paths": {"f": {"take": side}}} if verb == "resolve" else None
    headers = {"Idempotency-Key": key} if key else {}
    answer = api.http.post(f"/v1/changesets/{changeset['id']}/{verb}", json=body, headers=headers)
    return answer.status_code, answer.get_json(force=True)


def conflict_for(api: Api, *verbs: str) -> tuple[Json, str]:
    """Return a conflicted changeset, and what becomes of a first successor by the first verb.

    To be rebased, the head has to have moved; then a resolution, which is of what stood there before, conflicts again.
    """
    found = collide_on(api)
    if "rebase" in verbs:
        api.submit(base=api.tip, changes=[put("f", edit(15, "elsewhere"))])
        api.world.work()
    return found, "conflicted" if verbs[0] == "resolve" and "rebase" in verbs else "landed"


def closed_by(api: Api, changeset: Json) -> str | None:
    return api.get(f"/changesets/{changeset['id']}").get("closed_by")


@pytest.fixture
def unguarded(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Let successors through of which nobody knows in Redis, as when it was lost between two of them."""
    return lambda: monkeypatch.setattr("app.routes.lifecycle.successor_of", lambda repo, changeset: None)


VERBS = [(first, second) for first in ("resolve", "rebase") for second in ("resolve", "rebase")]


@pytest.mark.parametrize(("first", "second"), VERBS)
@pytest.mark.parametrize("keys", [(None, None), ("a", "b"), (None, "b"), ("a", None)])
def test_while_one_is_undecided_any_other_is_a_409_that_names_it(
    api: Api, first: str, second: str, keys: tuple[str | None, str | None]
) -> None:
    found, end = conflict_for(api, first, second)
    code, made = say(api, found, first, key=keys[0])
    assert code == 202
    repeat = first == second and keys == (None, None)
    for side in ("ours", "theirs"):
        code, refused = say(api, found, second, side, keys[1])
        if repeat and (second == "rebase" or side == "theirs"):
            assert (code, refused["id"]) == (202, made["id"])
        else:
            assert (code, refused["changeset"]) == (409, made["id"]) and made["id"] in refused["detail"]
    assert say(api, found, first, key=keys[0]) == (202, made)
    api.world.work()
    assert status(api, made) == end and closed_by(api, found) == made["id"]
    assert verify(api.world.repo).differences == []


def test_three_resolutions_with_keys_are_one_while_nothing_is_committed(api: Api) -> None:
    found = collide_on(api)
    answers = [say(api, found, "resolve", side, key) for side, key in (("theirs", "1"), ("ours", "2"), ("ours", "3"))]
    assert [code for code, _ in answers] == [202, 409, 409]
    api.world.work()
    assert closed_by(api, found) == answers[0][1]["id"] and status(api, answers[0][1]) == "landed"
    assert say(api, found, "resolve", "ours", "2")[1]["closed_by"] == answers[0][1]["id"]


@pytest.mark.parametrize("end", ["abandoned", "rejected"])
def test_what_came_to_nothing_leaves_the_place_to_another(api: Api, end: str) -> None:
    found = collide_on(api)
    _, first = say(api, found, "resolve", "theirs", "a")
    if end == "abandoned":
        api.post(f"/changesets/{first['id']}/abandon", None, 200)
    else:
        api.world.repo.redis.hset(f"{api.world.repo.view.prefix}work:{first['id']}", "deaths", 0)
        api.world.repo.redis.zadd(f"{api.world.repo.view.prefix}suspects", {first["id"]: 0})
        api.world.reopened(poison_tries=0).work()
    assert status(api, first) == end and closed_by(api, found) is None
    code, second = say(api, found, "resolve", "ours", "b")
    assert code == 202
    api.world.work()
    assert closed_by(api, found) == second["id"]


def test_a_held_changeset_is_rebased_once(api: Api) -> None:
    held = api.submit(base=api.tip, changes=[put("a", "1")], hold=True)
    code, made = say(api, held, "rebase", key="a")
    assert (code, made["status"]) == (202, "held")
    code, refused = say(api, held, "rebase", key="b")
    assert (code, refused["changeset"]) == (409, made["id"])
    api.post(f"/changesets/{made['id']}/abandon", None, 200)
    assert say(api, held, "rebase", key="b")[0] == 202


@pytest.fixture
def two(settings: Settings, api: Api) -> Iterator[list[Api]]:
    """Two API processes."""
    other = api.another()
    yield [api, other]
    other.close()


@pytest.mark.parametrize("verbs", [("resolve",), ("rebase",), ("resolve", "rebase")])
def test_of_many_at_once_one_is_accepted_and_the_others_get_its_id(two: list[Api], verbs: tuple[str, ...]) -> None:
    api = two[0]
    found, _ = conflict_for(api, *verbs)
    count = 8
    together = threading.Barrier(count)

    def ask(number: int) -> tuple[int, Json]:
        together.wait()
        return say(two[number % 2], found, verbs[number % len(verbs)], key=f"k{number}")

    with ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(ask, range(count)))
    [made] = [body for code, body in answers if code == 202]
    assert {body["changeset"] for code, body in answers if code == 409} == {made["id"]}
    assert sorted(code for code, _ in answers) == [202] + [409] * (count - 1)
    api.world.work()
    assert closed_by(api, found) == made["id"]


def test_who_asks_while_another_is_being_made_waits_for_that(api: Api) -> None:
    found = collide_on(api)
    with ThreadPoolExecutor(1) as pool, turn(api.world.repo, found["id"]):
        answer = pool.submit(say, api, found, "resolve")
    assert answer.result()[0] == 202


def test_who_waits_for_as_long_as_a_request_may_take_is_told_to_come_back(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = collide_on(api)
    monkeypatch.setattr("storage.operations.succession.deadline.left", lambda most: 0.01)
    with turn(api.world.repo, found["id"]):
        answer = api.post(f"/changesets/{found['id']}/resolve", {"paths": {"f": {"take": "ours"}}}, 503)
    assert answer.headers["Retry-After"]


def test_after_redis_was_lost_the_one_that_waits_is_found_again(api: Api) -> None:
    found = collide_on(api)
    _, made = say(api, found, "resolve", "theirs", "a")
    flush(api.world)
    assert say(api, found, "resolve", "ours", "b")[0] == 503
    run_upkeep(api.world.repo)
    code, refused = say(api, found, "resolve", "ours", "b")
    assert (code, refused["changeset"]) == (409, made["id"])
    api.world.work()
    assert closed_by(api, found) == made["id"]


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize(("first", "second"), VERBS)
def test_of_two_accepted_successors_the_first_in_the_log_counts(
    api: Api, unguarded: Callable[[], None], first: str, second: str, flushed: bool
) -> None:
    found, end = conflict_for(api, first, second)
    unguarded()
    _, made = say(api, found, first, "theirs", "a")
    code, late = say(api, found, second, "ours", "b")
    assert code == 202
    if flushed:
        flush(api.world)
        run_upkeep(api.world.repo)
    api.world.work()
    shown = api.get(f"/changesets/{late['id']}")
    assert (shown["status"], shown["reason"]) == ("rejected", "conflict-closed") and made["id"] in shown["detail"]
    assert status(api, made) == end and closed_by(api, found) == made["id"]
    assert say(api, late, "rebase")[0] == 409
    assert verify(api.world.repo, with_git=False).differences == []


def test_a_conflict_that_was_closed_long_ago_stays_closed_by_the_same(api: Api, unguarded: Callable[[], None]) -> None:
    """What closed it stands in the archive alone by the time when a second one is decided."""
    found = collide_on(api)
    unguarded()
    _, made = say(api, found, "resolve", "theirs", "a")
    _, late = say(api, found, "resolve", "ours", "b")
    repo = api.world.repo
    repo.redis.zrem(f"{repo.view.prefix}queue:{api.world.all.id}", late["id"])
    api.world.work()
    assert status(api, made) == "landed"
    compacted(aged_world(api.world))
    assert not repo.redis.hexists(repo.view.key("closed"), found["id"])
    flush(api.world)
    run_upkeep(repo)
    api.world.work()
    assert api.get(f"/changesets/{late['id']}")["reason"] == "conflict-closed"
    assert closed_by(api, found) == made["id"]


def test_an_abandoned_conflict_is_closed_also_to_a_waiting_resolution(api: Api) -> None:
    found = collide_on(api)
    _, made = say(api, found, "resolve")
    assert api.post(f"/changesets/{found['id']}/abandon", None, 200).get_json()["closed_by"] == "abandoned"
    api.world.work()
    shown = api.get(f"/changesets/{made['id']}")
    assert (shown["status"], shown["reason"]) == ("rejected", "conflict-closed") and "abandoned" in shown["detail"]
    assert closed_by(api, found) == "abandoned" and "head" in text(api, "f")
    assert say(api, found, "resolve", "ours", "b")[1]["closed_by"] == "abandoned"


def test_a_waiting_resolution_replaces_a_conflict_that_expired_meanwhile(api: Api) -> None:
    found = collide_on(api)
    _, made = say(api, found, "resolve")
    run_upkeep(api.world.reopened(max_open_conflicts=0).repo)
    assert closed_by(api, found) == "expired"
    api.world.work()
    assert status(api, made) == "landed" and closed_by(api, found) == made["id"]


def test_a_conflicted_successor_replaces_and_leaves_its_own_conflict_open(api: Api) -> None:
    found = collide_on(api)
    api.submit(base=api.tip, changes=[put("f", edit(5, "again"))])
    api.world.work()
    _, made = say(api, found, "resolve")
    api.world.work()
    assert status(api, made) == "conflicted" and closed_by(api, found) == made["id"]
    assert [each["id"] for each in api.get("/conflicts")["items"]] == [made["id"]]
    assert say(api, found, "resolve", "ours", "b")[1]["closed_by"] == made["id"]
    assert say(api, made, "resolve", "theirs")[0] == 202
