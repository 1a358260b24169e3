"""Webhooks on a whole stack: told by the sender, in order, whatever dies meanwhile, with no secret left anywhere."""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis
from standardwebhooks import Webhook as StandardWebhook

from app.client import webhook_calls
from app.client.api_client import Client
from app.stack.stack import Stack
from tests.support.receiver import Receiver, receiving
from tests.support.waiting import await_true

pytestmark = pytest.mark.parametrize("s3_kind", ["seaweedfs"], indirect=True)
SETTINGS = {
    "webhook_private_targets": True,
    "webhook_interval": 0.2,
    "webhook_cursor_interval": 0.5,
    "webhook_waits": ",".join(["0.05"] * 1000),
    "webhook_timeout": 5.0,
    "webhook_senders": 2,
}


def land(client: Client, name: str) -> str:
    base = client.head()["tip"]["commit"]
    change = {"op": "put", "path": name, "content": name}
    made = client.submit("all", {"base": base, "message": "m", "changes": [change]})
    assert client.changeset(made["id"], 60, "landed")["status"] == "landed"
    return str(made["id"])


def test_events_are_told_in_order_whatever_dies_and_no_secret_is_left_behind(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack(settings=SETTINGS, with_flower=False, with_tokens=True, with_webhooks=True)
    client = Client(stack.url, token=stack.token)
    client.create_slice("all", ["/"])
    refuse = threading.Event()
    hold = threading.Event()
    hold.set()
    end = threading.Event()

    def answer(told: Any) -> Any:
        hold.wait(30)
        return (500, {}) if refuse.is_set() else (200, {})

    slow = Receiver(lambda told: (end.wait(60) and (200, {})) or (500, {}))
    with (
        receiving(Receiver(answer)) as receiver,
        receiving(Receiver(lambda told: (410, {}))) as gone,
        receiving(slow),
    ):
        webhook_calls.create(client, slow.url)  # it holds one of the sender's two threads, time and again
        made = webhook_calls.create(client, receiver.url, events=["landed"])
        over = webhook_calls.create(client, gone.url)
        landed = [land(client, "a")]
        await_true(lambda: len(receiver.told) == 1)
        await_true(lambda: webhook_calls.show(client, over["id"])["disabled"] == "gone")
        assert client.health()["healthy"]

        # The receiver fails, the sender is killed in the middle of a delivery, and Redis is flushed.
        refuse.set()
        landed.append(land(client, "b"))
        await_true(lambda: webhook_calls.show(client, made["id"])["tries"] > 2)
        hold.clear()
        stack.kill("sender")
        with redis.Redis.from_url(stack.settings.redis_url) as client_of_redis:
            client_of_redis.flushall()
        refuse.clear()
        hold.set()
        landed += [land(client, name) for name in ("c", "d", "e")]

        def told() -> list[str]:
            return list(dict.fromkeys(each.json["data"]["id"] for each in receiver.told))

        await_true(lambda: told() == landed, 120)
        ids = {each.id: each.json["data"]["id"] for each in receiver.told}
        assert len(ids) == len(landed), "a repeat has its id"
        for each in receiver.told[-2:]:
            StandardWebhook(made["secret"]).verify(each.body, dict(each.headers))
        assert webhook_calls.show(client, over["id"])["disabled"] == "gone", "still so after the flush"
        assert slow.told == []
        end.set()

    kept = stack.data / "stack.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600 and stack.settings.webhook_key in kept.read_text()
    hidden = [stack.settings.webhook_key, made["secret"].removeprefix("whsec_"), over["secret"].removeprefix("whsec_")]
    logs = "".join(path.read_text() for path in (stack.data / "logs").glob("*.log"))
    assert '"webhook_delivered"' in logs and '"webhook_failed"' in logs and '"webhook_disabled"' in logs
    assert [secret for secret in hidden if secret in logs] == []
