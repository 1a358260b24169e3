"""A pack waits for what is coming, and for the pack before; where nothing is, it waits for nothing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.intake import gathering as module
from app.intake.gathering import ENOUGH, Gathering, Waiting
from storage.backends.bucket import Bucket
from storage.base.ids import PackId, changesets_of
from tests.support.api import Api
from tests.support.waiting import await_true

pytestmark = pytest.mark.usefixtures("unsent")


def packs(api: Api) -> list[int]:
    """Return how many changesets each submission pack has, oldest first."""
    return [
        len(changesets_of(PackId(name.removesuffix(".pack")))) for name in api.world.repo.bucket.list_keys("inbox/")
    ]


def test_a_pack_waits_only_for_requests_that_are_coming(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST", 60.0)
    gathering = Gathering()
    alone = Waiting(gathering)
    assert alone.goes_on(1), "those whose bytes have arrived are let run once"
    assert not alone.goes_on(1)
    with gathering.coming():
        busy = Waiting(gathering)
        assert busy.goes_on(1) and busy.goes_on(1) and busy.goes_on(1)
    assert busy.goes_on(2), "one more came meanwhile"
    assert not busy.goes_on(2)


def test_a_pack_does_not_wait_for_ever_for_what_is_coming() -> None:
    gathering = Gathering()
    with gathering.coming():
        waiting, passes = Waiting(gathering), 1
        while waiting.goes_on(passes):
            passes += 1
        assert gathering.is_coming


def test_a_pack_waits_for_the_one_before_and_goes_beside_it_where_that_takes_long() -> None:
    gathering = Gathering()
    assert gathering.wait_for_pack(1), "none is on its way"
    assert not gathering.wait_for_pack(1), "the one before did not arrive in time"
    gathering.arrived(False, 0.0)
    assert not gathering.wait_for_pack(1), "the first is still on its way"
    gathering.arrived(True, 0.0)
    assert gathering.wait_for_pack(1)


def test_a_pack_that_is_large_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    gathering = Gathering()
    assert gathering.wait_for_pack(1)
    monkeypatch.setattr(gathering, "_usual", 1200.0)
    assert not gathering.wait_for_pack(ENOUGH), "the one before is on its way for minutes"


def test_a_large_request_is_stored_while_others_are_coming(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST", 1200.0)
    change = {"op": "put", "content": "x", "base": None}
    many = [{"slice": "all", "message": "m", "changes": [change | {"path": f"f{i}"}]} for i in range(ENOUGH)]
    with api.http.application.extensions["sluice"].intake.gathering.coming():
        assert api.http.post("/v1/changesets", json={"changesets": many}).status_code == 202
    assert packs(api) == [ENOUGH]


def test_requests_that_come_together_are_stored_in_one_pack(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    put, begun, may = Bucket.put_verified, threading.Event(), threading.Event()

    def slow(bucket: Bucket, name: str, data: bytes) -> float:
        begun.set()
        assert may.wait(60)
        return put(bucket, name, data)

    monkeypatch.setattr(Bucket, "put_verified", slow)
    intake = api.http.application.extensions["sluice"].intake
    monkeypatch.setattr(intake.gathering, "_usual", 1200.0)  # the pack before may take minutes
    client = api.http.application.test_client

    def submit(i: int) -> int:
        body = {"message": "m", "base": api.tip, "changes": [{"op": "put", "path": f"f{i}", "content": "x"}]}
        return client().post("/v1/slices/all/changesets", json=body).status_code

    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(submit, 0)
        assert begun.wait(60)
        others = [pool.submit(submit, i) for i in range(1, 9)]
        await_true(lambda: intake._requests.qsize() >= 7)  # one of them is what the next pack begins with
        may.set()
        assert {each.result(60) for each in [first, *others]} == {202}
    assert packs(api) == [1, 8]
    api.world.work()
    assert len(api.world.files()) == 9
