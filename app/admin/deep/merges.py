"""Merges of the full verification: Git's results, compared with the log."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.judge import Files, Judge, SourceMerge, Trees, after, may_rename, split_renames
from storage.base.errors import Corrupt
from storage.git.merge_tree import TreeMerge
from storage.git.threeway import ConflictClass
from storage.log.records import Decided


class Differs(Corrupt):
    """The recomputed result differs from the log."""


@dataclass(slots=True)
class Excuses:
    """Reasons why a conflict in the log may be none to Git; see docs/merging.md."""

    too_large: bool = False
    gitmodules: bool = False  # both versions are good, and their merge is not
    unknown_base: bool = False  # a content that was seen and is not stored here

    def __bool__(self) -> bool:
        return self.too_large or self.gitmodules or self.unknown_base


@dataclass(slots=True)
class Case:
    """A changeset to be verified."""

    at: str  # entry and id, for people
    base: str  # trees: what its writer saw,
    head: str  # what stood before it in the chain,
    submitted: str  # and what its writer saw with its changes
    excuses: Excuses
    tree: str = ""  # of its commit; empty where it was not committed
    may_rename: bool = False  # a path that both sides changed is gone in one
    must_conflict: bool = False  # a path with the strategy `exact` moved, or one that is gone was changed
    unchecked: bool = False


def excuses_of(record: Decided) -> Excuses:
    """Return what excuses the conflicts that a record has."""
    contents = [conflict.path for conflict in record.conflicts if conflict.kind == ConflictClass.CONTENT]
    return Excuses(
        too_large=any(conflict.kind == ConflictClass.TOO_LARGE for conflict in record.conflicts),
        gitmodules=any(path.rpartition("/")[2] == ".gitmodules" for path in contents),
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """Trees that Git merges, and what is in the first one of what the sides changed; all of a case, or a half."""

    trees: Trees
    files: Files


def examine(cases: Sequence[Case], judge: Judge) -> Iterator[str]:
    """Compare cases in log order, merging all of them at once; yields the name of a counter for some.

    Raises Differs at the first that differs, and HistoryError where Git cannot merge.
    """
    asked = [case for case in cases if _is_merge(case)]
    renaming = [case for case in asked if case.may_rename]
    sides = iter(judge.differences([(case.base, side) for case in renaming for side in (case.head, case.submitted)]))
    parts: dict[int, list[_Part]] = {}
    for case in asked:
        trees = (case.base, case.head, case.submitted)
        parts[id(case)] = [_Part(trees, {})]
        if case.may_rename:
            merge = SourceMerge("", trees, (next(sides), next(sides)))
            if may_rename(merge):
                halves = [(judge.tree(p.base), judge.tree(p.ours), judge.tree(p.theirs)) for p in split_renames(merge)]
                parts[id(case)] = [_Part(t, p.base) for t, p in zip(halves, split_renames(merge), strict=True)]
    verdicts = iter(judge.verdicts([part.trees for case in asked for part in parts[id(case)]]) if asked else [])
    for case in cases:
        if case.unchecked:
            yield "unchecked"
        elif case.must_conflict:
            if case.tree:
                raise Differs(f"{case.at}: a path moved that it wants as it was, and it was committed")
        elif not _is_merge(case):
            _direct(case, judge)
        else:
            yield "merged"
            yield from _merged(case, parts[id(case)], [next(verdicts) for _ in parts[id(case)]], judge)


def _is_merge(case: Case) -> bool:
    return case.base != case.head and not case.unchecked and not case.must_conflict


def _direct(case: Case, judge: Judge) -> None:
    if not case.tree:
        raise Differs(f"{case.at}: nothing moved since its base, and it is in conflict")
    _same(case, case.submitted, judge)


def _same(case: Case, made: str, judge: Judge) -> None:
    if made != case.tree:
        [changes] = judge.differences([(made, case.tree)])
        if changes:  # else a directory of an imported history has modes that Git reads as others, and writes as those
            raise _at_path(case, changes[0].path)


def _at_path(case: Case, path: str) -> Differs:
    return Differs(f"{case.at}: its tree is not what Git makes, first at {path}")


def _merged(case: Case, parts: Sequence[_Part], verdicts: Sequence[TreeMerge], judge: Judge) -> Iterator[str]:
    clean = all(verdict.clean for verdict in verdicts)
    if not case.tree:
        if clean and not case.excuses:
            raise Differs(f"{case.at}: Git merges it, and it is in conflict")
        if clean:
            yield "excepted"
        return
    if not clean:
        paths = ", ".join(path for verdict in verdicts for path in verdict.paths)
        raise Differs(f"{case.at}: Git has a conflict at {paths}, and it was committed")
    if len(parts) == 1:
        _same(case, verdicts[0].tree, judge)
        return
    # Two halves: what they come to is compared by files.
    pairs = [(part.trees[0], verdict.tree) for part, verdict in zip(parts, verdicts, strict=True)]
    *differing, changed = judge.differences([*pairs, (case.base, case.tree)])
    made: Files = {}
    for part, changes in zip(parts, differing, strict=True):
        made |= after(part.files, changes)
    logged = after(parts[0].files, changed)
    for path in sorted(made.keys() | logged.keys()):
        if made.get(path) != logged.get(path):
            raise _at_path(case, path)
