"""Mirrors as the log has them: which branch of which Git server follows what, or is followed. Pure."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from storage.base.ids import SliceId


class Direction(StrEnum):
    """Which way commits go."""

    OUT = "out"  # what landed is pushed to the branch
    IN = "in"  # the branch's commits are taken as changesets


class Stopped(StrEnum):
    """Why a mirror does nothing until somebody resumes it."""

    DIVERGED = "diverged"  # the branch has commits that the other side lacks, or lost some: nothing is overwritten
    CONFLICT = "conflict"  # a commit that is taken was not committed here
    ASKED = "asked"  # somebody asked for it
    RESTORED = "restored"  # a backup was restored: the deployment that it is of may push as well


class Mirror(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A branch of a Git server that Sluice keeps up to date, or takes commits from. It has no secrets."""

    name: str
    url: str
    ref: str  # refs/heads/…
    direction: Direction = Direction.OUT
    slice: SliceId | None = None  # whose projection is pushed, or which takes the commits; None: the whole repository
    start: str = ""  # of a branch that is taken: the commit whose files are here already; empty: none
    stopped: Stopped | None = None
    detail: str = ""  # of why it is stopped, for people
    since: int | None = None  # when it was stopped, in seconds
    created: int = 0  # in seconds

    @property
    def principal(self) -> str:
        """Who submits the commits that are taken, unless the process that does it has another token."""
        return f"mirror:{self.name}"
