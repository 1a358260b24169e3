"""What a request may cost, whatever stands in the repository: pages end, and others are served in between."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from app.routes import changesets, conflicts
from app.routes import pages as routes_pages
from app.routes.files import contents
from app.service.readiness import checks, work_checks
from storage.backends.deadline import Spent
from storage.base.errors import Recovering, ViewStale
from storage.base.settings import Settings
from storage.commit.batch import commit_batch
from storage.commit.records import MAX_CONFLICT_BYTES
from storage.git import conflict_hunks
from storage.queue.queue import Queue
from storage.view.view import View
from tests.support.api import Api, Json
from tests.support.collisions import collide, put


def pages(api: Api, at: str, **query: Any) -> list[list[Json]]:
    """Return the items of every page of a list."""
    found, cursor = [], None
    while True:
        page = api.get(at, **query, **({"cursor": cursor} if cursor else {}))
        found.append(page["items"])
        cursor = page["next"]
        if cursor is None:
            return found


def everywhere(api: Api, paths: list[str], lines: int = 1, every: int = 1) -> str:
    """Have a changeset conflict on all of `paths`, on each in every so many lines; return its id."""

    def texts(side: str) -> list[Json]:
        text = "".join(f"{side} {i}\n" + "same\n" * (every - 1) for i in range(0, lines, every))
        return [put(path, f"{path[-1]}\n{text}") for path in paths]

    return collide(api, texts("base"), texts("head"), texts("late"))


def test_a_page_of_conflicts_ends_by_bytes_and_explains_at_most_one_more(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api(replace(settings, max_page_bytes=25_000))
    made = everywhere(api, [f"f{i}" for i in range(5)], lines=150)
    explained, real = [], conflict_hunks._explanation
    monkeypatch.setattr(conflict_hunks, "_explanation", lambda *args: explained.append(0) or real(*args))
    found = pages(api, f"/changesets/{made}/conflicts")
    assert [[each["path"] for each in page] for page in found] == [["f0", "f1"], ["f2", "f3"], ["f4"]], (
        "9 KB each with their hunks, of 25 KB for a page"
    )
    assert all(len(each["hunks"]) == 1 and each["marked"] for page in found for each in page)
    assert len(explained) <= 5 + 2, "of each page but the last, the one that had no room"


def test_a_page_of_conflicts_ends_with_its_time_and_lets_others_run(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made = everywhere(api, ["a", "b", "c"])
    ticks, turns = iter(range(0, 1000, 4)), []
    monkeypatch.setattr(routes_pages, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    monkeypatch.setattr(routes_pages, "breathe", lambda: turns.append(0))
    assert [len(page) for page in pages(api, f"/changesets/{made}/conflicts")] == [3], "in less than ten seconds"
    assert len(turns) == 3
    ticks = iter(range(0, 1000, 6))
    assert [len(page) for page in pages(api, f"/changesets/{made}/conflicts")] == [2, 1]
    ticks = iter(range(0, 1000, 60))
    assert [len(page) for page in pages(api, f"/changesets/{made}/conflicts")] == [1, 1, 1]


def test_texts_are_read_in_groups_bounded_by_bytes(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made = everywhere(api, ["a", "b", "c", "d", "e"], lines=10)  # 70 bytes a text
    whole = api.get(f"/changesets/{made}/conflicts")["items"]
    runs = []
    together = conflict_hunks.Explainer.together
    monkeypatch.setattr(conflict_hunks.Explainer, "together", lambda self, w: runs.append(len(w)) or together(self, w))
    for room, expected in ((1 << 20, [5]), (500, [2, 2, 1]), (1, [1, 1, 1, 1, 1])):
        monkeypatch.setattr(contents, "_TOGETHER_BYTES", room)
        runs.clear()
        assert api.get(f"/changesets/{made}/conflicts")["items"] == whole
        assert runs == expected
    assert [each["path"] for each in api.get(f"/changesets/{made}/diff")["items"]] == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("lines", "every", "hunks"),
    [(4000, 4, 1000), (4004, 4, None), (49_999, 49_999, 1), (50_000, 50_000, None)],
)
def test_of_very_many_hunks_or_lines_there_is_the_marked_text_alone(
    api: Api, lines: int, every: int, hunks: int | None
) -> None:
    made = everywhere(api, ["f"], lines, every)
    [shown] = api.get(f"/changesets/{made}/conflicts")["items"]
    assert (shown["hunks"] and len(shown["hunks"])) == hunks
    assert shown["marked"].count(">>>>>>> submitted\n") == -(-lines // every)


def test_pages_of_changesets_end_with_their_bytes(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api(replace(settings, max_page_bytes=7000))
    base = api.tip
    for side in ("head", "late", "later", "last"):
        api.submit(base=base, changes=[put(f"{'d' * 200}/{i}", side) for i in range(6)])
    api.world.work()
    asked = []
    states = Queue.states
    monkeypatch.setattr(Queue, "states", lambda self, ids: asked.append(len(ids)) or states(self, ids))
    monkeypatch.setattr(changesets, "_TOGETHER", 2)
    for at, query in (("/conflicts", {}), ("/slices/all/changesets", {"status": "conflicted"})):
        found = pages(api, at, **query)
        assert [len(page) for page in found] == [2, 1], "of 3 KB each, and 7 KB for a page"
        assert len({each["id"] for page in found for each in page}) == 3
        assert pages(api, at, limit=1, **query) == [[each] for page in found for each in page]
    assert max(asked) == 2, "read in small groups"
    held = [api.submit(base=base, hold=True, changes=[put(f"{i}", "1")])["id"] for i in range(100)]
    found = pages(api, "/slices/all/changesets", status="held")
    assert len(found) > 1 and [each["id"] for page in found for each in page] == held
    assert all(len(json.dumps(page, separators=(",", ":"))) <= 7000 for page in found)


def test_what_is_stacked_on_a_held_changeset_makes_nobody_unready(settings: Settings) -> None:
    api = Api(replace(settings, max_queue_age=-1.0))
    held = api.submit(base=api.tip, hold=True, changes=[put("a", "1")])["id"]
    stacked = api.submit(base=held, changes=[put("b", "1")])["id"]
    assert work_checks(api.world.repo, checks(api.world.repo))["queue"]["oldest"] == 0
    api.post(f"/changesets/{held}/release", None, 200)
    time.sleep(0.01)
    assert work_checks(api.world.repo, checks(api.world.repo))["queue"]["oldest"] > 0, (
        "it could be committed, and so could the one on it"
    )
    api.world.work()
    assert api.get(f"/changesets/{stacked}")["status"] == "landed"
    assert work_checks(api.world.repo, checks(api.world.repo))["queue"]["oldest"] == 0


def test_a_look_at_a_path_reads_few_packs_and_entries_and_says_so(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conflicts, "MOST", 6)
    committed = []
    for i in range(8):
        committed.append(api.put("a", f"{i}\n")["id"])
        commit_batch(api.world.repo)
    queued = [api.put("a", f"{i}\n")["id"] for i in range(8)]
    repo = api.http.application.extensions["sluice"].repo
    repo.redis.delete(*repo.redis.scan_iter(f"*{repo.settings.repository}*:manifest:*"))
    read, packs = [], []
    call_all, get = repo.bucket.map_concurrently, repo.bucket.get

    def noted(name: str) -> bytes:
        packs.append(name)
        return get(name)

    def counted(call: Any, items: Any) -> list[Any]:
        read.append(len(items := list(items)))
        return call_all(call, items)

    monkeypatch.setattr(repo.bucket, "map_concurrently", counted)
    monkeypatch.setattr(repo.bucket, "get", noted)
    found = api.get("/paths/a")
    assert [each["id"] for each in found["committed"]] == committed[:6] and not found["complete"]
    assert [each["id"] for each in found["queued"]] == queued[:6]
    assert len([name for name in packs if name.startswith("inbox/")]) == 6, "one after another"
    assert sorted(read) == [2, 4], "entries a few at once"
    monkeypatch.setattr(conflicts, "MOST", 8)
    found = api.get("/paths/a")
    assert [each["id"] for each in found["committed"]] == committed and found["complete"]
    assert [each["id"] for each in found["queued"]] == queued


def test_an_outcome_names_conflicts_up_to_so_many_bytes(api: Api) -> None:
    deep = "/".join(["d" * 250] * 16)
    made = everywhere(api, [f"{deep}/{i:02}" for i in range(40)])
    shown = api.get(f"/changesets/{made}")
    assert shown["conflict_count"] == 40 and len(shown["conflicts"]) == 16
    assert sum(len(each["path"]) for each in shown["conflicts"]) <= MAX_CONFLICT_BYTES


def test_pages_of_paths_of_control_characters_go_on(api: Api) -> None:
    deep = "/".join(["\x01" * 250] * 16)
    made = everywhere(api, [f"{deep}/{i}" for i in range(3)])
    for what in ("diff", "conflicts"):
        found = pages(api, f"/changesets/{made}/{what}", limit=1)
        assert [[each["path"][-1] for each in page] for page in found] == [["0"], ["1"], ["2"]]


@pytest.mark.parametrize("error", [Spent("request_budget"), ViewStale("another epoch"), Recovering("behind")])
def test_health_and_readiness_name_the_failed_check_of_slow_servers(
    api: Api, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_args: object) -> None:
        raise error

    monkeypatch.setattr(Queue, "oldest", fail)
    monkeypatch.setattr(View, "head", fail)
    for at, word in (("/v1/health", "healthy"), ("/readyz", "ready")):
        answer = api.http.get(at)
        said = answer.get_json()
        assert answer.status_code == 503 and said[word] is False and answer.headers["Retry-After"]
        assert said["checks"]["view"] == {"ok": False, "detail": str(error)}
        assert said["checks"]["redis"]["ok"]
