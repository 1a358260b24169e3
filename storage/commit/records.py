"""Making the records of decisions: conflicts, within limits, and changes. Pure."""

from itertools import accumulate

from storage.base.ids import ChangesetId
from storage.commit.decide import MAX_CONFLICTS, Conflict
from storage.git.paths import recorded_path
from storage.log.entry import Commits
from storage.log.manifest import Changeset
from storage.log.records import Actor, Closing, Decided, Decision, RecordedConflict, RecordedVersion
from storage.view.snapshot import Head

MAX_CONFLICT_BYTES = 64 << 10
"""The paths of the conflicts that an outcome names have so many bytes at most; the first is always named."""

EXPIRED = "expired"
"""What is recorded as having closed a conflict that nobody closed while too many were open."""


def recorded(conflicts: list[Conflict]) -> tuple[RecordedConflict, ...]:
    """Return what an outcome says of conflicts: the first of them."""
    first = conflicts[:MAX_CONFLICTS]
    sizes = accumulate(len(conflict.path) + len(conflict.blocker or conflict.moved or b"") for conflict in first)
    most = max(1, sum(size <= MAX_CONFLICT_BYTES for size in sizes))
    return tuple(
        RecordedConflict(
            path=recorded_path(conflict.path),
            kind=conflict.kind,
            base=RecordedVersion.of(conflict.base),
            head=RecordedVersion.of(conflict.head),
            submitted=RecordedVersion.of(conflict.submitted),
            blocker=recorded_path(conflict.blocker) if conflict.blocker else None,
            moved=recorded_path(conflict.moved) if conflict.moved else None,
        )
        for conflict in first[:most]
    )


def actor_of(changeset: Changeset) -> Actor | None:
    """Return who submitted a changeset; None where there were no tokens."""
    by = changeset.by
    return by and Actor(principal=by.principal, token=by.token, request=by.request, address=by.address)


def without_commits(head: Head, *decided: Decided, actor: Actor | None = None) -> Commits:
    """Return an entry of decisions without commits, made for an `actor`: the chain stays as it is."""
    return Commits(
        packs=(), decided=decided, tip=head.tip, root=head.root, time=head.tip_time, committed=head.committed,
        actor=actor,
    )  # fmt: skip


def closing(changeset_id: ChangesetId, outcome: Decision, by: str | None = None) -> Closing:
    """Return what an entry says to close a conflicted changeset, given its outcome."""
    paths = tuple(conflict.path for conflict in outcome.conflicts)
    return Closing(id=changeset_id, slice=outcome.slice, paths=paths, by=by)
