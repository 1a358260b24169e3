"""Events reach a webhook's receiver in log order, each until it is taken, under the same id, and no others do."""

from __future__ import annotations

import contextlib
import random
import threading
import zlib
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from msgspec.structs import replace as changed
from redis.client import Pipeline
from redis.exceptions import OutOfMemoryError
from standardwebhooks import Webhook as StandardWebhook
from structlog.testing import capture_logs

from app.admin.verify import verify
from storage.base.ids import new_ulid
from storage.base.settings import Settings
from storage.log.records import Actor
from storage.operations import webhooks
from storage.repository import Repository
from storage.view.load import load
from storage.view.webhooks import durable_positions, webhooks_of
from storage.webhooks import signing
from storage.webhooks.records import Webhook
from tasks.upkeep import run as run_upkeep
from tasks.webhooks import outcomes
from tasks.webhooks.delivery import deliver
from tasks.webhooks.due import due, note_positions
from tasks.webhooks.told import Source
from tests.support.compaction import aged_world, compacted
from tests.support.receiver import Receiver, receiving
from tests.support.redis_rows import flush
from tests.support.world import World, item

KEY = "a key for tests, of 32 characters or more"
SOMEBODY = Actor(principal="unknown")


@pytest.fixture
def world(settings: Settings) -> World:
    chosen = replace(
        settings,
        webhook_key=KEY,
        webhook_private_targets=True,
        webhook_waits=",".join(["0.001"] * 2000),
        webhook_timeout=20.0,
        webhook_batch=100_000,
    )
    return World(Repository(chosen))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(Receiver()) as receiver:
        yield receiver


def made(world: World, url: str, **more: Any) -> str:
    webhook = Webhook(id=new_ulid(), url=url, **{"owner": "unknown", **more})
    webhooks.create(world.repo, webhook, SOMEBODY)
    return webhook.id


def run(world: World, webhook_id: str) -> tuple[int, int, bool]:
    return deliver(world.repo, webhook_id, Source(world.repo), threading.Event())


def there(world: World, webhook_id: str) -> Webhook:
    return webhooks_of(world.repo.view, [webhook_id])[0]


def land(world: World, count: int) -> None:
    """Land changesets in one batch: each is two events."""
    world.submit(*(item(world.all, {f"f{new_ulid()}": b"1"}, world.tip) for _ in range(count)))
    world.work()


def test_what_happens_is_told_in_log_order_signed_and_with_a_type(world: World, receiver: Receiver) -> None:
    webhook_id = made(world, receiver.url)
    base = world.tip
    first = world.put({"a": b"1"}, base)
    world.work()
    world.put({"a": b"2"}, base)
    world.work()
    assert run(world, webhook_id) == (3, 0, False)
    bodies = [told.json for told in receiver.told]
    assert [body["type"] for body in bodies] == ["changeset.committed", "changeset.landed", "changeset.conflicted"]
    assert bodies[1]["data"]["id"] == first and bodies[2]["data"]["reason"] == "conflict"
    assert bodies[0]["timestamp"].endswith("Z")
    events = [body["data"]["event"] for body in bodies]
    assert receiver.taken == [signing.message_id(webhook_id, event) for event in events] and len(set(events)) == 3
    judge = StandardWebhook(signing.shown(signing.secret_of(KEY, webhook_id, 1)))
    for told in receiver.told:
        assert judge.verify(told.body, dict(told.headers)) == told.json
    assert run(world, webhook_id) == (0, 0, False)
    assert due(world.repo) == []


def test_half_of_the_tries_fail_and_the_receiver_restarts_yet_each_is_told_in_order(world: World) -> None:
    told_of(world, changesets=250, restarts=3)


@pytest.mark.long
def test_ten_thousand_events_at_a_receiver_that_fails_half_of_the_time(world: World) -> None:
    told_of(world, changesets=5000, restarts=20)


def told_of(world: World, changesets: int, restarts: int) -> None:
    """Tell two events of each changeset to a receiver that fails half of the time, and is restarted between."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # shown where it fails
    chance = random.Random(seed)
    taken: list[str] = []
    failures = {"hang up": None, "error": (500, {}), "busy": (503, {"Retry-After": "0"})}

    def answer(told: Any) -> Any:
        if chance.random() < 0.5:
            return failures[chance.choice(list(failures))]
        taken.append(told.id)
        return 200, {}

    receiver = Receiver(answer, keeps=True)
    with receiving(receiver):
        webhook_id = made(world, receiver.url)
    for _ in range(0, changesets, 250):
        land(world, 250)
    settings = world.repo.settings
    while changesets * 2 > len(set(taken)):
        assert there(world, webhook_id).disabled is None
        with receiving(receiver):
            world.repo.settings = replace(settings, webhook_batch=max(50, 4 * changesets // restarts))
            run(world, webhook_id)
        world.repo.settings = replace(settings, webhook_batch=5)
        assert run(world, webhook_id)[:2] in ((0, 5), (0, 0)), "nobody listens"
    firsts = list(dict.fromkeys(taken))
    assert len(firsts) == 2 * changesets
    positions = [tuple(map(int, each.split("_")[2:])) for each in firsts]
    assert positions == sorted(positions), "in log order"
    bodies: dict[str, bytes] = {}
    for told in receiver.told:
        assert bodies.setdefault(told.id, told.body) == told.body, "a repeat is the same"
    assert len(receiver.told) > 3 * changesets


def test_a_loss_of_redis_repeats_what_the_log_does_not_have_yet_and_loses_nothing(
    world: World, receiver: Receiver
) -> None:
    webhook_id = made(world, receiver.url)
    land(world, 3)
    run(world, webhook_id)
    assert note_positions(world.repo) == 1
    land(world, 2)
    run(world, webhook_id)
    before = list(receiver.taken)
    assert len(before) == 10
    flush(world)
    run_upkeep(world.repo)
    land(world, 1)
    run(world, webhook_id)
    assert receiver.taken == before + before[6:] + receiver.taken[-2:], "the last four again, under their ids"
    assert len(set(receiver.taken)) == 12


def test_where_a_webhook_stands_is_noted_where_it_has_moved_and_never_because_it_was_noted(
    world: World, receiver: Receiver
) -> None:
    world.repo.settings = replace(world.repo.settings, webhook_cursor_interval=0.001)
    webhook_id = made(world, receiver.url)
    land(world, 1)
    run(world, webhook_id)
    applied = world.repo.view.head().applied
    assert note_positions(world.repo) == 1
    assert durable_positions(world.repo.view)[webhook_id].seq == applied + 1
    for _ in range(3):
        run(world, webhook_id)
        assert due(world.repo) == []
        assert note_positions(world.repo) == 0
    assert world.repo.view.head().applied == applied + 1
    world.repo.settings = replace(world.repo.settings, webhook_cursor_interval=3600.0)
    land(world, 1)
    run(world, webhook_id)
    assert [note_positions(world.repo) for _ in range(2)] == [1, 0], "once an interval"


def test_what_was_noted_is_there_after_a_rebuild_from_checkpoints(world: World, receiver: Receiver) -> None:
    world.repo.settings = replace(world.repo.settings, checkpoint_entries=2)
    webhook_id = made(world, receiver.url, paths=("a/",), events=("landed",))
    land(world, 2)
    run(world, webhook_id)
    note_positions(world.repo)
    webhook, position = there(world, webhook_id), durable_positions(world.repo.view)
    run_upkeep(world.repo)
    load(world.repo.view, world.repo.log, world.repo.bucket, world.repo.view.epoch())
    assert (there(world, webhook_id), durable_positions(world.repo.view)) == (webhook, position)
    assert world.repo.view.webhook_ids("", 9) == [webhook_id]


def test_one_that_answers_410_is_told_nothing_more_until_it_is_enabled(world: World) -> None:
    answers = [410]
    with receiving(Receiver(lambda told: (answers[0], {}))) as receiver, capture_logs() as logs:
        webhook_id = made(world, receiver.url)
        land(world, 1)
        assert run(world, webhook_id) == (0, 1, False)
        assert there(world, webhook_id).disabled == "gone" and due(world.repo) == []
        assert run(world, webhook_id) == (0, 0, False)
        [event] = [each for each in logs if each["event"] == "webhook_disabled"]
        assert (event["reason"], event["webhook"]) == ("gone", webhook_id)
        answers[0] = 200
        webhooks.change(world.repo, webhook_id, lambda webhook: webhooks.disabled(webhook, None))
        assert run(world, webhook_id) == (2, 0, False), "it goes on with the event at which it stopped"


def test_one_that_fails_at_each_try_is_disabled_behind_the_last_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[str] = []
    monkeypatch.setattr(outcomes, "webhook_delivered", counted.append)
    world.repo.settings = replace(world.repo.settings, webhook_waits="0.001,0.002,0.003")
    with receiving(Receiver(lambda told: (500, {}))) as receiver:
        webhook_id = made(world, receiver.url)
        land(world, 1)
        assert run(world, webhook_id) == (0, 4, False)
        assert there(world, webhook_id).disabled == "failing"
        rows = world.repo.deliveries.recent(webhook_id, 10)
        assert [(row.attempt, row.status, row.error) for row in rows] == [(n, 500, "status") for n in (4, 3, 2, 1)]
        assert [row.next is not None for row in rows] == [False, True, True, True]
    assert sorted(counted) == ["disabled", "failed", "failed", "failed", "failed"]


def test_the_next_try_is_left_to_a_later_run_and_is_due_at_its_time(world: World, receiver: Receiver) -> None:
    world.repo.settings = replace(world.repo.settings, webhook_waits="100,100")
    webhook_id = made(world, "http://127.0.0.1:1/")  # nobody listens
    other = made(world, receiver.url)
    land(world, 1)
    assert sorted(due(world.repo)) == sorted([webhook_id, other])
    assert run(world, webhook_id) == (0, 1, False)
    [progress] = world.repo.deliveries.progress([webhook_id])
    assert progress is not None and (progress.failed, progress.error) == (1, "connection")
    [row] = world.repo.deliveries.recent(webhook_id, 10)
    assert row.next is not None and 100 <= row.next - row.time + 1 <= 122
    assert run(world, webhook_id) == (0, 0, False)
    assert run(world, other) == (2, 0, False), "others are told meanwhile"
    assert due(world.repo) == []
    webhooks.change(world.repo, webhook_id, lambda webhook: changed(webhook, url=receiver.url))
    world.repo.deliveries.answered(webhook_id)
    assert webhook_id in due(world.repo)
    assert run(world, webhook_id) == (2, 0, False), "another URL need not wait"


def test_without_a_key_nothing_is_delivered(world: World, receiver: Receiver) -> None:
    webhook_id = made(world, receiver.url)
    land(world, 1)
    world.repo.settings = replace(world.repo.settings, webhook_key="")
    assert due(world.repo) == [] and run(world, webhook_id) == (0, 0, False)
    assert receiver.told == []


def test_events_whose_entries_left_the_view_are_told_and_the_view_is_right(world: World, receiver: Receiver) -> None:
    webhook_id = made(world, receiver.url)
    for _ in range(3):
        land(world, 1)
    aged = aged_world(world)
    assert compacted(aged)
    assert aged.repo.view.head().archived > 3
    assert run(aged, webhook_id) == (6, 0, False)
    assert verify(aged.repo, with_git=False).differences == []


def test_retry_after_is_honoured_up_to_the_longest_wait(world: World) -> None:
    world.repo.settings = replace(world.repo.settings, webhook_waits="1,60")
    for asked, least, most in (("30", 30, 37), ("99999999", 60, 73), ("soon", 1, 2)):
        with receiving(Receiver(lambda told, asked=asked: (429, {"Retry-After": asked}))) as receiver:
            webhook_id = made(world, receiver.url)
            land(world, 1)
            run(world, webhook_id)
            row = world.repo.deliveries.recent(webhook_id, 10)[0]
            assert row.next is not None and least - 1 <= row.next - row.time <= most, asked


def test_only_what_was_asked_for_is_told(world: World, receiver: Receiver) -> None:
    by_event = made(world, receiver.url, events=("landed",))
    by_slice = made(world, receiver.url, slices=("another",))
    land(world, 1)
    assert run(world, by_slice) == (0, 0, False)
    assert run(world, by_event) == (1, 0, False)
    assert receiver.told[0].json["type"] == "changeset.landed"


def test_one_run_at_a_time_delivers_to_a_webhook(world: World) -> None:
    second: list[Any] = []

    def answer(told: Any) -> tuple[int, dict[str, str]]:
        second.append(run(world, webhook_id))
        return 200, {}

    with receiving(Receiver(answer)) as receiver:
        webhook_id = made(world, receiver.url)
        land(world, 1)
        assert run(world, webhook_id) == (2, 0, False)
    assert second == [(0, 0, False)] * 2


def test_a_run_ends_after_some_deliveries_so_that_others_have_a_turn(world: World, receiver: Receiver) -> None:
    world.repo.settings = replace(world.repo.settings, webhook_batch=3)
    webhook_id = made(world, receiver.url)
    land(world, 2)
    assert run(world, webhook_id) == (3, 0, True)
    assert run(world, webhook_id) == (1, 0, False)
    stopping = threading.Event()
    stopping.set()
    land(world, 1)
    assert deliver(world.repo, webhook_id, Source(world.repo), stopping) == (0, 0, False)


def test_one_that_is_deleted_while_it_is_told_leaves_nothing_in_redis(world: World) -> None:
    def answer(told: Any) -> tuple[int, dict[str, str]]:
        webhooks.delete(world.repo, webhook_id, SOMEBODY)
        return 200, {}

    with receiving(Receiver(answer)) as receiver:
        webhook_id = made(world, receiver.url)
        land(world, 1)
        assert run(world, webhook_id) == (0, 0, False)
        assert len(receiver.told) == 1
    assert list(world.repo.redis.scan_iter(f"*{webhook_id}*")) == []
    assert webhooks_of(world.repo.view, [webhook_id]) == [] and durable_positions(world.repo.view) == {}


def test_a_rotation_signs_by_both_secrets_and_then_by_the_new_one(world: World, receiver: Receiver) -> None:
    webhook_id = made(world, receiver.url, events=("landed",))
    webhooks.change(world.repo, webhook_id, webhooks.rotated)
    land(world, 1)
    run(world, webhook_id)
    world.repo.settings = replace(world.repo.settings, webhook_overlap=0.0)
    land(world, 1)
    run(world, webhook_id)
    both, new = receiver.told
    old_secret, new_secret = (signing.shown(signing.secret_of(KEY, webhook_id, rotation)) for rotation in (1, 2))
    for secret in (old_secret, new_secret):
        StandardWebhook(secret).verify(both.body, dict(both.headers))
    StandardWebhook(new_secret).verify(new.body, dict(new.headers))
    with pytest.raises(Exception, match="No matching signature"):
        StandardWebhook(old_secret).verify(new.body, dict(new.headers))


def test_no_secret_stands_in_the_bucket_in_redis_or_in_a_log_line(world: World, receiver: Receiver) -> None:
    world.repo.settings = replace(world.repo.settings, checkpoint_entries=1)
    with capture_logs() as logs:
        webhook_id = made(world, receiver.url)
        webhooks.change(world.repo, webhook_id, webhooks.rotated)
        land(world, 2)
        run(world, webhook_id)
        note_positions(world.repo)
        run_upkeep(world.repo)
    searched = b"".join(everything_of(world.repo))
    assert webhook_id.encode() in searched
    searched += repr(logs).encode()
    for rotation in (1, 2):
        secret = signing.secret_of(KEY, webhook_id, rotation)
        shown = signing.shown(secret)
        assert b64decode(shown.removeprefix("whsec_")) == secret
        for form in (
            secret,
            shown.encode(),
            shown.encode()[6:-1],
            secret.hex().encode(),
            secret.hex().upper().encode(),
        ):
            assert form not in searched
    assert KEY.encode() not in searched


def everything_of(repo: Repository) -> Iterator[bytes]:
    """Every object of the bucket, with what is compressed in it, and every value in Redis."""
    for name in repo.bucket.list_keys(""):
        data = repo.bucket.get(name)
        yield data
        for start in range(len(data)):
            if data[start : start + 1] == b"\x78":
                with contextlib.suppress(zlib.error):
                    yield zlib.decompressobj().decompress(data[start:])
    for key in repo.redis.scan_iter(f"{repo.view.prefix}*"):
        yield key + (repo.redis.dump(key) or b"")


def test_what_is_listed_waits_for_memory_and_how_far_it_came_does_not(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook_id = made(world, receiver.url)
    land(world, 1)

    def full(self: Any, *_: Any, **__: Any) -> None:
        raise OutOfMemoryError("command not allowed when used memory > 'maxmemory'")

    monkeypatch.setattr(Pipeline, "execute", full)
    assert run(world, webhook_id) == (2, 0, False)
    monkeypatch.undo()
    assert world.repo.deliveries.recent(webhook_id, 9) == []
    assert run(world, webhook_id) == (0, 0, False) and len(receiver.told) == 2, "nothing is repeated"
