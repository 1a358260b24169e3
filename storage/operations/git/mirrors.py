"""Making, stopping, resuming and deleting mirrors, by entries of the log."""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec.structs import replace

from storage.base.errors import Refused
from storage.commit import Draft, NoEntry, append_directly, check_snapshot_current
from storage.log.entry import GIT_FORMAT, Mirrors
from storage.log.records import Actor
from storage.mirrors.records import Mirror, Stopped
from storage.operations.access import OlderNodes
from storage.repository import Repository
from storage.view.mirrors import mirror_of, read_mirrors
from storage.view.snapshot import Snapshot


class NoMirrorFolder(Refused):
    """Mirrors are not set up: the setting mirror_folder is empty."""


class TooManyMirrors(Refused):
    """There are as many mirrors as the setting max_mirrors allows."""


class MirrorExists(Refused):
    """There is a mirror with this name; the text is that."""


class MirrorGone(Refused):
    """There is no mirror with this name; the text is that."""


def create(repo: Repository, mirror: Mirror, actor: Actor | None) -> None:
    """Make a mirror; returns once it is durable.

    Raises NoMirrorFolder, TooManyMirrors, MirrorExists and Unavailable.
    """
    if not repo.settings.mirror_folder:
        raise NoMirrorFolder

    def build() -> Mirrors:
        there = read_mirrors(repo.view)
        if any(each.name == mirror.name for each in there):
            raise MirrorExists(mirror.name)
        if len(there) >= repo.settings.max_mirrors:
            raise TooManyMirrors(f"there are {len(there)} mirrors (max_mirrors)")
        return Mirrors(actor=actor, time=int(time.time()), created=(mirror,))

    with repo.queue.consistent_read():
        repo.mirrors.forget(mirror.name)  # what one of this name that was deleted may have left
        _append(repo, build)


def stop(repo: Repository, name: str, reason: Stopped, detail: str, actor: Actor | None = None) -> Mirror:
    """Stop a mirror, and return it once that is durable; one that is stopped keeps its reason.

    Raises MirrorGone and Unavailable.
    """
    now = int(time.time())
    return _change(
        repo, name, actor,
        lambda mirror: mirror if mirror.stopped else replace(mirror, stopped=reason, detail=detail, since=now),
    )  # fmt: skip


def resume(repo: Repository, name: str, actor: Actor | None) -> Mirror:
    """Let a mirror go on, at once, and return it once that is durable. Raises MirrorGone and Unavailable."""
    mirror = _change(repo, name, actor, lambda mirror: replace(mirror, stopped=None, detail="", since=None))
    repo.mirrors.forget(name)
    return mirror


def delete(repo: Repository, name: str, actor: Actor | None) -> None:
    """Delete a mirror; returns once that is durable. Raises MirrorGone and Unavailable."""

    def build() -> Mirrors:
        return Mirrors(actor=actor, time=int(time.time()), deleted=(_there(repo, name).name,))

    with repo.queue.consistent_read():
        _append(repo, build)
    repo.mirrors.forget(name)


def stop_all(repo: Repository, reason: Stopped, actor: Actor) -> int:
    """Stop all mirrors by one entry, and return how many were not; returns once it is durable. Raises Unavailable."""
    changed: list[Mirror] = []
    now = int(time.time())

    def build() -> Mirrors | None:
        there = [each for each in read_mirrors(repo.view) if each.stopped is None]
        changed[:] = [replace(each, stopped=reason, since=now) for each in there]
        return Mirrors(actor=actor, time=now, changed=tuple(changed)) if changed else None

    with repo.queue.consistent_read():
        _append(repo, build)
    return len(changed)


def _change(repo: Repository, name: str, actor: Actor | None, edit: Callable[[Mirror], Mirror]) -> Mirror:
    made: list[Mirror] = []

    def build() -> Mirrors | None:
        old = _there(repo, name)
        made[:] = [edit(old)]
        return Mirrors(actor=actor, time=int(time.time()), changed=(made[0],)) if made[0] != old else None

    with repo.queue.consistent_read():
        _append(repo, build)
    return made[0]


def _there(repo: Repository, name: str) -> Mirror:
    mirror = mirror_of(repo.view, name)
    if mirror is None:
        raise MirrorGone(name)
    return mirror


def _append(repo: Repository, build: Callable[[], Mirrors | None]) -> None:
    if not repo.nodes.all_read(GIT_FORMAT):
        raise OlderNodes("a worker of an older version is at work, which cannot read mirrors: upgrade it first")

    def build_entry(snapshot: Snapshot) -> Draft[None] | NoEntry[None]:
        entry = build()
        check_snapshot_current(repo, snapshot)
        return Draft(entry, None) if entry else NoEntry(None)

    append_directly(repo, build_entry)
