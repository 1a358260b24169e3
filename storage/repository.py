"""Everything that a process needs of one repository, opened from the settings."""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from storage.access.rights import WITHOUT_POLICY, Compiled
from storage.backends.bucket import Bucket, probe
from storage.backends.redis_client import connect
from storage.backends.redis_memory import Memory
from storage.base.errors import Refused, ViewLoading, ViewStale
from storage.base.ids import ChangesetId
from storage.base.settings import Settings
from storage.claims import AdvisoryClaims
from storage.coordination import Heartbeat, LeaseName, Nodes
from storage.git.merge_tree import check_git
from storage.git.objects import Ident
from storage.log.log import Log
from storage.log.records import Outcome
from storage.log.store_pack import create_genesis
from storage.lookup.archive import Archive
from storage.lookup.content_merges import ContentMerges
from storage.lookup.object_kinds import Kinds
from storage.lookup.object_store import ObjectMissing, ObjectStore
from storage.queue import AppendLock, Deliveries, Inbox, MirrorWork, Pace, Queue
from storage.view.access import read_policy
from storage.view.load import load
from storage.view.snapshot import Snapshot
from storage.view.view import View

# Between looks whether whoever loads the view is done.
_LOADING_PAUSE = 0.1
_POLICY_TRIES = 5

T = TypeVar("T")


class RedisUnsafe(Refused):
    """Redis may evict keys, which would silently lose parts of the view and messages."""


class Repository:
    """The bucket, the log, the view, the queues, the inbox and the objects of one repository. Opening does no I/O."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.redis = connect(settings)
        self.memory = Memory(settings, self.redis)
        self.bucket = Bucket(settings)
        self.log = Log(self.bucket)
        self.view = View(settings, self.redis)
        self.archive = Archive(settings, self.bucket, self.log, self.view)
        self.queue = Queue(settings, self.view, self.archive)
        self.inbox = Inbox(settings, self.archive, self.view, self.queue)
        self.heartbeat = Heartbeat(settings)
        self.append_lock = AppendLock(settings, self.view, self.heartbeat)
        self.link_lock = AppendLock(settings, self.view, self.heartbeat, LeaseName.LINK)
        self.pace = Pace(settings.commit_changesets, settings.max_commit_changesets, settings.commit_share)
        self.nodes = Nodes(self.view)
        self.advisory_claims = AdvisoryClaims(settings, self.view)
        self.deliveries = Deliveries(self.view)
        self.mirrors = MirrorWork(self.view)
        self.objects = ObjectStore(settings, self.bucket, self.view, self.archive)
        self.kinds = Kinds(settings, self.objects)
        self.merges = ContentMerges(settings)
        self._policy = WITHOUT_POLICY

    def snapshot(
        self, changesets: Iterable[str] = (), slices: Iterable[str] = (), keys: Iterable[str] = ()
    ) -> Snapshot:
        """Return one instant of the view; outcomes that have left it come from the archive, where they never change.

        Raises ViewAbsent, ViewStale where the view went back meanwhile, and BucketError.
        """
        wanted = [ChangesetId(id_) for id_ in dict.fromkeys(changesets)]
        for _ in range(_POLICY_TRIES):
            snapshot = self.view.snapshot(wanted, slices, keys)
            if policy := self._policy_of(snapshot.head.policy):
                break
        else:
            raise ViewStale("the policy is replaced again and again")
        snapshot = replace(snapshot, policy=policy)
        passed = [changeset for changeset in wanted if snapshot.has_passed(changeset)]
        if not passed:
            return snapshot
        outcomes, closed = self.archive.decisions(passed, snapshot.head.compacted)
        return replace(snapshot, outcomes={**snapshot.outcomes, **outcomes}, closed={**closed, **snapshot.closed})

    def _policy_of(self, version: int) -> Compiled | None:
        """Return the policy with a version, None where it was replaced since that was seen."""
        known = self._policy
        if version != known.policy.version:
            known = self._policy = Compiled(read_policy(self.view))
        return known if version == known.policy.version else None

    def outcome(self, changeset: ChangesetId) -> Outcome | None:
        """Return a changeset's outcome, None while it has none. Raises Unavailable."""
        return self.snapshot([changeset]).outcomes.get(changeset)

    def confirmed(self, read: Callable[[], T]) -> T:
        """Return what `read` returns. A "not found" (None, ObjectMissing) is confirmed by reading again.

        The second time it is read under Queue.consistent_read. Raises what `read` raises, and Recovering.
        """
        try:
            value = read()
        except ObjectMissing:
            value = None
        if value is not None:
            return value
        with self.queue.consistent_read():
            return read()

    def committer(self) -> Ident:
        """Return the committer of a commit made now."""
        return Ident(self.settings.committer_name, self.settings.committer_email, int(time.time()))

    def check(self) -> None:
        """Check what all guarantees require, once before a process serves. Raises Refused and Unavailable."""
        policy = self.redis.config_get("maxmemory-policy").get("maxmemory-policy", "noeviction")
        if policy != "noeviction":
            raise RedisUnsafe(f"Redis has maxmemory-policy {policy}; Sluice needs noeviction")
        check_git()
        self.bucket.ensure()
        probe([Bucket(self.settings, endpoint) for endpoint in self.settings.endpoints])

    def prepare(self, timeout: float = 0.0) -> None:
        """Create bucket, log and view if they are missing. Any process may call it, at any time; one loads the view.

        The others wait for it, `timeout` seconds at most. Raises Unavailable and CorruptEntry.
        """
        until = time.monotonic() + timeout
        self.bucket.ensure()
        create_genesis(self.log, self.bucket, self.committer())
        while self.view.epoch() is None:
            try:
                load(self.view, self.log, self.bucket, before=None)
            except (ViewLoading, ViewStale):
                if time.monotonic() > until and self.view.epoch() is None:
                    raise
                time.sleep(_LOADING_PAUSE)
