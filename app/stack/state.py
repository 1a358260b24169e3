"""What a stack remembers in its data folder between runs, and the lock that keeps a second stack out of it."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from app.stack.servers import Credentials
from storage import settings
from storage.settings import Settings

VERSION = 1
# What an operator's commands need to reach the stack: `set -a; . .sluice/environment` in a shell.
ENVIRONMENT = "environment"


class FolderInUse(RuntimeError):
    """Another stack runs on the data folder."""


class OtherServer(RuntimeError):
    """The data folder holds the files of another kind of S3 server."""


@dataclass(frozen=True)
class State:
    """The contents of stack.json, which only its owner may read."""

    # The kind of S3 server whose files the folder holds.
    s3: str
    access_key: str
    secret_key: str = field(repr=False)
    flower_password: str = field(repr=False)
    # Ports of the last run in a fixed order, taken again where they are free.
    ports: list[int] = field(default_factory=list)

    @property
    def credentials(self) -> Credentials:
        """The S3 server's keys."""
        return Credentials(self.access_key, self.secret_key)


def lock(folder: Path) -> IO[str]:
    """Hold the folder until the file is closed or this program ends; it names this program. Raises FolderInUse."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = (folder / "lock").open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        raise FolderInUse(f"another stack runs on {folder}") from None
    handle.truncate(0)
    handle.write(str(os.getpid()))
    handle.flush()
    return handle


def holder(folder: Path) -> int | None:
    """The process id of the stack that runs on the folder; None where none does."""
    try:
        with (folder / "lock").open() as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(handle.read())
    except FileNotFoundError:
        pass
    return None


def known(folder: Path) -> bool:
    """Whether a stack has run on the folder."""
    return (folder / "stack.json").exists()


def load(folder: Path, s3: str) -> State:
    """The folder's state; a new one, with S3 kind `s3` and fresh secrets, where there is none."""
    path = folder / "stack.json"
    if not known(folder):
        keys = Credentials.generate()
        return State(s3, keys.access_key, keys.secret_key, secrets.token_urlsafe(15))
    kept = json.loads(path.read_text())
    version = kept.pop("version")
    if version != VERSION:
        raise ValueError(f"{path} has version {version}; this Sluice reads {VERSION}")
    return State(**kept)


def save(folder: Path, state: State) -> None:
    """Write it whole or not at all, readable by its owner only."""
    path = folder / "stack.json"
    new = folder / "stack.json.new"
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as output:
        json.dump({"version": VERSION, **dataclasses.asdict(state)}, output, indent=2)
    new.replace(path)


def save_environment(folder: Path, chosen: Settings) -> None:
    """Write the settings of the running stack where commands find them; secrets are among them."""
    path = folder / ENVIRONMENT
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.writelines(f"{name}={text}\n" for name, text in settings.dump(chosen).items())


def load_environment(folder: Path) -> dict[str, str]:
    """Return the environment of the stack that runs, or last ran, on `folder`; empty where none did."""
    try:
        lines = (folder / ENVIRONMENT).read_text().splitlines()
    except FileNotFoundError:
        return {}
    return dict(line.split("=", 1) for line in lines)
