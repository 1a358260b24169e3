"""What was accepted and could not be queued is queued by the same process, and is never called unknown by any."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from queue import SimpleQueue

import pytest
import redis

from app.api import create_app
from app.intake import intake, requeue
from storage.queue.queue import Queue
from tests.support.api import Api

UNKNOWN = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


class Failing:
    """Lets the queue fail, and pauses last until `heal`; their lengths are kept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: int | None = None) -> None:
        self.pauses: list[float] = []
        self.left = times  # failures; None: until `heal`
        self._healed = threading.Event()
        self._real = Queue.enqueue
        monkeypatch.setattr(Queue, "enqueue", lambda queue, given: self._enqueue(queue, given))
        monkeypatch.setattr(requeue.Requeue, "rest", lambda _, seconds: self._sleep(seconds))

    def heal(self) -> None:
        self._healed.set()

    def _enqueue(self, queue: Queue, given: Sequence[object]) -> list[int]:
        if self.left is None:
            failing = not self._healed.is_set()
        else:
            self.left -= 1
            failing = self.left >= 0
        if failing:
            raise redis.TimeoutError("no answer in time")
        return self._real(queue, given)  # type: ignore[arg-type]

    def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if self.left is None:
            assert self._healed.wait(60)


def test_an_accepted_changeset_is_never_unknown_and_queued_once_possible(
    api: Api, unsent: SimpleQueue[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = api.put("known", "1")["id"]
    assert unsent.get(timeout=60) == "sluice.commit"
    api.world.work()
    base = api.tip
    redis_fails = Failing(monkeypatch)
    made = api.put("f", "1")["id"]
    answer = api.http.get(f"/v1/changesets/{made}")
    assert answer.status_code == 503 and answer.headers["Retry-After"]
    on_it = [{"op": "put", "path": "f", "content": "2"}]
    assert api.submit(503, base=made, changes=on_it)["status"] == 503
    for verb in ("abandon", "release", "rebase"):
        api.post(f"/changesets/{made}/{verb}", {}, 503)
    other = create_app(api.world.repo.settings, check=False).test_client()
    assert other.get(f"/v1/changesets/{made}").status_code == 503, "it was accepted by another process"
    api.get(f"/changesets/{UNKNOWN}", 404)
    assert api.get(f"/changesets/{known}")["status"] == "landed", "what is known is told"
    api.get("/slices/none", 404)
    api.submit(422, base="ab" * 20, changes=on_it)
    redis_fails.heal()
    while unsent.get(timeout=60) != "sluice.commit":
        pass  # upkeep was asked for
    assert api.get(f"/changesets/{made}")["status"] == "queued"
    api.get(f"/changesets/{UNKNOWN}", 404)
    api.submit(422, base=UNKNOWN, changes=on_it)
    api.submit(base=made, changes=on_it)
    api.world.work()
    assert api.get(f"/changesets/{made}")["status"] == "landed" and api.tip != base
    assert api.world.files()["f"] == b"2"


def test_pauses_between_tries_grow_up_to_a_limit(
    api: Api, unsent: SimpleQueue[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_fails = Failing(monkeypatch, times=10)
    made = api.put("f", "1")["id"]
    assert unsent.get(timeout=60) == "sluice.commit"
    assert api.get(f"/changesets/{made}")["status"] == "queued"
    assert redis_fails.pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]


def test_too_much_that_cannot_be_queued_stops_the_intake(
    api: Api, unsent: SimpleQueue[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "MAX_PACKS", 2)
    redis_fails = Failing(monkeypatch)
    made = [api.put(f"f{i}", "1")["id"] for i in range(2)]
    stored = sum(1 for _ in api.world.repo.bucket.list_keys("inbox/"))
    refused = api.submit(503, base=api.tip, changes=[{"op": "put", "path": "g", "content": "1"}])
    assert refused["detail"] == "what was accepted before cannot be queued"
    assert sum(1 for _ in api.world.repo.bucket.list_keys("inbox/")) == stored == 2
    redis_fails.heal()
    assert unsent.get(timeout=60) == "sluice.commit"
    for each in made:
        assert any(api.http.get(f"/v1/changesets/{each}").status_code == 200 for _ in range(10_000)), each
    assert [api.get(f"/changesets/{each}")["position"] for each in made] == [0, 1]
    api.put("g", "1")
