"""Which files of a folder Git ignores, decided by Git itself (`git check-ignore`).

The rules are `.gitignore` in every folder, and above it up to the top of a work tree; `.git/info/exclude`; and the
user's `core.excludesFile`. A folder that is in no work tree is treated as the top of a new one.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from storage.base.errors import BadInput
from storage.git.run_git import Git, GitFailed, user_environment

_NO_REPOSITORY = "not a git repository"
_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tbare = false\n"


class IgnoreError(BadInput):
    """Git failed to say which files it ignores."""


class IgnoreRules:
    """The rules of one folder."""

    def __init__(self, git: Git, in_work_tree: bool) -> None:
        self._git = git
        self._in_work_tree = in_work_tree

    def ignored(self, names: Sequence[bytes]) -> set[bytes]:
        """Return those of these files and folders, by their paths in the folder, that Git ignores.

        A folder above each is asked for before it.
        """
        if not names:
            return set()
        # With the folder before it, a name that looks like a pattern is taken as it is.
        given = b"".join(b"./" + name + b"\0" for name in names)
        try:
            # Whatever the index has is asked for elsewhere; 1 says that nothing is ignored.
            done = self._git.run("check-ignore", "--no-index", "-z", "--stdin", stdin=given, accept=(0, 1))
        except GitFailed as error:
            raise IgnoreError(f"Git does not say what it ignores: {error.reason} (--no-ignore takes all)") from error
        return {name.removeprefix(b"./") for name in done.stdout.split(b"\0")[:-1]}

    def tracked(self) -> set[bytes]:
        """Return the files of the folder that Git tracks: what is tracked is not ignored. Raises IgnoreError."""
        if not self._in_work_tree:
            return set()
        try:
            return set(self._git.output("ls-files", "-z", "--cached").split(b"\0")[:-1])
        except GitFailed as error:
            raise IgnoreError(f"Git does not say what it tracks: {error.reason} (--no-ignore takes all)") from error


@contextmanager
def ignore_rules(directory: Path) -> Iterator[IgnoreRules]:
    """Open the rules of a folder. Raises IgnoreError."""
    if _is_in_work_tree(directory):
        yield IgnoreRules(Git(directory), True)
        return
    with tempfile.TemporaryDirectory(prefix="sluice-ignored-") as folder:
        made = Path(folder)
        for name in ("objects", "refs"):
            (made / name).mkdir()
        (made / "HEAD").write_text("ref: refs/heads/none\n")
        (made / "config").write_text(_CONFIG)
        own = {"GIT_DIR": folder, "GIT_WORK_TREE": str(directory.resolve())}
        yield IgnoreRules(Git(directory, user_environment() | own), False)


def _is_in_work_tree(directory: Path) -> bool:
    """Tell whether the folder belongs to a work tree; one that is itself ignored there does not."""
    git = Git(directory)
    try:
        top = os.fsdecode(git.output("rev-parse", "--show-toplevel")[:-1])
    except GitFailed as error:
        if _NO_REPOSITORY in error.reason or "work tree" in error.reason:
            return False
        raise IgnoreError(f"{directory}: {error.reason} (--no-ignore takes all, without asking Git)") from error
    name = os.path.relpath(directory.resolve(), top)
    if name == ".":
        return True
    return not IgnoreRules(Git(Path(top)), True).ignored([os.fsencode(name)])
