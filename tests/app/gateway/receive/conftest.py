"""What the tests of pushes share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import pytest

from storage.access.tokens import hash_of
from storage.base.settings import Settings
from storage.operations.slices import define
from storage.repository import Repository
from tests.support.api import Api
from tests.support.principals import ROOT_TOKEN, grants, secured
from tests.support.pushing import GRANTS, Pushing, pushing
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


@pytest.fixture
def root(settings: Settings, world: World, unsent: SimpleQueue[str]) -> Api:
    """The API, for who has the root token; principals have some rights."""
    root = secured(settings, world)
    people = {"agent:w": {"name": "W", "emails": ["w@example.org"]}}
    grants(root, *GRANTS, people=people, quotas={"agent:slow": {"queued": 1}})
    return root


@pytest.fixture
def guarded(settings: Settings, world: World, root: Api, tmp_path: Path) -> Iterator[Pushing]:
    """The gateway, which asks for tokens."""
    chosen = replace(settings, root_token_sha256=hash_of(ROOT_TOKEN))
    with pushing(World(Repository(chosen), world.all), tmp_path) as made:
        yield made
        until(lambda: not made.left)
