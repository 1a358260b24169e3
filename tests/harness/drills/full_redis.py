"""Redis is full under load: reads go on, submissions are 202 or 503 with the reason, and room comes by itself."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import redis

from storage.backends.redis_memory import pressure
from tests.harness.drills.drill import Plan, Scene
from tests.harness.history import Edit, Json, Submission
from tests.harness.writers import message_of

_MARGIN = 20 << 20  # bytes above what is used
_PER_REQUEST, _SENDERS = 500, 4
_LINE = 150  # characters, so that a changeset is about as large as one of the benchmark
_LOADING = 900.0  # most seconds until all has landed
_LOOK_EVERY = 1.0
_BUSY = 60.0  # more seconds for the memory to fall, on a busy machine


def plan(seconds: float, changesets: int) -> Plan:
    """Return the drill: so many changesets land, then Redis has 1 % of what it uses, then 20 MB more than it uses."""

    def full(scene: Scene) -> None:
        _land_many(scene, changesets)
        with redis.Redis.from_url(scene.stack.settings.redis_url) as client:
            used = pressure(client).used
            scene.say(f"{changesets:,} changesets have landed, and Redis uses {used >> 20} MiB")
            _held_down(scene, client, max(1, used // 100), seconds, "maxmemory at 1 %")
            _held_down(scene, client, pressure(client).used + _MARGIN, seconds, "maxmemory 20 MB above what is used")
            client.config_set("maxmemory", 0)
            began = time.monotonic()
            scene.await_landed(scene.submit())
            scene.note("a changeset that is submitted now has landed, after that", time.monotonic() - began)
            scene.await_recovery("Redis had room again")
            scene.note("all that was accepted has ended, after it", time.monotonic() - began)

    return full


def _held_down(scene: Scene, client: redis.Redis, limit: int, seconds: float, what: str) -> None:
    """Let Redis have so much for a while, and note what it uses."""
    before = pressure(client).used
    client.config_set("maxmemory", limit)
    scene.say(f"{what}: {limit >> 10} KiB, for {seconds:g} s")
    counted = scene.tally.answers.copy()
    with scene.tally.reads_go_on():
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until or (pressure(client).used >= before > limit and now < until + _BUSY):
            time.sleep(_LOOK_EVERY)
    least = after = pressure(client).used
    answers = scene.tally.answers - counted
    scene.say(f"{what}: {before >> 10} KiB were used, and now {after >> 10}; answers: {dict(answers)}")
    scene.report.memory[what] = (before, least)
    if least >= before and before > limit:
        scene.report.late.append(f"{what}: the memory did not fall, from {before >> 10} to {least >> 10} KiB")


def _land_many(scene: Scene, changesets: int) -> None:
    """Have so many changesets of two files each landed, beside the load; the checker knows of each."""
    if not changesets:
        return
    scene.say(f"landing {changesets:,} changesets")
    made = [_changeset(number) for number in range(changesets)]
    for submission, _ in made:
        scene.session.history.note_sent(submission)
    groups = [made[start : start + _PER_REQUEST] for start in range(0, len(made), _PER_REQUEST)]
    with ThreadPoolExecutor(_SENDERS) as pool:
        list(pool.map(lambda group: _send(scene, group), groups))
    until = time.monotonic() + _LOADING
    for last, _ in (group[-1] for group in groups):  # of one slice, in the order of their ids
        changeset = next(iter(last.ids))
        while (document := scene.session.look(changeset, wait=5)) is None or document["status"] != "landed":
            if time.monotonic() > until:
                raise TimeoutError(f"{changeset} has not landed after {_LOADING:g} s")
    scene.session.history.ended.update(changeset for submission, _ in made for changeset in submission.ids)


def _changeset(number: int) -> tuple[Submission, Json]:
    key = f"bulk-{number}"
    paths = [f"bulk/{number // 500}/{number % 500}-{kind}.txt" for kind in ("a", "b")]
    lines = {path: f"{key} {path} ".ljust(_LINE, ".") for path in paths}
    changes = [{"op": "put", "path": path, "content": line + "\n", "base": None} for path, line in lines.items()]
    body = {"slice": "everything", "message": message_of(key), "idempotency_key": key, "changes": changes}
    return Submission(key, "bulk", {path: Edit((line,)) for path, line in lines.items()}), body


def _send(scene: Scene, group: Sequence[tuple[Submission, Json]]) -> None:
    left = list(group)
    while left:
        answer = scene.tally("POST", "/v1/changesets", {"changesets": [body for _, body in left]})
        if answer.status != 202:
            time.sleep(float(answer.retry_after or 1))
            continue
        left = list(_not_taken(scene, left, answer.document["outcomes"]))


def _not_taken(
    scene: Scene, sent: Sequence[tuple[Submission, Json]], outcomes: Sequence[Json]
) -> Iterator[tuple[Submission, Json]]:
    for (submission, body), outcome in zip(sent, outcomes, strict=True):
        if outcome["status"] == 202:
            scene.session.history.note_accepted(submission, outcome["changeset"])
        elif outcome["status"] in {429, 503}:
            yield submission, body
        else:
            raise AssertionError(json.dumps(outcome))
