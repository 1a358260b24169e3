"""What Git says of a user's folder: who writes there, and, by the folder's own repository, what its user saw.

In a clone of an export this is a commit that Sluice has, in any other repository the versions of the files in HEAD.
"""

import os
from bisect import bisect_left
from pathlib import Path

from app.client.api_client import Client, Json
from storage.git.run_git import Git, GitFailed, user_environment

_NAME, _EMAIL = "GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL"


def head_of(directory: Path) -> str | None:
    """Return the id of HEAD of the repository that tracks files in this folder; None where there is none."""
    git = Git(directory)
    try:
        head = git.output("rev-parse", "--verify", "--quiet", "HEAD^{commit}").decode().strip()
        return head if git.output("ls-tree", "-z", "HEAD") else None
    except GitFailed:
        return None


def known_commit(client: Client, slice_name: str, directory: Path, head: str) -> str | None:
    """Return the newest commit in HEAD's history that Sluice has; None if there is none.

    Few commits are asked for, however many of the user's own are on top: Sluice has all ancestors of a commit that it
    has. Sluice's paths begin at the top of a repository, so a folder below the top cannot be one of its trees.
    """
    git = Git(directory)
    try:
        if git.output("rev-parse", "--show-prefix").strip():
            return None
        listed = git.output("rev-list", "--first-parent", head).decode().split()
    except GitFailed:
        return None
    own, at = 0, 0  # how many are known to be the user's own, and which is asked for
    while not client.has_commit(slice_name, listed[at]):
        own = at + 1
        if own == len(listed):
            return None
        at = min(2 * own, len(listed) - 1)
    return listed[bisect_left(range(at), True, own, key=lambda index: client.has_commit(slice_name, listed[index]))]


def files_at(directory: Path, commit: str) -> dict[str, Json]:
    """Return the files of the folder at a commit, as the API lists a tree. Raises GitFailed."""
    files: dict[str, Json] = {}
    for row in Git(directory).output("ls-tree", "-r", "-z", commit).split(b"\0")[:-1]:
        meta, _, path = row.partition(b"\t")
        mode, _, oid = meta.decode().split(" ")
        files[os.fsdecode(path)] = {"mode": mode, "id": oid}
    return files


def git_author(directory: Path) -> Json | None:
    """Return the author by `GIT_AUTHOR_*` or `git config user.*`, as it holds in a folder; None where neither says one.

    The address that Git guesses from the names of account and machine is not used.
    """
    environment = user_environment(keep={_NAME, _EMAIL})
    name, email = (environment.get(variable, "").strip() for variable in (_NAME, _EMAIL))
    if name and email:
        return {"name": name, "email": email}
    try:
        ident = Git(directory, environment).output("-c", "user.useConfigOnly=true", "var", "GIT_AUTHOR_IDENT").decode()
    except (GitFailed, UnicodeDecodeError):
        return None
    name, _, rest = ident.partition(" <")
    email = rest.partition(">")[0]
    return {"name": name, "email": email} if name and email else None
