"""Reading ahead for a batch, many objects at once; and making the linker, which reads stored objects."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from storage.backends.deadline import Budget as Spending
from storage.base.errors import ViewStale
from storage.base.ids import ChangesetId, ObjectId, PackId, oid_of
from storage.commit.attempt import Attempt
from storage.commit.decide import seen_version
from storage.commit.footprint import LookUps
from storage.commit.link import Linker, ReadBlob
from storage.commit.portion import portion
from storage.git.objects import EMPTY_TREE, CorruptObject, as_file
from storage.git.packs import Location
from storage.git.threeway import MergeUnavailable, Strategy, contents_to_merge
from storage.git.tree_editor import TreeEditor
from storage.git.trees import sizes
from storage.log.entry import Json
from storage.log.manifest import Changeset, Proposal
from storage.lookup.content_merges import MergeBudget
from storage.lookup.object_store import ObjectMissing
from storage.queue.submission_packs import read_changesets
from storage.repository import Repository
from storage.view.snapshot import Snapshot

log = structlog.get_logger()

# The part of the time left at its beginning that linking leaves to what comes behind it.
_LEFT_FOR_STORING = 2 / 3


def snapshot_for(repo: Repository, changesets: Sequence[Changeset]) -> Snapshot:
    """Return one instant of all that deciding `changesets` depends on."""
    ids = [changeset.id for changeset in changesets]
    bases = [changeset.base_changeset for changeset in changesets if changeset.base_changeset]
    keys = [changeset.key for changeset in changesets if changeset.key]
    resolved = [changeset.resolves for changeset in changesets if changeset.resolves]
    return repo.snapshot([*ids, *bases, *resolved], [changeset.slice for changeset in changesets], keys)


def prepare(repo: Repository, changesets: Sequence[Changeset], attempt: Attempt) -> list[Changeset]:
    """Return those of the changesets that one batch takes, with the trees that deciding them reads in this process.

    Those of the head and of the bases are read many at once.
    """
    snapshot = snapshot_for(repo, changesets)
    head, everywhere = oid_of(snapshot.head.root), [change.path for each in changesets for change in each.changes]
    repo.objects.prefetch_paths(head, everywhere)
    changesets = portion(changesets, sizes(repo.objects.tree, head, everywhere), repo.settings.batch_bytes)
    attempt.tries([changeset.id for changeset in changesets])
    paths: dict[ObjectId, list[bytes]] = {}
    for changeset in changesets:
        roots = []
        if changeset.base_commit is not None:
            tree = base_tree(repo, changeset)
            roots += [tree] if tree else []
        elif changeset.base_changeset is not None:
            outcome = snapshot.outcomes.get(changeset.base_changeset, {})
            roots += [oid_of(outcome[name]) for name in ("seen", "saw") if name in outcome]
        for root in set(roots) - {head}:
            paths.setdefault(root, []).extend(change.path for change in changeset.changes)
    for root, touched in paths.items():
        repo.objects.prefetch_paths(root, touched)
    premerge(repo, snapshot, changesets)
    return changesets


def premerge(repo: Repository, snapshot: Snapshot, changesets: Sequence[Changeset]) -> None:
    """Merge the contents that both sides changed, in few runs of Git; linking finds them while the heads stand."""
    head = oid_of(snapshot.head.root)
    wanted: list[tuple[ObjectId | None, ObjectId, ObjectId]] = []
    places: dict[ObjectId, Location] = {}
    heads, bases = TreeEditor(repo.objects.tree, head), LookUps(repo.objects.tree, repo.settings.batch_bytes)
    for changeset in changesets:
        base = _tree_of_base(repo, snapshot, changeset)
        if base is None or base == head:
            continue
        for change in changeset.changes:
            if change.op != "put" or change.strategy != Strategy.MERGE or change.oid is None:
                continue
            seen, ours = as_file(bases[base].get(change.path)), as_file(heads.get(change.path))
            before = seen_version(changeset, change, seen, ours)
            if ours == before:
                continue
            if change.place:
                places[change.oid] = Location(changeset.pack, change.place)
            three = contents_to_merge(before, ours, change.version(before))
            if three:
                wanted.append(three)
    try:
        repo.merges.premerge(wanted, lambda oid: repo.objects.blob(oid, places.get(oid)), repo.settings.merge_budget)
    except MergeUnavailable as error:
        log.error("merge_unavailable", wanted=len(wanted), reason=str(error))


def _tree_of_base(repo: Repository, snapshot: Snapshot, changeset: Changeset) -> ObjectId | None:
    """Return the tree that a changeset's writer saw, None where it is not known without work."""
    if changeset.base_commit is not None:
        return base_tree(repo, changeset)
    if changeset.base_versions:
        return EMPTY_TREE
    outcome = snapshot.outcomes.get(changeset.base_changeset, {}) if changeset.base_changeset else {}
    return oid_of(outcome["seen"]) if "seen" in outcome else None


def base_tree(repo: Repository, changeset: Changeset) -> ObjectId | None:
    """Return the tree of the commit that a changeset names as its base, None where there is no such commit."""
    assert changeset.base_commit is not None
    try:
        return repo.objects.commit(changeset.base_commit).tree
    except (ObjectMissing, CorruptObject):
        return None


def linker_on(
    repo: Repository, snapshot: Snapshot, read_blob: ReadBlob | None = None, spending: Spending | None = None
) -> Linker:
    """Return a linker on `snapshot` that reads what is stored, with `read_blob` for more than that.

    For a batch, whose `spending` it is, it is bounded in bytes and in time.
    """
    # To prove and to store what was linked takes about as long as linking it.
    until = spending.left() * _LEFT_FOR_STORING if spending else 0.0

    def changes(changeset_id: ChangesetId, outcome: Json) -> Sequence[Proposal]:
        return read_changesets(repo.archive, repo.queue, [(changeset_id, PackId(outcome["pack"]))])[0].changes

    return Linker(
        snapshot,
        repo.objects.tree,
        lambda c: base_tree(repo, c),
        changes,
        lambda changeset: decided(repo, changeset),
        read_blob or repo.objects.blob,
        MergeBudget(repo.merges, repo.settings.merge_budget),
        repo.committer(),
        repo.settings.batch_bytes if spending else None,
        lambda: spending is not None and spending.left() < until,
    )


def decided(repo: Repository, changeset: ChangesetId) -> Json:
    """Return the outcome of a changeset that has one. Raises ViewStale where the view has been swapped meanwhile."""
    outcome = repo.outcome(changeset)
    if outcome is None:
        raise ViewStale(f"{changeset} has an outcome, and the view that is published now does not know it")
    return outcome
