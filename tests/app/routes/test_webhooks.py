"""Webhooks over the API: who may have, see and change them, and what they are told, by the rights of their owners."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from standardwebhooks import Webhook as StandardWebhook

from storage.base.settings import Settings
from storage.coordination import Node
from storage.queue.deliveries import MOST_WANTED
from tasks.webhooks.delivery import deliver
from tasks.webhooks.due import due
from tasks.webhooks.told import Source
from tests.support.api import Api, Json, walk
from tests.support.principals import grants, principal, secured
from tests.support.receiver import Receiver, receiving

KEY = "a key for tests, of 32 characters or more"
URL = "https://hooks.example/"


@pytest.fixture
def root(settings: Settings, unsent: object) -> Api:
    return secured(settings, webhook_key=KEY, webhook_private_targets=True, webhook_waits="0.001,0.001")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(Receiver()) as receiver:
        yield receiver


def create(api: Api, url: str = URL, status: int = 201, **wanted: Any) -> Json:
    return api.post("/webhooks", {"url": url, **wanted}, status).get_json(force=True)


def change(api: Api, webhook: str, status: int = 200, **wanted: Any) -> Json:
    answer = api.http.patch(f"/v1/webhooks/{webhook}", json=wanted)
    assert answer.status_code == status, answer.data
    return answer.get_json(force=True)


def run(api: Api, webhook: str) -> tuple[int, int, bool]:
    repo = api.http.application.extensions["sluice"].repo
    return deliver(repo, webhook, Source(repo), threading.Event())


def land(api: Api, *paths: str) -> None:
    for path in paths:
        api.put(path, path)
        api.world.work()


def test_that_nobody_calls_webhooks_can_be_alerted_on_once_there_is_one(root: Api) -> None:
    def at_work() -> list[str]:
        lines = root.http.get("/metrics").get_data(as_text=True).splitlines()
        return [line for line in lines if line.startswith('sluice_nodes{work="webhooks"}')]

    assert at_work() == []
    create(root)
    assert at_work() == ['sluice_nodes{work="webhooks"} 0.0']
    root.http.application.extensions["sluice"].repo.nodes.say(Node("webhooks@host", ("webhooks",), 1))
    assert at_work() == ['sluice_nodes{work="webhooks"} 1.0']


def types(receiver: Receiver) -> list[str]:
    return [told.json["type"] for told in receiver.told]


def test_a_webhook_is_made_shown_changed_and_deleted(root: Api) -> None:
    made = create(root, name="ci", events=["landed"], paths=["docs/"], slices=["all"])
    assert made["secret"].startswith("whsec_") and made["enabled"] and made["owner"] == "root"
    assert made["slices"] == [root.get("/slices/all")["id"]]
    shown = root.get(f"/webhooks/{made['id']}")
    assert "secret" not in shown and shown["behind"] is None
    assert [each["id"] for each in walk(root, "/webhooks")] == [made["id"]]
    changed = change(root, made["id"], url=URL + "x", events=None, enabled=False)
    assert (changed["url"], changed["events"], changed["disabled"]) == (URL + "x", None, "asked")
    assert changed["paths"] == ["docs/"] and changed["disabled_at"]
    assert change(root, made["id"], enabled=True)["disabled_at"] is None
    assert root.http.delete(f"/v1/webhooks/{made['id']}").status_code == 204
    root.get(f"/webhooks/{made['id']}", 404)
    assert list(walk(root, "/webhooks")) == []


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"url": "http://user:secret@hooks.example/"}, "url"),
        ({"url": "ftp://hooks.example/"}, "url"),
        ({"url": 7}, "url"),
        ({"url": URL, "events": ["queued"]}, "events[0]"),
        ({"url": URL, "events": [["landed"]]}, "events[0]"),
        ({"url": URL, "events": []}, "events"),
        ({"url": URL, "paths": ["/docs"]}, "paths[0]"),
        ({"url": URL, "slices": [3]}, "slices[0]"),
        ({"url": URL, "name": "x" * 201}, "name"),
        ({"url": URL, "enabled": True}, "enabled"),
        ({"url": URL, "secret": "whsec_x"}, "secret"),
        ({}, "url"),
    ],
)
def test_what_is_wrong_is_named(root: Api, wanted: Json, field: str) -> None:
    answer = root.post("/webhooks", wanted, 422).get_json(force=True)
    assert answer["errors"][0]["field"] == field
    assert "secret@" not in str(answer)


def test_private_targets_are_refused_unless_a_setting_allows_them(settings: Settings, unsent: object) -> None:
    root = secured(settings, webhook_key=KEY)
    for url in ("http://hooks.example/", "https://127.0.0.1/", "https://[::ffff:169.254.169.254]/"):
        answer = root.post("/webhooks", {"url": url}, 422).get_json(force=True)
        assert "webhook_private_targets" in answer["errors"][0]["message"]
    webhook = create(root, "https://localhost/")["id"]
    root.post(f"/webhooks/{webhook}/ping", None, 202)
    assert run(root, webhook) == (0, 1, False)
    [row] = root.get(f"/webhooks/{webhook}/deliveries")["items"]
    assert (row["status"], row["error"]) == (None, "private-target")


def test_without_a_key_there_are_no_webhooks(settings: Settings, unsent: object) -> None:
    root = secured(settings)
    assert "webhook_key" in create(root, status=409)["detail"]


def test_nobody_has_more_than_the_limits(settings: Settings, unsent: object) -> None:
    root = secured(settings, webhook_key=KEY, max_webhooks=3, max_own_webhooks=2)
    grants(root)
    ada = principal(root, "user:ada")
    for _ in range(2):
        create(ada)
    assert "max_own_webhooks" in create(ada, status=409)["detail"]
    create(root)
    assert "max_webhooks" in create(root, status=409)["detail"]


def test_none_is_made_while_an_older_worker_is_at_work(root: Api) -> None:
    root.world.repo.nodes.say(Node("commits@old", ("commits",), 1, reads=3))
    create(root, status=503)
    assert list(walk(root, "/webhooks")) == []


def test_one_sees_and_changes_ones_own_and_an_admin_all(root: Api) -> None:
    grants(root, "user:ada reader /", "user:eve reader /")
    ada, eve = principal(root, "user:ada"), principal(root, "user:eve")
    webhook = create(ada)["id"]
    assert [each["id"] for each in walk(root, "/webhooks")] == [webhook]
    assert list(walk(eve, "/webhooks")) == []
    eve.get(f"/webhooks/{webhook}", 404)
    eve.get(f"/webhooks/{webhook}/deliveries", 404)
    change(eve, webhook, 404, url=URL + "eve")
    for verb in ("rotate", "ping", "deliveries/1-0/redeliver"):
        eve.post(f"/webhooks/{webhook}/{verb}", None, 404)
    assert eve.http.delete(f"/v1/webhooks/{webhook}").status_code == 404
    assert root.http.delete(f"/v1/webhooks/{webhook}").status_code == 204


def test_a_page_of_webhooks_tells_nothing_of_others(root: Api) -> None:
    grants(root, "user:a writer docs/")
    a = principal(root, "user:a")
    for _ in range(2):
        create(root)
    assert a.get("/webhooks", limit=1) == {"items": [], "next": None}
    own = [create(a)["id"], create(a)["id"]]
    create(root)
    assert [each["id"] for each in walk(a, "/webhooks")] == own
    assert len(list(walk(root, "/webhooks"))) == 5


def test_a_limited_token_makes_a_limited_webhook_and_touches_no_other(root: Api, receiver: Receiver) -> None:
    grants(root, "user:ada reader /")
    ada = principal(root, "user:ada")
    docs = principal(root, "user:ada", paths=["docs/"])
    full, limited = create(ada, receiver.url)["id"], create(docs, receiver.url, events=["landed"])["id"]
    docs.get(f"/webhooks/{full}", 404)
    change(docs, full, 404, url=URL + "elsewhere")
    assert change(ada, limited, name="mine")["within"] == ["docs/"]
    land(root, "docs/a", "src/a")
    assert run(root, limited) == (1, 0, False)
    assert run(root, full) == (4, 0, False)


def test_filters_name_only_what_one_may_read(root: Api) -> None:
    root.post("/slices", {"name": "secret", "paths": ["secret/"]}, 201)
    grants(root, "user:ada reader docs/")
    ada = principal(root, "user:ada")
    create(ada, status=404, slices=["secret"])
    create(ada, status=403, paths=["secret/"])
    webhook = create(ada, paths=["docs/"])["id"]
    change(ada, webhook, 403, paths=["secret/"])
    change(ada, webhook, 404, slices=["secret"])


def test_its_owner_is_told_what_it_may_read_when_it_is_told(root: Api, receiver: Receiver) -> None:
    grants(root, "user:ada reader docs/")
    webhook = create(principal(root, "user:ada"), receiver.url, events=["landed"])["id"]
    land(root, "docs/a", "secret/a")
    run(root, webhook)
    assert len(receiver.told) == 1 and b"secret" not in receiver.told[0].body
    land(root, "docs/b")
    grants(root, "user:eve reader docs/")
    run(root, webhook)
    assert len(receiver.told) == 1, "its right was taken away before it was told"
    grants(root, "user:ada reader secret/")
    land(root, "secret/b", "docs/c")
    run(root, webhook)
    assert len(receiver.told) == 2, "what was passed over is not told later"


def test_a_right_that_is_taken_away_between_two_tries_ends_them(root: Api) -> None:
    grants(root, "user:ada reader docs/")

    def answer(told: Any) -> tuple[int, dict[str, str]]:
        grants(root, "user:eve reader docs/")
        return 500, {}

    with receiving(Receiver(answer)) as receiver:
        webhook = create(principal(root, "user:ada"), receiver.url)["id"]
        land(root, "docs/a")
        assert run(root, webhook) == (0, 1, False)


def test_a_revoked_token_does_not_end_a_webhook(root: Api, receiver: Receiver) -> None:
    grants(root, "user:ada reader /")
    token = root.post("/tokens", {"principal": "user:ada"}, 201).get_json(force=True)
    webhook = create(root.as_(token["token"]), receiver.url, events=["landed"])["id"]
    assert root.http.delete(f"/v1/tokens/{token['id']}").status_code == 204
    land(root, "a")
    assert run(root, webhook) == (1, 0, False)


def test_what_was_made_without_tokens_is_told_nothing_once_there_are_some(
    settings: Settings, receiver: Receiver, unsent: object
) -> None:
    chosen = replace(settings, webhook_key=KEY, webhook_private_targets=True)
    api = Api(chosen)
    webhook = create(api, receiver.url, events=["landed"])["id"]
    land(api, "a")
    assert run(api, webhook) == (1, 0, False)
    root = secured(chosen, api.world)
    land(root, "b")
    assert run(root, webhook) == (0, 0, False)


def test_every_way_out_of_the_queue_is_an_event_with_a_reason(root: Api, receiver: Receiver) -> None:
    webhook = create(root, receiver.url)["id"]
    base = root.tip
    land(root, "f")
    root.put("f", "another", base)
    root.world.work()
    held = root.submit(base=root.tip, changes=[{"op": "put", "path": "g", "content": "1"}], hold=True)["id"]
    root.post(f"/changesets/{held}/release", None, 200)
    root.world.work()
    gone = root.put("h", "1")["id"]
    root.post(f"/changesets/{gone}/abandon", None, 200)
    root.submit(base=gone, changes=[{"op": "put", "path": "i", "content": "1"}])
    root.world.work()
    run(root, webhook)
    told = [(body["type"].removeprefix("changeset."), body["data"].get("reason")) for body in
            (told.json for told in receiver.told)]  # fmt: skip
    assert told == [
        ("committed", None), ("landed", None), ("conflicted", "conflict"), ("released", None), ("committed", None),
        ("landed", None), ("abandoned", "abandoned"), ("rejected", "base-not-landed"),
    ]  # fmt: skip


def test_a_ping_is_delivered_also_to_one_that_is_disabled(root: Api, receiver: Receiver) -> None:
    made = create(root, receiver.url)
    change(root, made["id"], enabled=False)
    asked = root.post(f"/webhooks/{made['id']}/ping", None, 202).get_json(force=True)["id"]
    assert due(root.http.application.extensions["sluice"].repo) == [made["id"]]
    assert run(root, made["id"]) == (1, 0, False)
    [told] = receiver.told
    assert (told.id, told.json["type"]) == (asked, "ping")
    assert StandardWebhook(made["secret"]).verify(told.body, dict(told.headers))["data"] == {"webhook": made["id"]}
    [row] = root.get(f"/webhooks/{made['id']}/deliveries")["items"]
    assert (row["id"], row["by_hand"], row["status"], row["event"]) == (asked, True, 204, None)


def test_an_event_is_delivered_again_under_its_id_and_the_rest_goes_on(root: Api, receiver: Receiver) -> None:
    webhook = create(root, receiver.url)["id"]
    land(root, "a", "b")
    run(root, webhook)
    first, *rest = receiver.taken
    event = receiver.told[0].json["data"]["event"]
    for name in (first, event):
        asked = root.post(f"/webhooks/{webhook}/deliveries/{name}/redeliver", None, 202).get_json(force=True)
        assert asked["id"] == first
    assert run(root, webhook) == (2, 0, False)
    assert receiver.taken == [first, *rest, first, first]
    for name in ("999999-0", event.replace("-0", "-9"), "1-0"):
        root.post(f"/webhooks/{webhook}/deliveries/{name}/redeliver", None, 404)
    for name in ("x", "7", first + "_", "msg"):
        root.post(f"/webhooks/{webhook}/deliveries/{name}/redeliver", None, 422)


def test_no_event_is_delivered_again_that_one_may_not_read(root: Api, receiver: Receiver) -> None:
    land(root, "secret/a")
    event = f"{root.world.repo.view.head().applied}-0"
    grants(root, "user:ada reader docs/")
    ada = principal(root, "user:ada")
    webhook = create(ada, receiver.url)["id"]
    ada.post(f"/webhooks/{webhook}/deliveries/{event}/redeliver", None, 404)
    root.post(f"/webhooks/{webhook}/deliveries/{event}/redeliver", None, 202)
    run(root, webhook)
    assert receiver.told == [], "it is its owner's rights that count"


def test_only_so_many_may_be_asked_for_at_once(root: Api) -> None:
    webhook = create(root)["id"]
    for _ in range(MOST_WANTED):
        root.post(f"/webhooks/{webhook}/ping", None, 202)
    root.post(f"/webhooks/{webhook}/ping", None, 429)


def test_the_last_deliveries_are_listed_page_by_page(root: Api, receiver: Receiver) -> None:
    webhook = create(root, receiver.url)["id"]
    land(root, "a", "b")
    run(root, webhook)
    rows = list(walk(root, f"/webhooks/{webhook}/deliveries"))
    assert [row["id"] for row in rows] == receiver.taken[::-1]
    assert {row["attempt"] for row in rows} == {1} and all(row["time"] for row in rows)
    shown = root.get(f"/webhooks/{webhook}")
    assert (shown["behind"], shown["tries"], shown["error"]) == (0, 0, None)


def test_a_rotation_shows_another_secret_once(root: Api) -> None:
    made = create(root)
    rotated = root.post(f"/webhooks/{made['id']}/rotate", None, 200).get_json(force=True)
    assert rotated["secret"] != made["secret"] and rotated["rotation"] == 2 and rotated["old_secret_until"]
    assert "secret" not in root.get(f"/webhooks/{made['id']}")


def test_health_names_who_calls_webhooks_where_there_are_some(root: Api) -> None:
    assert "webhooks" not in root.get("/health", 503)["checks"]["workers"]["missing"]
    create(root)
    assert "webhooks" in root.get("/health", 503)["checks"]["workers"]["missing"]
