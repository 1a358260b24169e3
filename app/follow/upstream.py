"""A branch of another Git server, fetched into a folder of one's own."""

from __future__ import annotations

from pathlib import Path

from storage.base.errors import Refused
from storage.base.settings import Settings
from storage.git.run_git import Git, plain_environment
from storage.mirrors.remote import Remote

_TIP = "refs/sluice/upstream"


class Rewritten(Refused):
    """The branch does not go on from a commit that was taken: it was forced, or is another one."""


class Upstream:
    """The branch, in a bare repository that may be deleted at any time: then it is fetched anew."""

    def __init__(self, settings: Settings, url: str, ref: str, folder: Path) -> None:
        self.folder = folder
        self._ref = ref
        self.git = Git(folder, plain_environment())
        if not (folder / "HEAD").exists():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.git.run("init", "--quiet", "--bare", "--template=", ".")
        self._remote = Remote(settings, url, folder)

    def fetch(self) -> str:
        """Fetch the branch, and return its newest commit. Raises RemoteFailed."""
        self._remote.fetch(f"+{self._ref}:{_TIP}")
        return self.git.output("rev-parse", "--verify", f"{_TIP}^{{commit}}").decode().strip()

    def line(self, taken: str, tip: str) -> list[str]:
        """Return the commits behind `taken` (empty: all), oldest first, along the first parents of `tip`.

        Raises Rewritten.
        """
        if not taken:
            return self.git.output("rev-list", "--first-parent", "--reverse", tip).decode().split()
        if taken == tip:
            return []
        if not self._has(taken):
            raise Rewritten(f"{taken}, which was taken, is not in the history of {tip}, which the branch is now")
        rows = self.git.output("rev-list", "--first-parent", "--reverse", "--parents", tip, f"^{taken}").decode()
        commits = [row.split() for row in rows.splitlines()]
        # The first has the taken one as its first parent, or the line has left it.
        if not commits or commits[0][1:2] != [taken]:
            raise Rewritten(f"{taken}, which was taken, is not on the line of first parents of {tip}, which the branch"
                            " is now")  # fmt: skip
        return [commit[0] for commit in commits]

    def before(self, commit: str) -> str:
        """Return the first parent of a commit, empty where it has none."""
        rows = self.git.output("rev-list", "--parents", "--max-count=1", commit).decode().split()
        return rows[1] if len(rows) > 1 else ""

    def has(self, commit: str) -> bool:
        """Tell whether a commit was fetched."""
        return self._has(commit)

    def _has(self, commit: str) -> bool:
        return not self.git.run("cat-file", "-e", f"{commit}^{{commit}}", accept=(0, 1, 128)).returncode
