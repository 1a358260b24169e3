"""What a folder's own Git repository says about what its user saw.

In a clone of an export that is a commit which Sluice has; in any other repository, the versions of the files in HEAD.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from app.client import Client, Json
from storage.git_runner import Git, GitFailed

# Commits of the user's own, on top of one that Sluice has, that are looked behind.
_MOST_OWN = 20


def head_of(directory: Path) -> str | None:
    """Return the id of HEAD of the repository that tracks files in this folder; None where there is none."""
    git = Git(directory)
    try:
        head = git.output("rev-parse", "--verify", "--quiet", "HEAD^{commit}").decode().strip()
        return head if git.output("ls-tree", "-z", "HEAD") else None
    except GitFailed:
        return None


def known_commit(client: Client, slice_name: str, directory: Path, head: str) -> str | None:
    """Return the newest commit that HEAD is made from and that Sluice has; None where there is none.

    Sluice's paths begin at the top of a repository, so a folder below it is none of its trees.
    """
    git = Git(directory)
    try:
        if git.output("rev-parse", "--show-prefix").strip():
            return None
        listed = git.output("rev-list", "--first-parent", f"--max-count={_MOST_OWN + 1}", head).decode().split()
    except GitFailed:
        return None
    return next((each for each in listed if client.has_commit(slice_name, each)), None)


def files_at(directory: Path, commit: str) -> dict[str, Json]:
    """Return the files of the folder at a commit, as the API lists a tree. Raises GitFailed."""
    return dict(_files(Git(directory).output("ls-tree", "-r", "-z", commit)))


def _files(listed: bytes) -> Iterator[tuple[str, Json]]:
    for row in listed.split(b"\0")[:-1]:
        meta, _, path = row.partition(b"\t")
        mode, _, oid = meta.decode().split(" ")
        yield os.fsdecode(path), {"mode": mode, "id": oid}
