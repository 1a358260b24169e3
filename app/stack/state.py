"""What a stack remembers in its data folder between runs, and the lock that keeps a second stack out of it."""

import dataclasses
import fcntl
import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

from storage.access.new_secret import new_secret
from storage.access.tokens import is_well_formed
from storage.base.errors import Refused

VERSION = 1
# What earlier versions did not write.
_LATER = ("redis_password", "webhook_key")
ROOT_TOKEN = "root-token"
"""The file with the root token in a stack's data folder."""


class FolderInUse(Refused):
    """Another stack runs on the data folder."""


class OtherServer(Refused):
    """The data folder holds the files of another kind of S3 server."""


class StateDamaged(Refused):
    """The data folder's stack.json cannot be read, or is of another version."""


@dataclass(frozen=True)
class Credentials:
    """The keys of a stack's S3 server."""

    access_key: str
    secret_key: str = field(repr=False)

    @classmethod
    def generate(cls) -> Self:
        """Random ones."""
        return cls(secrets.token_hex(10), secrets.token_urlsafe(30))


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
    # Folders of earlier versions have none: they get one at their next start.
    redis_password: str = field(default="", repr=False)
    webhook_key: str = field(default="", repr=False)

    @property
    def credentials(self) -> Credentials:
        """The S3 server's keys."""
        return Credentials(self.access_key, self.secret_key)


def new_redis_password() -> str:
    """Return a password for a stack's Redis."""
    return secrets.token_urlsafe(30)


def new_webhook_key() -> str:
    """Return a key from which the secrets of a stack's webhooks are made."""
    return secrets.token_urlsafe(32)


def root_token(folder: Path) -> str:
    """Return the root token of a stack, made at its first start; the only line of a file that its owner may read."""
    path = folder / ROOT_TOKEN
    try:
        secret = path.read_text().strip()
    except FileNotFoundError:
        secret, new = new_secret(), folder / f"{ROOT_TOKEN}.new"
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secret + "\n")
        new.replace(path)
    if not is_well_formed(secret):
        raise StateDamaged(f"{path} has no token: delete it, and the next start makes another one")
    return secret


def lock(folder: Path) -> IO[str]:
    """Hold the folder until the file is closed or this program ends; it names this program. Raises FolderInUse.

    A folder that is made for it is its user's alone: it has everything that Redis and the bucket have.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
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
    """The folder's state; a new one, with S3 kind `s3` and fresh secrets, where there is none. Raises StateDamaged."""
    path = folder / "stack.json"
    if not known(folder):
        keys = Credentials.generate()
        return State(s3, keys.access_key, keys.secret_key, secrets.token_urlsafe(15))
    try:
        kept = json.loads(path.read_text())
        version = kept.pop("version")
        if version != VERSION:
            raise StateDamaged(f"{path} has version {version}; this Sluice reads {VERSION}")
        return State(**kept)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateDamaged(f"{path} is damaged: {error}") from error


def save(folder: Path, state: State) -> None:
    """Write it atomically, readable by its owner only."""
    path = folder / "stack.json"
    new = folder / "stack.json.new"
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as output:
        kept = {name: value for name, value in dataclasses.asdict(state).items() if name not in _LATER or value}
        json.dump({"version": VERSION, **kept}, output, indent=2)
    new.replace(path)
