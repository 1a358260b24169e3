"""A mirror, and the Git server that it is at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.base.settings import Settings
from tests.support.git_server import GitServer, git_server
from tests.support.mirrored import Mirrored


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with git_server(tmp_path / "server") as server:
        yield server


@pytest.fixture
def mirrored(settings: Settings, server: GitServer, tmp_path: Path) -> Mirrored:
    made = Mirrored(settings, server, tmp_path)
    made.make()
    return made
