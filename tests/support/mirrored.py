"""A repository with a mirror, what a sender does for it, and a tag in it."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.service.git.mirror_status import Standing, standings
from storage.base.ids import ObjectId
from storage.base.settings import Settings
from storage.log.records import Actor
from storage.mirrors.records import Mirror
from storage.operations.git import mirrors
from storage.operations.tags import Wanted, put_tag
from storage.repository import Repository
from storage.view.mirrors import mirror_of
from tasks.mirrors.push import push
from tasks.mirrors.source import Source
from tests.support.git_server import GitServer, credentials
from tests.support.world import AUTHOR, World

NAME, REF = "host", "refs/heads/main"
WHO = Actor(principal="root")


class Mirrored:
    """A repository with a mirror, and what a sender does."""

    def __init__(self, settings: Settings, server: GitServer, folder: Path, **other: Any) -> None:
        self.server = server
        self.folder = folder
        chosen = {
            "mirror_folder": str(folder / "clones"),
            "mirror_credentials": str(credentials(folder, server)),
            "mirror_private_targets": True,
            "mirror_interval": 0.0,
            "mirror_check": 0.0,
            "mirror_timeout": 30.0,
        }
        self.settings = replace(settings, **{**chosen, **other})
        self.world = World(Repository(self.settings))
        self.repo = self.world.repo
        self.source = Source(self.repo, folder / "clones")

    def make(self, **more: Any) -> None:
        mirrors.create(self.repo, Mirror(name=NAME, url=self.server.url, ref=REF, **more), WHO)

    def land(self, path: str, content: str = "x\n", **more: Any) -> str:
        self.world.put({path: content.encode()}, **more)
        self.world.work()
        return self.repo.view.head().tip

    def push(self) -> str:
        return push(self.repo, NAME, self.source, threading.Event())

    @property
    def standing(self) -> Standing:
        [one] = standings(self.repo)
        return one

    @property
    def mirror(self) -> Mirror:
        mirror = mirror_of(self.repo.view, NAME)
        assert mirror
        return mirror


def tag(mirrored: Mirrored, name: str, commit: str, message: str | None = None) -> None:
    oid = ObjectId(bytes.fromhex(commit))
    put_tag(mirrored.repo, Wanted(name=name, commit=oid, message=message, tagger=AUTHOR), WHO)
