"""How mirrors stand: what each is at, how far behind, and what is wrong with it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.protocol.fields import shown_time
from storage.base.ids import Seq
from storage.mirrors.records import Direction, Mirror
from storage.queue import MirrorProgress
from storage.repository import Repository
from storage.view.mirrors import read_mirrors
from storage.view.snapshot import Head


@dataclass(frozen=True, slots=True)
class Standing:
    """How a mirror stands now."""

    mirror: Mirror
    progress: MirrorProgress | None  # None: it was not looked at yet, or Redis has lost it
    commits: int  # that the other side lacks, as far as is known: of a slice's mirror also those that do not touch it
    seconds: float  # since the first of them landed (or was seen upstream); of a silent one, since it was looked at
    silent: bool = False  # nobody has said for long what there is to be taken

    @property
    def state(self) -> str:
        """One word: stopped, unknown, silent, failing, behind or current."""
        if self.mirror.stopped:
            return "stopped"
        if self.progress is None:
            return "unknown"
        if self.silent:
            return "silent"
        if self.progress.failed:
            return "failing"
        return "behind" if self.commits else "current"

    def lags(self, limit: float) -> bool:
        """Tell whether it has been behind for longer than `limit` seconds."""
        return self.seconds > limit

    def as_json(self) -> dict[str, Any]:
        """Return it as answers show it."""
        of = self.progress or MirrorProgress()
        return {
            "state": self.state,
            "behind": {"commits": self.commits, "seconds": round(self.seconds, 3)},
            "remote": of.remote or None,
            "local": of.local or None,
            "other_tags": of.other_tags,
            "refused_tags": of.refused_tags,
            "refused_tags_detail": of.refused_detail or None,
            "tries": of.failed,
            "error": of.error or None,
            "error_detail": of.detail or None,
            "looked_at": shown_time(of.looked or None),
            "pushed_at": shown_time(of.pushed or None),
            "next_try_at": shown_time(of.due or None) if of.failed else None,
        }


def standings(repo: Repository, mirrors: Sequence[Mirror] | None = None) -> list[Standing]:
    """Return how mirrors stand: all of them by name, or those that are given. Raises ViewAbsent and RedisError."""
    there = read_mirrors(repo.view) if mirrors is None else list(mirrors)
    if not there:
        return []
    head, now = repo.view.head(), time.time()
    known = repo.mirrors.progress([mirror.name for mirror in there])
    return [_standing(repo, mirror, progress, head, now) for mirror, progress in zip(there, known, strict=True)]


def _standing(repo: Repository, mirror: Mirror, progress: MirrorProgress | None, head: Head, now: float) -> Standing:
    if progress is None:
        return Standing(mirror, None, 0, 0.0)
    since = progress.even_at
    commits = progress.behind
    if mirror.direction == Direction.OUT:
        commits += max(0, head.merged - progress.merged)
        # What landed behind the entry up to which the server has everything; where that left the view, it is old.
        [first] = repo.view.merges_behind([Seq(progress.even_seq + 1)]) if progress.even_seq else [None]
        since = max(since, float(first.time)) if first and first.time else since
    seconds = max(0.0, now - since) if commits else 0.0
    unseen = now - (progress.looked or progress.even_at)
    if mirror.direction == Direction.IN and unseen > repo.settings.max_mirror_lag:
        # The process that takes its commits is gone, or does not reach its server.
        return Standing(mirror, progress, commits, max(seconds, unseen), not progress.failed)
    return Standing(mirror, progress, commits, seconds)
