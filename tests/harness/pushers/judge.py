"""The rules about pushes: what pushers were told and what their clones had, against what Git gets at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.harness.checker import Case
    from tests.harness.evidence import Commit

WHOLE = "-/repository"
PART = "the part of a change that has other paths too"
"""What stands in place of a key where a slice is not told which change it was."""


@dataclass(slots=True)
class Repository:
    """One repository, as a fresh clone of it has it at the end."""

    paths: tuple[str, ...]  # of the slice
    log: list[tuple[str, str | None]] = field(default_factory=list)  # commits and their keys, oldest first
    files: dict[str, str] = field(default_factory=dict)  # mode and id, by path


@dataclass(slots=True)
class Cloned:
    """What Git gets from the gateway at the end."""

    repositories: dict[str, Repository] = field(default_factory=dict)  # by name
    unsound: list[str] = field(default_factory=list)  # what could not be cloned, and what `git fsck` found
    had: list[tuple[str, str]] = field(default_factory=list)  # keys and commits that could be had, of those asked for
    asked: int = 0  # for commits that did not land


def did_not_land(case: Case) -> dict[str, tuple[str, str]]:
    """Return slices and ids of the pushed commits that did not land, by key."""
    return {
        key: (submission.slice, submission.pushed)
        for key, submission in case.history.submissions.items()
        if submission.pushed and not case.by_key.get(key)
    }


def _pushes_were_told_the_truth(case: Case) -> Iterator[str]:
    """What a push was told as landed is in the chain, once; what it was told as refused is not."""
    for told in case.history.told:
        standing = len(case.by_key.get(told.key, []))
        what = f"{told.key} was told as {told.status} ({told.changeset or 'as it is'})"
        if told.status in {"landed", "committed"} and standing != 1:
            yield f"{what}, and is committed {standing} times"
        if told.status in {"conflicted", "rejected", "abandoned"} and standing:
            yield f"{what}, and is committed"
        last = case.status(told.changeset or "")
        if last and told.status in {"landed", "conflicted", "rejected", "abandoned"} and last != told.status:
            yield f"{what}, and at the end that is {last}"


def _clones_are_whole(case: Case) -> Iterator[str]:
    """Everything can be cloned, and `git fsck --strict` finds no fault with any clone."""
    yield from case.history.unsound
    if case.evidence.clones:
        yield from case.evidence.clones.unsound


def _what_git_saw_is_still_there(case: Case) -> Iterator[str]:
    """Every commit that a clone ever had as the branch of a slice is in its history for good."""
    for name, repository in _repositories(case):
        there = {commit for commit, _ in repository.log}
        for slice_name, commit in sorted(case.history.branches):
            if slice_name == name and commit not in there:
                yield f"a clone of {name} had {commit} as its branch, which that has no more"


def _slices_have_what_landed_once(case: Case) -> Iterator[str]:
    """A slice's history has each commit of the chain that changes something in it, once and in that order.

    Of one that changes something else too, it is not told which it was.
    """
    for name, repository in _repositories(case):
        touching = [commit for commit in case.evidence.chain if _touches(commit, repository.paths)]
        wanted = [commit.key if _is_within(commit, repository.paths) else PART for commit in touching]
        had = [key for _, key in repository.log if key is not None]
        for key, count in Counter(had).items():
            if count > (wanted.count(PART) if key == PART else 1) or key not in wanted:
                yield f"{key} stands {count} times in the history of {name}, and {wanted.count(key)} times in the chain"
        for key in wanted:
            if key not in had:
                yield f"{key} has landed, and the history of {name} has it not"
        if Counter(had) == Counter(wanted) and had != wanted:
            yield f"the history of {name} has {had}, and the chain {wanted}"


def _a_slice_is_its_part_of_the_whole(case: Case) -> Iterator[str]:
    """A clone of the whole is the chain, and one of a slice has the very files of its paths."""
    whole = case.evidence.clones.repositories.get(WHOLE) if case.evidence.clones else None
    if whole is None:
        return
    chain = [commit.id for commit in case.evidence.chain]
    if [commit for commit, _ in whole.log] != chain:
        yield f"a clone of the whole has {len(whole.log)} commits, ending in {whole.log[-1:]}; the chain {chain[-1:]}"
    for name, repository in _repositories(case):
        part = {path: file for path, file in whole.files.items() if _covers(repository.paths, path)}
        for path in sorted(part.keys() | repository.files.keys()):
            if part.get(path) != repository.files.get(path):
                yield f"{path} is {repository.files.get(path)} in a clone of {name}, and {part.get(path)} in the whole"


def _what_was_refused_cannot_be_had(case: Case) -> Iterator[str]:
    """No commit that was pushed and did not land can be fetched, not even by its id."""
    for key, commit in case.evidence.clones.had if case.evidence.clones else ():
        yield f"{key} did not land, and its commit {commit} can be fetched"


def _repositories(case: Case) -> Iterator[tuple[str, Repository]]:
    """Yield the slices' own."""
    if case.evidence.clones:
        yield from ((name, each) for name, each in case.evidence.clones.repositories.items() if name != WHOLE)


def _touches(commit: Commit, paths: tuple[str, ...]) -> bool:
    return any(_covers(paths, path) for path in commit.edits)


def _is_within(commit: Commit, paths: tuple[str, ...]) -> bool:
    return all(_covers(paths, path) for path in commit.edits)


def _covers(paths: tuple[str, ...], path: str) -> bool:
    return any(prefix == "/" or path.startswith(prefix) for prefix in paths)


PUSH_RULES = (
    _pushes_were_told_the_truth,
    _clones_are_whole,
    _what_git_saw_is_still_there,
    _slices_have_what_landed_once,
    _a_slice_is_its_part_of_the_whole,
    _what_was_refused_cannot_be_had,
)
