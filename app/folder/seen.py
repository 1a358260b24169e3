"""What the user of a folder saw: from `--base`, from the folder's own file, or from its Git repository.

It is determined before the folder's files are read, and never assumed to be Sluice's current tip: a folder that was
copied before a colleague's change landed would revert that change.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from app.client.api_client import Client, Json
from app.folder.folder_base import FILE, BaseError, FolderBase, read, settle
from app.folder.git_folder import files_at, head_of, known_commit
from storage.git.run_git import GitFailed
from storage.git.trees import covers


@dataclass(frozen=True, slots=True)
class Seen:
    """What a folder's user saw."""

    base: FolderBase
    files: dict[str, Json]  # as the API lists a tree
    paths: set[bytes]  # within which it is known, and the slice covers
    failed: list[Json] = field(default_factory=list)  # changesets from this folder that did not make it
    undecided: list[Json] = field(default_factory=list)

    @property
    def by_versions(self) -> bool:
        """Whether each change carries the version that was seen."""
        return self.base.base is None

    @property
    def is_head(self) -> bool:
        """Whether it is HEAD of the folder's repository, no commit of Sluice, and nothing was submitted since."""
        return self.by_versions and not self.base.submitted and self.base.changeset is None


def find_seen(client: Client, slice_: Json, directory: Path, commit: str | None) -> Seen:
    """Return what the user of `directory` saw of a slice; `commit` is what they say themselves. Raises BaseError."""
    if commit is not None:
        base = FolderBase(slice_["id"], slice_["paths"], commit, head_of(directory))
        return _seen(client, slice_, directory, base)
    remembered = read(directory)
    # A user who moves on in Git has seen what stands there, whatever was submitted before.
    if remembered and remembered.head and remembered.head != head_of(directory):
        remembered = None
    if remembered is None:
        remembered = _from_git(client, slice_, directory)
    if remembered is None:
        raise BaseError(_how_to_say(client, slice_, directory))
    if remembered.checking_out:
        raise BaseError(f"a checkout of {directory} was cut short: the same `sluice checkout` again completes it")
    return _seen(client, slice_, directory, remembered)


def _seen(client: Client, slice_: Json, directory: Path, base: FolderBase) -> Seen:
    settled = settle(client, base)
    base = settled.base
    if base.commit is None:
        if settled.undecided:
            waits = settled.undecided[-1]
            raise BaseError(f"{waits['id']}, which was submitted from here, is {waits['status']}: "
                            f"`sluice status {waits['id']} --wait` waits for what becomes of it")  # fmt: skip
        if base.head is None:
            raise BaseError(
                f"{directory / FILE} names no commit: `sluice checkout` into another folder makes a new one"
            )
        try:
            stored = files_at(directory, base.head)
        except GitFailed as error:
            raise BaseError(f"{directory}: {error.reason}") from error
    else:
        stored = {entry["path"]: entry for entry in client.tree(slice_["id"], base.commit)}
    paths = common_paths(slice_["paths"], base.paths)
    files = {path: entry for path, entry in base.over(stored).items() if covers(paths, os.fsencode(path))}
    return Seen(base, files, paths, settled.failed, settled.undecided)


def _from_git(client: Client, slice_: Json, directory: Path) -> FolderBase | None:
    if (head := head_of(directory)) is None:
        return None
    return FolderBase(slice_["id"], slice_["paths"], known_commit(client, slice_["id"], directory, head), head)


def _how_to_say(client: Client, slice_: Json, directory: Path) -> str:
    tip = client.head()["tip"]["commit"]
    problem = (
        f"it is not known what {directory} was made from (it has no {FILE}, and no Git repository tracks it): "
        "as a change of what stands there now, it would take back what others landed meanwhile.\n"
        f"  sluice checkout {slice_['name']} FOLDER   makes a folder that remembers it: change and submit that\n"
        "  --base COMMIT   the commit whose files were copied, if you know it"
    )
    if not client.has_any_file(slice_["id"], tip):
        problem += f"\n  --base {tip}   as the first files of {slice_['name']}: it has none yet"
    return problem


def common_paths(one: Iterable[str], other: Iterable[str]) -> set[bytes]:
    """Return the paths of a slice that covers what both of two slices cover."""
    ours, theirs = ({path.encode() for path in paths} for paths in (one, other))
    return {path for path in ours if _within(path, theirs)} | {path for path in theirs if _within(path, ours)}


def _within(path: bytes, paths: set[bytes]) -> bool:
    if path == b"/" or path in paths:
        return path in paths
    # No file's name has a NUL: it stands for all that is below a folder.
    return covers(paths, path + b"\0" if path.endswith(b"/") else path)
