"""What the writer of a changeset saw: the tree of its base, and the changesets of a stack over it. Pure, given readers.

A base is a commit, versions, or another changeset. storage/commit/link.py describes which trees the outcomes of a stack
name: with these, a descent ends at the latest where the batch of a changeset began.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from storage.base.ids import ChangesetId, ObjectId, oid_of
from storage.git.objects import EMPTY_TREE
from storage.log.manifest import Changeset
from storage.log.records import Decision

CommitTree = Callable[[ObjectId], ObjectId | None]
"""Returns the root tree of a commit, None where there is no such commit."""

ReadOutcome = Callable[[ChangesetId], Decision | None]
"""Returns the outcome of a changeset that is decided, which never changes again; raises where it cannot be read now.

None stands for a changeset that has none, to those who resolve bases of undecided ones.
"""


def _not_read(changeset_id: ChangesetId) -> Changeset:
    raise AssertionError(f"{changeset_id} is in a stack, and its outcome does not say on what")


class BaseResolver:
    """Resolves bases with the outcomes that are known, and reads those of changesets further down a stack."""

    def __init__(
        self,
        commit_tree: CommitTree,
        outcome_of: Callable[[ChangesetId], Decision | None],
        read_outcome: ReadOutcome,
        read_changeset: Callable[[ChangesetId], Changeset] = _not_read,
    ) -> None:
        """`outcome_of` returns None for a changeset that has no outcome yet, as far as who resolves may know.

        `read_changeset` is needed for stacks in which some are not committed.
        """
        self._commit_tree = commit_tree
        self._outcome_of = outcome_of
        self.read_outcome = read_outcome
        self._read_changeset = read_changeset
        self._firsts: dict[ChangesetId, Decision] = {}  # outcomes of those that repeats stand for

    def outcome_of(self, changeset_id: ChangesetId) -> Decision | None:
        """Return a changeset's outcome, None while it has none."""
        return self._outcome_of(changeset_id) or self._firsts.get(changeset_id)

    def first_of(self, changeset_id: ChangesetId) -> ChangesetId:
        """Return the first changeset of which this one is a duplicate, or the changeset itself.

        A client whose answer was lost repeats its request and may get a second id, on which it stacks the next ones.
        """
        outcome = self.outcome_of(changeset_id)
        if outcome is None or outcome.first is None:
            return changeset_id
        first = outcome.first
        # It had its outcome before the repeat had one, so this reads what every snapshot from then on says.
        of_first = self.outcome_of(first) or self.read_outcome(first)
        if of_first is None or of_first.fingerprint != outcome.fingerprint:
            return changeset_id
        self._firsts[first] = of_first
        return first

    def tree_of(self, changeset: Changeset) -> ObjectId | None:
        """Return the tree that the writer saw; None where no such commit exists, or where only `descend` finds it."""
        if changeset.base_commit is not None:
            return self._commit_tree(changeset.base_commit)
        if changeset.base_changeset is None:
            return EMPTY_TREE  # by versions: each change says what was seen, and nothing else was
        outcome = self.outcome_of(changeset.base_changeset)
        return oid_of(outcome.seen) if outcome and outcome.seen else None

    def descend(self, base: ChangesetId) -> Descent:
        """Return the changesets that the writer of one on `base` saw the changes of, from the newest one down."""
        return Descent(self, base)

    def below(self, changeset_id: ChangesetId, outcome: Decision | None) -> tuple[ChangesetId | None, ObjectId | None]:
        """Return what a changeset stands on: another one, or a tree; neither where there is no such commit."""
        if outcome and outcome.saw:
            return None, oid_of(outcome.saw)
        if outcome and outcome.base:
            return outcome.base, None
        changeset = self._read_changeset(changeset_id)
        if changeset.base_changeset is not None:
            return changeset.base_changeset, None
        return None, self.tree_of(changeset)


class Descent:
    """A way down a stack: iterate over the changesets and their outcomes; then `tree` is what they all lie over."""

    def __init__(self, resolver: BaseResolver, base: ChangesetId) -> None:
        self._resolver = resolver
        self._base: ChangesetId | None = base
        self.tree: ObjectId | None = None  # also at the end, where there is no such commit

    def __iter__(self) -> Iterator[tuple[ChangesetId, Decision | None]]:
        """Yield each changeset before what is below it is asked for."""
        resolver = self._resolver
        while self._base is not None:
            base = resolver.first_of(self._base)
            outcome = resolver.outcome_of(base) or resolver.read_outcome(base)
            if outcome and outcome.seen:
                self.tree = oid_of(outcome.seen)
                return
            yield base, outcome
            self._base, self.tree = resolver.below(base, outcome)
