from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import pytest

from storage.access.tokens import hash_of
from storage.base.settings import Settings
from storage.repository import Repository
from tests.support.api import Api
from tests.support.gateway import Gateway, serving
from tests.support.principals import ROOT_TOKEN, secured
from tests.support.world import World


@pytest.fixture
def world(settings: Settings) -> World:
    return World(Repository(settings))


@pytest.fixture
def root(settings: Settings, world: World, unsent: SimpleQueue[str]) -> Api:
    """The API of the same repository, to make slices, tokens and policies by."""
    return secured(settings, world)


@pytest.fixture
def with_tokens(settings: Settings) -> Settings:
    return replace(settings, root_token_sha256=hash_of(ROOT_TOKEN))


@pytest.fixture
def gateway(with_tokens: Settings, world: World, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway of the same repository; its client has the root token."""
    with serving(with_tokens, tmp_path / "one", token=ROOT_TOKEN) as server:
        yield server
