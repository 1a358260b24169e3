"""What a gateway knows of bundles is bounded, however many slices come and go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.gateway.answers import Answers
from app.gateway.bundles import Bundles
from app.gateway.git_processes import GitProcesses
from tests.support.git_repository import GitRepository
from tests.support.waiting import await_true as until

MAIN = b"1" * 40


@dataclass(frozen=True)
class Here:
    """A store, as far as bundles look at it."""

    path: Path

    @contextmanager
    def using(self) -> Iterator[Path]:
        yield self.path


@pytest.fixture
def stores(tmp_path: Path) -> list[Any]:
    made = []
    for number in range(6):
        repository = GitRepository.begun(tmp_path / f"store{number}")
        repository.git("repack", "-adq")  # a bundle is for a store with packs
        made.append(Here(repository.path / ".git"))
    return made


def test_stores_that_nobody_asks_for_are_forgotten_and_begin_anew(stores: list[Any], tmp_path: Path) -> None:
    bundles = Bundles(Answers(tmp_path / "answers", 1 << 30), GitProcesses(1, 10.0), 1, 3)
    for store in stores:
        bundles.consider(store, MAIN)
        until(lambda store=store: bundles.is_there(store))
    assert bundles.count == 3
    assert [bundles.is_there(store) for store in stores] == [False] * 3 + [True] * 3
    bundles.consider(stores[0], MAIN)
    until(lambda: bundles.is_there(stores[0]))
    assert bundles.count == 3


def test_what_was_too_small_for_a_bundle_is_forgotten_too(stores: list[Any], tmp_path: Path) -> None:
    bundles = Bundles(Answers(tmp_path / "answers", 1 << 30), GitProcesses(1, 10.0), 1 << 40, 3)
    for store in stores * 2:
        bundles.consider(store, MAIN)
        assert not bundles.is_there(store)
    assert bundles.count == 3
