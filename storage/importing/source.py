"""The repository that is imported: what is taken of it, and what cannot be. Git reads it; nothing in it is changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from storage.base.errors import BadInput, Refused
from storage.git.objects import Commit
from storage.git.run_git import Git, GitFailed

MAX_TAGS = 100_000
"""Tags of one import: an entry of the log names them all."""
_TAGS = "refs/tags/"
_SHOWN = 20


class NoSource(BadInput):
    """There is no Git repository, or no such commit in it."""


class Unfit(Refused):
    """The repository has something that Sluice cannot carry; nothing was written."""

    def __init__(self, problems: list[str], more: int = 0) -> None:
        self.problems = problems
        count = len(problems) + more
        super().__init__(f"{count} things cannot be imported, and nothing was written: {'; '.join(problems[:_SHOWN])}")


@dataclass(frozen=True, slots=True)
class Source:
    """A history and its tags."""

    git: Git
    ref: str  # as it was asked for
    tip: str  # the commit
    parsed: Commit  # what it says
    commits: int  # that it reaches, with itself
    tags: dict[str, str] = field(default_factory=dict)  # ids of tag objects or commits, by name without refs/tags/
    left: list[str] = field(default_factory=list)  # names of tags that are left out, as text


def open_source(folder: Path, ref: str) -> Source:
    """Return the history that `ref` reaches. Raises NoSource, and Unfit for what is known without reading objects."""
    git = Git(folder)
    try:
        git.output("rev-parse", "--git-dir")
        tip = git.output("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}").decode().strip()
    except GitFailed as error:
        if error.reason:
            raise NoSource(f"{folder}: {error.reason}") from error
        raise NoSource(f"{folder} has no commit {ref!r}") from error
    if problems := _incomplete(git, folder):
        raise Unfit(problems)
    parsed = Commit.parse(git.output("cat-file", "commit", tip))
    commits = int(git.output("rev-list", "--count", tip))
    tags, left = _tags(git, tip)
    return Source(git, ref, tip, parsed, commits, tags, left)


def _incomplete(git: Git, folder: Path) -> list[str]:
    """Return what forbids to take the history for what it seems to be."""
    problems = []
    kind = git.output("rev-parse", "--show-object-format").decode().strip()
    if kind != "sha1":
        problems.append(f"its objects are named by {kind}, and Sluice's by sha1")
    if git.output("rev-parse", "--is-shallow-repository").strip() == b"true":
        problems.append("it is shallow: `git fetch --unshallow` completes it")
    promised = git.run("config", "--get-regexp", r"^(remote\..*\.promisor|extensions\.partialclone)$", accept=(0, 1))
    if promised.stdout.strip():
        problems.append("it is a partial clone, without some objects: clone it without --filter")
    if git.output("for-each-ref", "--count=1", "refs/replace/"):
        problems.append("it has replace refs, which show another history than is stored: `git replace -d` removes them")
    grafts = Path(git.output("rev-parse", "--git-path", "info/grafts").decode().rstrip("\n"))
    if (folder / grafts).is_file() and (folder / grafts).read_bytes().strip():
        problems.append("it has grafts, which show another history than is stored: info/grafts")
    return problems


def _tags(git: Git, tip: str) -> tuple[dict[str, str], list[str]]:
    """Return the tags of commits that the tip reaches, and the names of the others. Raises Unfit."""
    form = "--format=%(objectname) %(refname)"
    carried: dict[str, str] = {}
    left: list[str] = []
    for line in git.output("for-each-ref", f"--merged={tip}", form, _TAGS).splitlines():
        oid, _, name = line.partition(b" ")
        try:
            carried[name.decode().removeprefix(_TAGS)] = oid.decode()
        except UnicodeDecodeError:
            left.append(name.decode(errors="backslashreplace").removeprefix(_TAGS))
    if len(carried) > MAX_TAGS:
        raise Unfit([f"it has {len(carried):,} tags in its history; at most {MAX_TAGS:,} can be carried"])
    for line in git.output("for-each-ref", form, _TAGS).splitlines():
        text = line.partition(b" ")[2].decode(errors="backslashreplace").removeprefix(_TAGS)
        if text not in carried and text not in left:
            left.append(text)
    return carried, left
