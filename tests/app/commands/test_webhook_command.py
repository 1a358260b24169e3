"""`sluice webhook`: what it prints, of which a secret is the only line on standard output."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from app.client.api_client import ProblemError
from storage.base.settings import Settings
from tasks.webhooks.delivery import deliver
from tasks.webhooks.told import Source
from tests.support.api import Api
from tests.support.collisions import Run, runner
from tests.support.receiver import Receiver, receiving


@pytest.fixture
def api(settings: Settings, unsent: object) -> Api:
    return Api(replace(settings, webhook_key="k" * 32, webhook_private_targets=True))


@pytest.fixture
def run(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    with runner(api, monkeypatch) as run:
        yield run


def work(api: Api, webhook: str) -> None:
    repo = api.http.application.extensions["sluice"].repo
    deliver(repo, webhook, Source(repo), threading.Event())


def test_a_webhook_from_its_creation_to_its_end(api: Api, run: Run) -> None:
    with receiving(Receiver()) as receiver:
        made = run("webhook", "create", receiver.url, "--event", "landed", "--path", "web/", "--name", "ci")
        assert made.stdout.startswith("whsec_") and made.stdout.count("\n") == 1
        [listed] = run("webhook", "list").stdout.splitlines()
        webhook = listed.split()[0]
        assert receiver.url in listed and listed.endswith("events landed  paths web/  ci")
        rotated = run("webhook", "rotate", webhook).stdout
        assert rotated.startswith("whsec_") and rotated != made.stdout

        api.put("web/a", "1")
        api.world.work()
        work(api, webhook)
        [told] = run("webhook", "deliveries", webhook).stdout.splitlines()
        assert "changeset.landed  try 1: delivered (204)" in told
        [row] = map(json.loads, run("webhook", "deliveries", webhook, "--json").stdout.splitlines())
        assert row["id"] in run("webhook", "redeliver", webhook, row["event"]).output
        assert "ping_" in run("webhook", "ping", webhook).output
        work(api, webhook)
        assert len(run("webhook", "deliveries", webhook).stdout.splitlines()) == 3

        assert "disabled: asked" in run("webhook", "disable", webhook).stdout
        assert "disabled" not in run("webhook", "enable", webhook).stdout
        assert json.loads(run("webhook", "show", webhook, "--json").stdout)["behind"] >= 0
        assert webhook in run("webhook", "delete", webhook).output
        assert run("webhook", "list").stdout == ""
        with pytest.raises(ProblemError, match="webhook"):
            run("webhook", "show", webhook)


def test_one_that_fails_says_so(api: Api, run: Run) -> None:
    run("webhook", "create", "http://127.0.0.1:1/")
    webhook = run("webhook", "list").stdout.split()[0]
    api.put("a", "1")
    api.world.work()
    work(api, webhook)
    assert "1 tries failed, connection" in run("webhook", "show", webhook).stdout
    assert "try 1: connection" in run("webhook", "deliveries", webhook).stdout
