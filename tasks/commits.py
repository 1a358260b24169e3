"""Committing: claim a bounded batch, prepare it, link it, prove it, append it, apply it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

import structlog
from redis.exceptions import RedisError

from storage.backends.bucket import BucketError
from storage.backends.deadline import Budget as Spending
from storage.backends.deadline import Spent, budget
from storage.base.errors import LogForked, Paused, Recovering, ViewAbsent, ViewStale
from storage.base.ids import ChangesetId, ObjectId, PackId, new_ulid
from storage.base.logging_setup import in_lines
from storage.base.stopwatch import Stopwatch
from storage.commit import poison
from storage.commit.append import append, entry_after
from storage.commit.append_loop import LogBusy, Moved, of_one_view
from storage.commit.attempt import Attempt
from storage.commit.decide import seen_version
from storage.commit.footprint import LookUps
from storage.commit.link import Linked, Linker, ReadBlob
from storage.commit.portion import portion
from storage.commit.prove import RootMismatch, prove
from storage.git.objects import EMPTY_TREE, CorruptObject, as_file
from storage.git.packs import Location
from storage.git.threeway import MergeUnavailable, Strategy, contents_to_merge
from storage.git.tree_editor import TreeEditor
from storage.git.trees import sizes
from storage.log.entry import EntryKind, Json
from storage.log.manifest import Changeset, Proposal
from storage.log.store_pack import pack_of, store_pack
from storage.lookup.content_merges import Budget
from storage.lookup.object_store import ObjectMissing
from storage.queue.queue import Claimed
from storage.queue.submission_packs import read_changesets
from storage.repository import Repository
from storage.view.snapshot import Snapshot
from tasks.base import SluiceTask, repository
from tasks.celery import app
from tasks.notify import ask_for_commit, ask_for_merge, ask_for_upkeep
from tasks.report import did

log = structlog.get_logger()

# Times that a batch is linked anew because its place in the log was taken, before it gives back what it claimed.
MOST_RACES = 20
# The part of the time left at its beginning that linking leaves to what comes behind it.
_LEFT_FOR_STORING = 2 / 3


class TooManyRaces(Exception):
    """A batch lost the race for its place in the log too often; its changesets stay queued."""


# What ends a batch and is no changeset's fault: it is given back, and tried again.
SERVERS_FAULTS = (BucketError, RedisError, Spent, OSError, LogBusy, LogForked, MergeUnavailable, TooManyRaces)


@app.task(name="sluice.commit", base=SluiceTask, ignore_result=True, acks_late=True)
def commit(token: str = "", reason: str = "") -> None:
    """Commit one bounded batch; where work is left, send the next message. `reason` is for who reads it."""
    repo = repository()
    started = int(time.time() * 1000)
    moved = False
    try:
        moved = commit_batch(repo) > 0
    except (ViewAbsent, ViewStale, Recovering) as error:
        log.info("commits_wait", reason=type(error).__name__)
        did(f"waits: {type(error).__name__}")
        ask_for_upkeep(repo)
    except Paused:
        log.warning("commits_paused", limit=repo.settings.max_pending)
        did(f"waits: {repo.settings.max_pending} changesets are not merged (max_pending)")
    except SERVERS_FAULTS as error:
        log.warning("batch_given_back", reason=type(error).__name__, detail=str(error))
        did(f"given back: {type(error).__name__}")
    except poison.Overdue as error:
        moved = True  # as below
        did(f"not done within batch_budget: {error}")
    except Exception:
        moved = True  # somebody is suspected now, and the others need not wait
        raise
    finally:
        _ask_for_more(repo, token, None if moved else started)


def _ask_for_more(repo: Repository, token: str, before: int | None) -> None:
    try:
        ask_for_merge(repo)
        ask_for_commit(repo, done=token, before=before)
    except RedisError as error:
        log.warning("not_announced", reason=str(error))


def commit_batch(repo: Repository, recovered_only: bool = True) -> int:
    """Commit one bounded batch and return how many changesets it decided, or found decided since they were claimed.

    Raises ViewAbsent, Recovering and Paused where nothing can be claimed. SERVERS_FAULTS, ViewStale, Overdue and
    whatever else goes wrong end the batch, and what is not decided is given back: blamed for the latter two
    (storage/commit/poison.py).
    """
    owner, watch = new_ulid(), Stopwatch()
    with budget("batch_budget", repo.settings.batch_budget, repo.settings.slow_call) as spending:
        with watch.stage("claim"):
            claimed = repo.queue.claim(owner, recovered_only)
        if not claimed:
            return 0
        blame: tuple[str, ...] = ()
        attempt = Attempt(repo.queue, owner, claimed)
        try:
            with repo.heartbeat.of(owner, claimed):
                taken = claimed[: repo.pace.changesets]
                attempt.tries([item.id for item in taken])
                done, too_long = _commit_claimed(repo, owner, taken, attempt, watch, spending)
            repo.pace.went_well(spending.used)
            if too_long is not None and not spending.was_held_up:
                blame = (poison.MERGES_TOO_LONG, too_long)
            return done
        except (ViewAbsent, ViewStale, Recovering):
            raise
        except SERVERS_FAULTS as error:
            if not spending.is_spent:
                raise
            if spending.was_held_up:
                repo.pace.fell_behind(len(attempt.tried))
                raise
            blame = (poison.TOO_LONG,)
            log.error("batch_overdue", changesets=len(attempt.tried), first=attempt.tried[0], **watch.fields())
            raise poison.Overdue(f"{len(attempt.tried)} changesets: {error}") from error
        except Exception as error:
            blame = (type(error).__name__,)
            tried = attempt.tried
            log.error("batch_failed", changesets=len(tried), first=tried[0], fault=blame[0], detail=str(error))
            raise
        finally:
            # Whatever the batch has spent, a stop as well: giving back has a moment of its own.
            with budget("redis_timeout", repo.settings.redis_timeout):
                try:
                    repo.append_lock.release(owner)
                finally:
                    attempt.release(*blame)


def _commit_claimed(
    repo: Repository, owner: str, claimed: Sequence[Claimed], attempt: Attempt, watch: Stopwatch, spending: Spending
) -> tuple[int, ChangesetId | None]:
    """Return how many changesets were decided, and the one whose merges took too long, if one's did."""
    first = claimed[0]
    if first.deaths >= repo.settings.poison_tries:
        log.error("poison_rejected", changeset=first.id, deaths=first.deaths, fault=first.fault)
        poison.reject(repo, first)
        did(f"rejected {first.id} as poison")
        return 1, None
    with watch.stage("prepare"):
        changesets = read_changesets(repo.archive, repo.queue, [(item.id, item.pack) for item in claimed])
        changesets = prepare(repo, changesets, attempt)
    with watch.stage("wait"):
        # Who may die while it has the ticket goes without: the others would wait for it.
        if not first.deaths or first.fault in poison.LATE:
            repo.append_lock.take(owner, patience=repo.settings.lock_ttl)
    for _ in range(MOST_RACES):
        with watch.stage("snapshot"):
            snapshot = snapshot_for(repo, changesets)
        attempt.tries([changeset.id for changeset in changesets])
        with watch.stage("link"):
            linker = linker_on(repo, snapshot, spending=spending)
            linked = linker.run(changesets)
        if not linked.decided:
            log.info("nothing_decided", claimed=len(claimed), deferred=len(linked.deferred))
            did(f"decided none of {len(claimed)}, given back {len(linked.deferred)}")
            return len(changesets) - len(linked.deferred), linked.too_long
        if any(record.get("reason") == "unknown-base" for record in linked.decided):
            try:
                of_one_view(repo, snapshot)  # that it was not found has to be true of the snapshot
            except Moved as error:
                raise ViewStale("the view has gone back") from error
        linking = {record["id"] for record in linked.decided} | {linked.too_long}
        attempt.tries([changeset.id for changeset in changesets if changeset.id in linking])
        with watch.stage("prove"):
            _prove(repo, linker, snapshot, linked)
        if _append(repo, snapshot, linked, watch):
            _say_decided(snapshot.head.applied + 1, linked, len(claimed), watch)
            return len(linked.decided), linked.too_long
        log.info("place_taken", seq=snapshot.head.applied + 1)
    raise TooManyRaces(f"lost the race for a place in the log {MOST_RACES} times")


def _say_decided(seq: int, linked: Linked, claimed: int, watch: Stopwatch) -> None:
    """Say what an entry decided, with the id of each changeset: so the request that brought it is found."""
    statuses = [decided["status"] for decided in linked.decided]
    first, *more = in_lines([decided["id"] for decided in linked.decided])
    counts = {status: statuses.count(status) for status in ("conflicted", "rejected")}
    deferred = claimed - len(statuses)
    log.info(
        "batch_committed",
        seq=seq,
        changesets=len(statuses),
        committed=linked.committed,
        **counts,
        deferred=deferred,
        ids=first,
        **watch.fields(),
    )
    for ids in more:
        log.info("batch_committed_too", seq=seq, ids=ids)
    shown = {"committed": linked.committed, **counts, "given back": deferred}
    did(", ".join([*(f"{name} {count}" for name, count in shown.items() if count), f"entry {seq}"]))


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
    head, everywhere = _oid(snapshot.head.root), [change.path for each in changesets for change in each.changes]
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
            roots += [_oid(outcome[name]) for name in ("seen", "saw") if name in outcome]
        for root in set(roots) - {head}:
            paths.setdefault(root, []).extend(change.path for change in changeset.changes)
    for root, touched in paths.items():
        repo.objects.prefetch_paths(root, touched)
    premerge(repo, snapshot, changesets)
    return changesets


def premerge(repo: Repository, snapshot: Snapshot, changesets: Sequence[Changeset]) -> None:
    """Merge the contents that both sides changed, in few runs of Git; linking finds them while the heads stand."""
    head = _oid(snapshot.head.root)
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
            seen, h = as_file(bases[base].get(change.path)), as_file(heads.get(change.path))
            b = seen_version(changeset, change, seen, h)
            if h == b:
                continue
            if change.place:
                places[change.oid] = Location(changeset.pack, change.place)
            three = contents_to_merge(b, h, change.version(b))
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
    return _oid(outcome["seen"]) if "seen" in outcome else None


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
        Budget(repo.merges, repo.settings.merge_budget),
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


def _prove(repo: Repository, linker: Linker, snapshot: Snapshot, linked: Linked) -> None:
    try:
        prove(linker.read, _oid(snapshot.head.root), linked.root, linked.net)
    except (RootMismatch, CorruptObject) as error:
        # Nobody may overlook this: it is a bug of ours, and the counter must stay 0.
        log.critical("root_mismatch", seq=snapshot.head.applied + 1, detail=str(error))
        # A Redis that refuses the count (it may be full) must not hide the error itself.
        with suppress(RedisError):
            repo.view.count_root_mismatch()
        raise


def _append(repo: Repository, snapshot: Snapshot, linked: Linked, watch: Stopwatch) -> bool:
    packs, places = [], {}
    if linked.objects:
        with watch.stage("pack"):
            writer = pack_of(linked.objects)
        with watch.stage("put"):
            pack, size = store_pack(repo.bucket, writer)
        packs, places = [[pack, size]], {pack: writer.places}
    entry = entry_after(
        snapshot.head,
        EntryKind.COMMITS,
        packs=packs,
        decided=linked.decided,
        tip=linked.tip.hex(),
        root=linked.root.hex(),
        time=linked.time if linked.committed else snapshot.head.tip_time,
        committed=snapshot.head.committed + linked.committed,
    )
    with watch.stage("append"):
        done = append(repo.view, repo.log, repo.bucket, snapshot, entry, places)
    if done:
        with watch.stage("share"):
            # What the next batches will read: the tip, and the trees below the root and below what stacks saw.
            seen = [_oid(d["seen"]) for d in linked.decided if "seen" in d and d.get("base")]
            repo.objects.keep([linked.tip, linked.root, *seen], linked.objects)
    return done


def _oid(text: str) -> ObjectId:
    return ObjectId(bytes.fromhex(text))
