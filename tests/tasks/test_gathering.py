"""Changesets that come while a batch is under way gather for the next one, unless that batch takes long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from storage.base.settings import Settings
from storage.operations.slices import define
from storage.repository import Repository
from tasks import notify
from tasks.commits import commit
from tests.support.world import World, item

Sent = list[str]
LINES = b"".join(b"line %d\n" % number for number in range(20))


@pytest.fixture
def world(settings: Settings) -> World:
    return World(Repository(replace(settings, message_ttl=600.0, commit_workers=2)))


@pytest.fixture
def sent(world: World, monkeypatch: pytest.MonkeyPatch) -> Sent:
    """The tasks that messages are sent for; nobody takes them."""
    tasks: Sent = []

    def send(_: object, task: str, *__: object, **___: object) -> bool:
        tasks.append(task)
        return True

    monkeypatch.setattr(notify, "send", send)
    monkeypatch.setattr("tasks.commits.repository", lambda: world.repo)
    return tasks


def token_of(world: World) -> str:
    """Return the token of a message that is sent for what is queued."""
    permit = world.repo.queue.ask("commit", 2, gathers=True)
    assert permit
    return permit.token


def test_what_comes_while_a_batch_is_under_way_is_announced_when_it_ends(
    world: World, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put({"a": b"1"})
    token, append = token_of(world), world.repo.log.append

    def comes_meanwhile(*args: Any) -> bool:
        world.put({"b": b"1"})
        notify.ask_for_commit_safely(world.repo)
        assert sent == []
        return append(*args)

    monkeypatch.setattr(world.repo.log, "append", comes_meanwhile)
    commit(token=token)
    assert sent == ["sluice.commit"]


def test_a_batch_that_merges_contents_is_not_waited_for(
    world: World, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put({"f": LINES})
    world.work()
    base = world.tip
    world.put({"f": LINES.replace(b"line 2\n", b"mine\n")}, base)
    world.work()
    late = world.put({"f": LINES.replace(b"line 15\n", b"theirs\n")}, base)
    others = define(world.repo, "others", ["others/"])
    token, premerge = token_of(world), world.repo.merges.premerge

    def takes_long(*args: Any) -> None:
        world.submit(item(others, {"others/g": b"1"}, world.tip))
        notify.ask_for_commit_safely(world.repo)
        assert sent == ["sluice.commit"]
        premerge(*args)

    monkeypatch.setattr(world.repo.merges, "premerge", takes_long)
    commit(token=token)
    assert world.status(late) == "committed"


@pytest.mark.parametrize("end", [None, SystemExit], ids=["the pause is over", "a stop"])
def test_a_message_is_sent_behind_its_pause(
    world: World, sent: Sent, monkeypatch: pytest.MonkeyPatch, end: type[BaseException] | None
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        assert sent == []
        slept.append(seconds)
        if end:
            raise end

    world.put({"a": b"1"})
    monkeypatch.setattr("tasks.notify.time.sleep", sleep)
    run = notify.EndedRun(applied=notify.time.monotonic() + 1.0, pause=0.04)  # it came before that
    asks: Callable[[], None] = lambda: notify.ask_for_commit(world.repo, run=run)  # noqa: E731
    if end:
        with pytest.raises(end):
            asks()
    else:
        asks()
    assert slept == [0.04] and sent == ["sluice.commit"]
