"""The keys of one repository, and the ordered lists of its published view: each is read a page at a time.

Only this package, coordination and queue build keys; tests/test_layering.py checks that.
"""

from collections.abc import Sequence
from typing import TypeVar

import redis

from storage.backends.scripts import Scripts
from storage.base.errors import ViewAbsent
from storage.base.ids import ChangesetId, PackId, Seq
from storage.base.settings import Settings
from storage.git.paths import recorded_path
from storage.git.trees import holders
from storage.log.entry import SLOTS, GlobalCommit, decode_global_commit
from storage.view.rows import LISTED_TOGETHER, Batch, decode_batch, listed_after, listed_in, listed_key
from storage.view.snapshot import Head

T = TypeVar("T", bound=str)

# Global commits that may follow an entry before the one that merges it: each merges some of what is pending.
_MERGES = 1000

Positions = list[tuple[ChangesetId, int]]
"""Changesets with their positions in the log (`log_position`), in that order."""


class Lists:
    """What View reads page by page, without what is archived. Every method raises ViewAbsent and redis.RedisError."""

    def __init__(self, settings: Settings, client: redis.Redis) -> None:
        self.redis = client
        # The braces keep all keys of a repository in one slot of a Redis cluster.
        self.prefix = f"sluice:{{{settings.repository}}}:"
        self.scripts = Scripts(client, self.prefix)

    def epoch(self) -> str | None:
        """Return the published epoch, None where there is no view."""
        epoch = self.redis.get(self.prefix + "epoch")
        return epoch.decode() if epoch else None

    def key(self, name: str) -> str:
        """Return the full key of a row of the published epoch."""
        epoch = self.epoch()
        if epoch is None:
            raise ViewAbsent("the view is not loaded")
        return f"{self.prefix}v:{epoch}:{name}"

    def open_conflicts(
        self, after: int, limit: int, slice_id: str | None = None, path: bytes | None = None
    ) -> Positions:
        """Return conflicted changesets whose conflicts are open: all, a slice's, or those in conflict at a path."""
        name = "open" if slice_id is None else f"open:{slice_id}"
        return self._positions(name if path is None else f"open_on:{recorded_path(path)}", after, None, limit)

    def count_open_conflicts(self) -> int:
        """Return how many conflicts are open."""
        return int(self.redis.zcard(self.key("open")))

    def still_open(self, changesets: Sequence[ChangesetId]) -> list[ChangesetId]:
        """Return those whose conflicts are open."""
        return self._members("open", changesets)

    def decided(
        self, slice_id: str, status: str, after: int, through: int | None, limit: int, newest_first: bool = False
    ) -> Positions:
        """Return a slice's decided changesets of one status; all behind `after` where `through` is None."""
        return self._positions(f"decided:{slice_id}:{status}", after, through, limit, newest_first)

    def committed(self, after: int, through: int | None, limit: int, newest_first: bool = False) -> Positions:
        """Return committed changesets of all slices; all behind `after` where `through` is None."""
        return self._positions("chain", after, through, limit, newest_first)

    def listed(self, digest: bytes, after: int, before: int, limit: int, newest_first: bool = False) -> Positions:
        """Return changesets of a digest (storage/log/facts.py) between two positions in the log, at most `limit`."""
        name, rows = self.key(listed_key(digest)), Positions()
        # In a member's place what is looked for may begin in its middle.
        low, high = listed_after(digest, max(0, after + 1) // SLOTS), listed_after(digest, before // SLOTS + 1)
        while len(rows) < limit:
            bounds = (b"(" + high, b"[" + low) if newest_first else (b"[" + low, b"(" + high)
            members = self.redis.zrange(name, *bounds, bylex=True, desc=newest_first, offset=0, num=LISTED_TOGETHER)
            for member in members:
                some = [row for row in listed_in(member) if after < row[1] < before]
                rows += reversed(some) if newest_first else some
            if len(members) < LISTED_TOGETHER:
                break
            low, high = (low, members[-1]) if newest_first else (members[-1] + b"\0", high)
        return rows[:limit]

    def released(self, limit: int) -> list[ChangesetId]:
        """Return changesets that were held, have been released, and have no outcome yet; first released first."""
        return [changeset for changeset, _ in self._positions("released", -1, None, limit)]

    def released_by(self, changesets: Sequence[ChangesetId]) -> dict[ChangesetId, Seq]:
        """Return the entries that released held changesets, of those that were released and have no outcome yet."""
        scores = self.redis.zmscore(self.key("released"), changesets) if changesets else []
        return {each: Seq(int(score)) for each, score in zip(changesets, scores, strict=True) if score is not None}

    def landing_of(self, seq: Seq) -> GlobalCommit | None:
        """Return the global commit that merged the commits of an entry, None where the view has none."""
        for row, _ in self._by_score("merges", seq, "+inf", _MERGES):
            made = decode_global_commit(row)
            if made.through >= seq:
                return made if made.first <= seq else None
        return None

    def unmerged_batches(self, head: Head, limit: int) -> list[Batch]:
        """Return the commits of the oldest entries that no global commit has merged."""
        return [decode_batch(row) for row, _ in self._by_score("batches", f"({head.through}", head.applied, limit)]

    def only_merged(self, epoch: str, after: Seq, through: Seq) -> bool:
        """Tell whether all entries behind `after`, up to one that the view of `epoch` has, are global commits alone."""
        pipeline = self.redis.pipeline(transaction=True)
        for kind in ("merges", "batches"):
            pipeline.zcount(f"{self.prefix}v:{epoch}:{kind}", f"({after}", through)
        merges, batches = pipeline.execute()
        return bool(merges == through - after and not batches)

    def global_commits(self, after: Seq, before: int | None, limit: int) -> list[GlobalCommit]:
        """Return global commits of the entries between two, newest first; the newest of all where `before` is None."""
        high = "+inf" if before is None else f"({before}"
        return [
            decode_global_commit(row)
            for row, _ in self._by_score("merges", f"({after}", high, limit, newest_first=True)
        ]

    def merges_behind(self, seqs: Sequence[int]) -> list[GlobalCommit | None]:
        """Return for each entry the first global commit that it or a later one has made, None where there is none."""
        if not seqs:
            return []
        name, pipeline = self.key("merges"), self.redis.pipeline(transaction=False)
        for seq in seqs:
            pipeline.zrange(name, seq, "+inf", byscore=True, offset=0, num=1)
        return [decode_global_commit(rows[0]) if rows else None for rows in pipeline.execute()]

    def slice_ids(self, after: str, limit: int) -> list[str]:
        """Return the ids of slices behind `after`, in order."""
        return self._by_name("slice_order", after, limit)

    def token_ids(self, after: str, limit: int) -> list[str]:
        """Return the ids of tokens that are not revoked, behind `after`, in the order in which they were made."""
        return self._by_name("token_order", after, limit)

    def webhook_ids(self, after: str, limit: int) -> list[str]:
        """Return the ids of webhooks behind `after`, in the order in which they were made."""
        return self._by_name("webhook_order", after, limit)

    def tag_names(self, after: str, limit: int) -> list[str]:
        """Return the names of tags behind `after`, in the order of their bytes."""
        return self._by_name("tag_order", after, limit)

    def slices_covering(self, path: bytes, after: str, limit: int) -> list[str]:
        """Return the ids of slices that cover a path, behind `after`, in order."""
        # Each holder of the path has an ordered set of slices; the first of all of them, merged, are the page.
        covering = (self._by_name(f"covers:{recorded_path(held)}", after, limit) for held in holders(path))
        return sorted(set[str]().union(*covering))[:limit]

    def unnamed_packs(self, packs: Sequence[PackId]) -> list[PackId]:
        """Return those that neither entries nor compactions name, and none is about to delete."""
        named = {pack for name in ("packs", "archives", "retired") for pack in self._members(name, packs)}
        return [pack for pack in packs if pack not in named]

    def tombstoned_packs(self, packs: Sequence[PackId]) -> set[PackId]:
        """Return those that no entry may name any more, since garbage collection deletes them."""
        return set(self._members("condemned", packs))

    def superseded(self, before: int, limit: int) -> list[PackId]:
        """Return packs and tables that compactions replaced up to a time (seconds), the first of them first."""
        return [PackId(name.decode()) for name, _ in self._by_score("retired", "-inf", before, limit)]

    def undecided(self) -> dict[ChangesetId, PackId]:
        """Return the undecided changesets below the low watermark, with their packs."""
        rows = self.redis.hgetall(self.key("undecided"))
        return {ChangesetId(changeset.decode()): PackId(pack.decode()) for changeset, pack in rows.items()}

    def _positions(
        self, name: str, after: int, through: int | None, limit: int, newest_first: bool = False
    ) -> Positions:
        members = self._by_score(name, f"({after}", "+inf" if through is None else through, limit, newest_first)
        return [(ChangesetId(member.decode()), position) for member, position in members]

    def _by_score(
        self, name: str, low: str | int, high: str | int, limit: int, newest_first: bool = False
    ) -> list[tuple[bytes, int]]:
        """Return members of a sorted set with their scores; bounds as in ZRANGEBYSCORE."""
        first, last = (high, low) if newest_first else (low, high)
        members = self.redis.zrange(
            self.key(name), first, last, byscore=True, desc=newest_first, offset=0, num=limit, withscores=True
        )
        return [(member, int(score)) for member, score in members]

    def _by_name(self, name: str, after: str, limit: int) -> list[str]:
        """Return members of a sorted set whose scores are all 0, in order, behind `after`."""
        low = "(" + after if after else "-"
        members = self.redis.zrange(self.key(name), low, "+", bylex=True, offset=0, num=limit)
        return [member.decode() for member in members]

    def _members(self, name: str, candidates: Sequence[T]) -> list[T]:
        """Return those of the candidates that are in a sorted set."""
        scores = self.redis.zmscore(self.key(name), candidates) if candidates else []
        return [candidate for candidate, score in zip(candidates, scores, strict=True) if score is not None]
