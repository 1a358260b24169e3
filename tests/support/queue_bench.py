"""The queues of a repository that has a view and no bucket."""

from __future__ import annotations

import time

from storage.backends.bucket import Bucket
from storage.backends.redis_client import connect
from storage.base.ids import ChangesetId, ObjectId, PackId, Seq, SliceId, new_ulid
from storage.base.settings import Settings
from storage.git.objects import Ident
from storage.log.entry import NO_HASH, Commits, Genesis
from storage.log.log import Log
from storage.log.manifest import Changeset, Proposal
from storage.log.records import Decided
from storage.lookup.archive import Archive
from storage.queue.queue import Queue
from storage.view.view import View


class QueueBench:
    """A view with slices, and its queues."""

    def __init__(self, settings: Settings, slices: int = 3) -> None:
        self.settings = settings
        self.view = View(settings, connect(settings))
        self.archive = Archive(settings, Bucket(settings), Log(Bucket(settings)), self.view)
        self.queue = Queue(settings, self.view, self.archive)
        genesis = Genesis(seq=Seq(1), previous=NO_HASH, packs=(), commit="c" * 40, tree="e" * 40, time=1)
        self.view.apply("E", genesis, "h1", published=False)
        self.view.publish(None, "E")
        self.queue.mark_recovered("E", self.queue.run())
        self.slices = [f"S{i}" for i in range(slices)]
        self.seq = 1

    def put(self, where: str, *paths: str, base: str | None = None, count: int = 1) -> list[ChangesetId]:
        """Queue `count` changesets of the paths."""
        made = [self.made(where, *paths, base=base) for _ in range(count)]
        self.queue.enqueue([(changeset, b"{}") for changeset in made])
        return [changeset.id for changeset in made]

    def made(self, where: str, *paths: str, base: str | None = None) -> Changeset:
        """Return a changeset of the paths."""
        time.sleep(0.001)  # ULIDs of one process are ordered by their milliseconds
        changes = tuple(Proposal("put", p.encode(), 0o100644, oid=ObjectId(b"x" * 20)) for p in paths or ("f",))
        return Changeset(
            id=ChangesetId(new_ulid()),
            pack=PackId("inbox/P-1"),
            slice=SliceId(where),
            base_changeset=ChangesetId(base) if base else None,
            author=Ident("a", "b", 1),
            message="m",
            changes=changes,
        )

    def run_out(self) -> None:
        """Let every lock, claim, ticket and message have run out."""
        redis, prefix = self.view.redis, self.view.prefix
        for key in [*redis.scan_iter(prefix + "lock:*"), prefix + "ticket"]:
            redis.pexpire(key, 1)
        for leases in ("trying", "messages:commit", "messages:merge"):
            for owner in redis.zrange(prefix + leases, 0, -1):
                redis.zadd(prefix + leases, {owner: 0})
        time.sleep(0.01)

    def decide(self, changeset: str, where: str, status: str = "committed", **more: str) -> None:
        """Give a changeset an outcome."""
        self.seq += 1
        about = {"pack": "inbox/P-1", "commit": "c" * 40, **more}
        decided = Decided(id=changeset, slice=where, status=status, **about)
        entry = Commits(
            seq=self.seq, previous=f"h{self.seq - 1}", packs=(), decided=(decided,), tip="c" * 40, root="e" * 40,
            time=1, committed=self.seq - 1,
        )  # fmt: skip
        self.view.apply("E", entry, f"h{self.seq}")
