"""Reading ahead for a batch, many objects at once; and making the linker, which reads stored objects."""

from collections.abc import Callable, Sequence

import structlog

from storage.backends.deadline import Budget as Spending
from storage.base.errors import ViewStale
from storage.base.ids import ChangesetId, ObjectId, oid_of
from storage.commit.attempt import Attempt
from storage.commit.base_resolver import BaseResolver
from storage.commit.decide import seen_version
from storage.commit.footprint import portion
from storage.commit.link import BatchSources, Linker
from storage.git.objects import EMPTY_TREE, as_file
from storage.git.packs import Location
from storage.git.threeway import MergeUnavailable, Strategy, contents_to_merge
from storage.git.trees import lookup_many, sizes
from storage.log.entry import GIT_FORMAT
from storage.log.manifest import Changeset, Proposal
from storage.log.records import Decision, Outcome
from storage.lookup.content_merges import MergeBudget
from storage.moves.stored import StoredMoves
from storage.moves.trail import NO_MOVES
from storage.queue import read_changesets
from storage.repository import Repository
from storage.view.snapshot import Head, Snapshot

log = structlog.get_logger()

# The part of the time left at its beginning that linking leaves to what comes behind it.
_LEFT_FOR_STORING = 2 / 3


def depends_on(changesets: Sequence[Changeset]) -> tuple[list[str], list[str], list[str]]:
    """Return the ids of changesets and of slices, and the keys, that deciding `changesets` depends on."""
    ids: list[str] = [changeset.id for changeset in changesets]
    ids += [changeset.base_changeset for changeset in changesets if changeset.base_changeset]
    ids += [changeset.resolves for changeset in changesets if changeset.resolves]
    keys = [changeset.key for changeset in changesets if changeset.key]
    return ids, [changeset.slice for changeset in changesets], keys


def snapshot_for(repo: Repository, changesets: Sequence[Changeset]) -> Snapshot:
    """Return one instant of all that deciding `changesets` depends on."""
    return repo.snapshot(*depends_on(changesets))


def prepare(
    repo: Repository, changesets: Sequence[Changeset], attempt: Attempt, merging: Callable[[], object] = lambda: None
) -> list[Changeset]:
    """Return the changesets that one batch takes, after reading, many at once, the trees that deciding them needs.

    `merging` is called before contents are merged, which may take long.
    """
    snapshot = snapshot_for(repo, changesets)
    head = oid_of(snapshot.head.root)
    everywhere = [change.path for changeset in changesets for change in changeset.changes]
    repo.objects.prefetch_paths(head, everywhere)
    changesets = portion(changesets, sizes(repo.objects.tree, head, everywhere), repo.settings.batch_bytes)
    attempt.tries([changeset.id for changeset in changesets])
    bases = BaseResolver(repo.objects.commit_tree, snapshot.outcomes.get, lambda base: decided(repo, base))
    paths: dict[ObjectId, list[bytes]] = {}
    for changeset in changesets:
        root = bases.tree_of(changeset)
        if root is None and changeset.base_changeset is not None:
            # What was seen is made of this one.
            outcome = bases.outcome_of(changeset.base_changeset)
            root = oid_of(outcome.saw) if outcome and outcome.saw else None
        if root is not None and root not in (head, EMPTY_TREE):
            paths.setdefault(root, []).extend(change.path for change in changeset.changes)
    for root, touched in paths.items():
        repo.objects.prefetch_paths(root, touched)
    _premerge(repo, head, changesets, bases, merging)
    return changesets


def _premerge(
    repo: Repository,
    head: ObjectId,
    changesets: Sequence[Changeset],
    bases: BaseResolver,
    merging: Callable[[], object],
) -> None:
    """Merge the contents that both sides changed, in few runs of Git; linking finds them while the heads stand."""
    wanted: list[tuple[ObjectId | None, ObjectId, ObjectId]] = []
    locations: dict[ObjectId, Location] = {}
    on: dict[ObjectId, list[tuple[Changeset, Proposal, ObjectId]]] = {}
    for changeset in changesets:
        base = bases.tree_of(changeset)
        if base is None or base == head:
            continue
        for change in changeset.changes:
            if change.op == "put" and change.strategy == Strategy.MERGE and change.oid is not None:
                on.setdefault(base, []).append((changeset, change, change.oid))
    for base, merges in on.items():
        paths = [change.path for _, change, _ in merges]
        # Each directory once, whatever the number of its paths: mostly nothing is to be merged.
        was, now = (lookup_many(repo.objects.tree, root, paths) for root in (base, head))
        for changeset, change, oid in merges:
            seen, ours = as_file(was[change.path]), as_file(now[change.path])
            before = seen_version(changeset, change, seen, ours)
            if ours == before:
                continue
            if change.range:
                locations[oid] = Location(changeset.pack, change.range)
            three = contents_to_merge(before, ours, change.version(before))
            if three:
                wanted.append(three)
    if not wanted:
        return
    merging()
    try:
        repo.merges.premerge(wanted, lambda oid: repo.objects.blob(oid, locations.get(oid)), repo.settings.merge_budget)
    except MergeUnavailable as error:
        log.error("merge_unavailable", wanted=len(wanted), reason=str(error))


def sources(repo: Repository, head: Head | None = None) -> BatchSources:
    """Return what linking reads: what is stored, and the moves up to `head`; None: no moves."""

    def changes(changeset_id: ChangesetId, outcome: Decision) -> Sequence[Proposal]:
        return read_changesets(repo.archive, repo.queue, [(changeset_id, outcome.pack)])[0].changes

    return BatchSources(
        tree=repo.objects.tree,
        commit_tree=repo.objects.commit_tree,
        outcome=lambda changeset: decided(repo, changeset),
        changes=changes,
        blob=repo.objects.blob,
        merge=MergeBudget(repo.merges, repo.settings.merge_budget),
        moves=StoredMoves(repo, head) if head else NO_MOVES,
    )


def linker_on(repo: Repository, snapshot: Snapshot, spending: Spending) -> Linker:
    """Return a linker for a batch on `snapshot`, bounded in bytes, and in time by `spending`."""
    # To prove and to store what was linked takes about as long as linking it.
    until = spending.left() * _LEFT_FOR_STORING
    return Linker(
        snapshot,
        sources(repo, snapshot.head),
        committer=repo.committer(),
        max_bytes=repo.settings.batch_bytes,
        enough=lambda: spending.left() < until,
        may_say_moves=lambda: repo.nodes.all_read(GIT_FORMAT),
    )


def decided(repo: Repository, changeset: ChangesetId) -> Outcome:
    """Return the outcome of a changeset that has one. Raises ViewStale where the view has been swapped meanwhile."""
    outcome = repo.outcome(changeset)
    if outcome is None:
        raise ViewStale(f"{changeset} has an outcome, and the view that is published now does not know it")
    return outcome
