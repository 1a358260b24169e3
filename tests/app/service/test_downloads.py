"""How many answers are made and sent at once, and who loses its place to others."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from flask import Flask, Response

from app.service import downloads as module
from app.service.downloads import Downloads
from storage.backends import deadline
from storage.base.errors import LimitReached
from storage.base.settings import Settings

PIECE = bytes(100)


class Clock:
    """What the module takes for the time."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def pieces() -> Generator[bytes, None, None]:
    while True:
        yield PIECE


def ask(downloads: Downloads, cut: list[str], name: str) -> Response:
    sock = SimpleNamespace(cut=lambda: cut.append(name))
    with Flask(__name__).test_request_context(f"/{name}", environ_overrides={"gunicorn.socket": sock}):
        return downloads.response(pieces(), "text/plain")


def test_the_slowest_of_all_that_are_sent_is_ended_if_it_is_slow(clock: Clock) -> None:
    downloads, cut = Downloads(Settings(max_downloads=3, send_timeout=20.0, min_rate=1)), list[str]()
    answers = {name: ask(downloads, cut, name) for name in ("stands", "slow", "fast")}
    sent = {name: iter(answer.response) for name, answer in answers.items()}

    def another() -> None:
        with pytest.raises(LimitReached, match="max_downloads"):
            ask(downloads, cut, "another")

    for iterator in sent.values():
        next(iterator)
    clock.now = 19.0
    next(sent["slow"])
    for _ in range(5):
        next(sent["fast"])
    another()
    assert cut == [], "nobody was waited for so long that it counts as slow"
    clock.now = 21.0
    another()
    assert cut == ["stands"]
    answers["stands"].close()
    with ask(downloads, cut, "third") as third:
        next(iter(third.response))
        another()
        assert cut == ["stands", "slow"], "100 bytes in 21 seconds"
        another()
        assert cut == ["stands", "slow"], "the others read 16 bytes a second and more, or have just begun"


def test_large_answers_of_contents_are_made_a_few_at_once() -> None:
    downloads, large = Downloads(Settings()), module._LARGE + 1
    with ExitStack() as held:
        for _ in range(module._LARGE_AT_ONCE):
            held.enter_context(downloads.reading(large))
        with deadline.budget("request_budget", 0.01), pytest.raises(deadline.Spent), downloads.reading(large):
            pytest.fail("all places are taken")
        small = held.enter_context(downloads.reading(module._LARGE))
    with downloads.reading(large):
        assert small is None, "which needed no place"
