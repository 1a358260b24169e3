"""What the tests of pushes share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.base.settings import Settings
from storage.operations.slices import define
from storage.repository import Repository
from tests.support.pushing import Pushing, pushing
from tests.support.waiting import await_true as until
from tests.support.world import World, item


@pytest.fixture
def world(settings: Settings) -> World:
    """A repository with a few files, and slices of its folders."""
    world = World(Repository(settings))
    for name in ("docs", "src", "secret"):
        define(world.repo, name, [f"{name}/"])
    files = {"docs/a.txt": b"".join(b"line %d\n" % i for i in range(20)), "docs/run": "exec:#!/bin/sh\n"}
    world.submit(item(world.all, files | {"src/main.c": b"int main;\n", "secret/key": b"hidden " * 100}, world.tip))
    world.work()
    return world


@pytest.fixture
def pushed(world: World, tmp_path: Path) -> Iterator[Pushing]:
    """The gateway before it."""
    with pushing(world, tmp_path) as made:
        yield made
        until(lambda: not made.left)
