"""The mark goes by the store's clock, so a process whose own is wrong makes no promises."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from app.admin.verify import verify
from storage.backends.bucket import Bucket
from storage.base import ids
from tasks.upkeep import run as run_upkeep
from tests.support.api import Api
from tests.support.compaction import aged_world, compacted
from tests.support.redis_rows import flush

pytestmark = pytest.mark.usefixtures("unsent")


def set_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Have new ids come from a clock that is so far ahead, or behind."""
    clock = SimpleNamespace(time_ns=lambda: time.time_ns() + int(seconds * 1e9))
    monkeypatch.setattr(ids, "time", clock)


@pytest.mark.parametrize("seconds", [-3600.0, 3600.0], ids=["behind", "ahead"])
def test_no_202_if_the_clock_is_off_the_stores_by_more_than_late_put(
    api: Api, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = [{"op": "put", "path": "f", "content": "1"}]
    with monkeypatch.context() as wrong:
        set_clock(wrong, seconds)
        refused = api.submit(503, base=api.tip, changes=changes, key="k")
        assert refused["type"].endswith("unavailable")
        assert not list(api.world.repo.bucket.list_keys("inbox/")), "nor is it stored"
    again = api.submit(base=api.tip, changes=changes, key="k")
    api.world.work()
    assert api.get(f"/changesets/{again['id']}")["status"] == "landed"


def test_what_came_behind_the_mark_is_told_to_nobody_and_found_by_nobody(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = api.put("f", "1")["id"]
    api.world.work()
    compacted(aged_world(api.world))
    with monkeypatch.context() as wrong:
        set_clock(wrong, -3600.0)
        # The store's clock was as wrong until now.
        wrong.setattr(Bucket, "estimated_now", lambda self: time.time() - 3600)
        api.submit(503, base=api.tip, changes=[{"op": "put", "path": "f", "content": "2"}])
    late = next(name for name in api.world.repo.bucket.list_keys("inbox/") if name < f"inbox/{first}")
    assert late[6:32] < api.world.repo.view.head().mark
    flush(api.world)
    run_upkeep(api.world.repo)
    api.world.work()
    assert api.world.files()["f"] == b"1"
    assert not verify(api.world.repo).differences


def test_a_clock_that_differs_by_less_is_no_matter(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(monkeypatch, -2 / 3 * api.world.repo.settings.late_put)
    made = api.put("f", "1")
    api.world.work()
    assert api.get(f"/changesets/{made['id']}")["status"] == "landed"
