"""Who waits for entries to be applied is called when they are, and when a message may have been lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from app.service import applied_feed
from app.service.applied_feed import AppliedFeed
from storage.base.settings import Settings
from storage.repository import Repository


class Looks:
    """Counts how often somebody looked; fails as often as it is asked to."""

    def __init__(self) -> None:
        self.looked = threading.Semaphore(0)
        self.failures: list[Exception] = []

    def __call__(self) -> None:
        if self.failures:
            raise self.failures.pop()
        self.looked.release()

    def again(self) -> bool:
        """Return whether somebody looks within a minute."""
        return self.looked.acquire(timeout=60)


@pytest.fixture
def repo(redis_settings: Settings) -> Repository:
    return Repository(redis_settings)


@pytest.fixture
def looks() -> Looks:
    return Looks()


@pytest.fixture
def feed(repo: Repository, looks: Looks) -> Iterator[AppliedFeed]:
    made = AppliedFeed(repo, "test", looks)
    made.start()
    yield made
    made.stop()


def test_one_looks_when_somebody_comes_and_when_entries_are_applied(
    repo: Repository, feed: AppliedFeed, looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applied_feed, "AT_LEAST_EVERY", 600.0)
    feed.enter()
    assert looks.again(), "whatever was applied before"
    for _ in range(3):
        repo.redis.publish(repo.view.applied_channel, "1")
        assert looks.again()
    feed.leave()
    repo.redis.publish(repo.view.applied_channel, "1")  # else it would listen for as long


def test_one_looks_without_news(feed: AppliedFeed, looks: Looks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applied_feed, "AT_LEAST_EVERY", 0.01)
    feed.enter()
    assert all(looks.again() for _ in range(3))


@pytest.mark.parametrize("failure", [OSError("away"), RuntimeError("a fault of ours")])
def test_after_a_failure_one_looks_again(feed: AppliedFeed, looks: Looks, failure: Exception) -> None:
    looks.failures.append(failure)
    feed.enter()
    assert looks.again() and not looks.failures


def test_nobody_looks_when_nobody_waits_and_a_feed_ends(repo: Repository, looks: Looks) -> None:
    feed = AppliedFeed(repo, "ends", looks)
    feed.start()
    feed.stop()
    assert not looks.looked.acquire(blocking=False)
    assert "ends" not in {thread.name for thread in threading.enumerate()}
