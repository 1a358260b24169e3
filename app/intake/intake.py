"""The intake: makes submissions durable (invariant 1), many in one pack, and only then queues and announces them.

This is group commit without a timer: requests that arrive while packs are being stored wait, and form the next pack.
So an idle API stores a request at once, and a busy one makes packs larger instead of more numerous.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

import structlog

from app.intake.requeue import MAX_PACKS, Requeue
from app.protocol.submissions import ChangesetBase, CommitBase, ItemBase, Submission
from storage.backends import deadline
from storage.backends.redis_client import UNAVAILABLE
from storage.backends.turns import LARGE, breathe, in_thread, in_thread_if_large
from storage.base.errors import Unavailable
from storage.base.ids import ChangesetId, ObjectId, PackId, SliceId, consecutive, inbox_pack, made_at, new_ulid
from storage.git.objects import Ident, Kind, object_id
from storage.git.packs import PackRange, PackWriter, encode
from storage.log import manifest
from storage.log.manifest import Changeset, Proposal
from storage.repository import Repository
from tasks.notify import ask_for_commit, best_effort
from tasks.report import because

log = structlog.get_logger()

_LEVEL = 1


class NotQueued(Unavailable):
    """Earlier accepted changesets cannot be queued."""


class TookTooLong(Unavailable):
    """Storing took so long that recovery may have missed the pack: it is not known whether it was accepted."""


@dataclass(frozen=True, slots=True)
class Item:
    """A valid submission on its way in: its slice's id, its blobs as packs store them, its key's fingerprint."""

    submission: Submission
    slice: SliceId
    author: Ident
    oids: tuple[ObjectId | None, ...]  # of each change
    blobs: dict[ObjectId, tuple[bytes, int]]  # stored bytes and size
    fingerprint: str = ""

    @classmethod
    def of(cls, submission: Submission, slice_id: SliceId, author: Ident, fingerprint: str = "") -> Item:
        """Return a submission with the blobs of its contents; one put by id has none, since the log has it for good."""
        oids: list[ObjectId | None] = []
        blobs: dict[ObjectId, tuple[bytes, int]] = {}
        for change in submission.changes:
            breathe()
            oid = ObjectId(change.oid) if change.oid else None
            if change.content is not None:
                oid, stored = blob(change.content)
                blobs[oid] = stored
            oids.append(oid)
        return cls(submission, slice_id, author, tuple(oids), blobs, fingerprint)

    @property
    def size(self) -> int:
        """Bytes of its blobs in a pack."""
        return sum(len(stored) for stored, _ in self.blobs.values())


@dataclass(frozen=True, slots=True)
class Accepted:
    """A durable changeset, and its place in the queue where that is known."""

    changeset: Changeset
    position: int | None


@dataclass(slots=True)
class _Request:
    items: Sequence[Item]
    done: Future[list[Accepted]] = field(default_factory=Future)


def blob(content: bytes) -> tuple[ObjectId, tuple[bytes, int]]:
    """Return a content's id, and the blob as packs store it; others run while a large one is compressed."""
    return in_thread_if_large(_blob, content)


def _blob(content: bytes) -> tuple[ObjectId, tuple[bytes, int]]:
    return object_id(Kind.BLOB, content), (encode(Kind.BLOB, content, _LEVEL), len(content))


class Intake:
    """One for each API process; its threads store packs, `settings.pack_puts` at once."""

    def __init__(self, repo: Repository) -> None:
        self._repo = repo
        self._requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        self._left: _Request | None = None
        self._lock = threading.Lock()
        self._requeue = Requeue(repo)
        self._news = threading.Event()
        threading.Thread(target=self._announce, name="announce", daemon=True).start()
        for i in range(repo.settings.pack_puts):
            threading.Thread(target=self._run, name=f"intake-{i}", daemon=True).start()

    @property
    def behind(self) -> int:
        """How many packs are stored and could not be queued yet."""
        return len(self._requeue)

    def accept(self, items: Sequence[Item]) -> list[Accepted]:
        """Make `items` durable, in one pack and in order, queue them, and return the accepted changesets.

        Raises NotQueued if too many earlier ones could not be queued, and Unavailable if the result is not known.
        """
        if self.behind >= MAX_PACKS:
            raise NotQueued("what was accepted before cannot be queued")
        request = _Request(items)
        self._requests.put(request)
        try:
            return request.done.result(deadline.left(threading.TIMEOUT_MAX))
        except TimeoutError:
            # Not begun yet, it never will be: nobody waits for it, and those behind it should not either.
            request.done.cancel()
            raise TookTooLong("storing took longer than request_budget") from None

    def _run(self) -> None:
        while True:
            requests = self._next()
            try:
                self._store(requests)
            except BaseException as error:
                for request in requests:
                    if not request.done.done():
                        request.done.set_exception(error)
                if not isinstance(error, Exception):
                    raise

    def _next(self) -> list[_Request]:
        """Wait for a request, and take all that wait then, as many as fit into one pack."""
        settings = self._repo.settings
        with self._lock:
            taken = [self._left or self._first()]
            self._left = None
            count = len(taken[0].items)
            size = sum(item.size for item in taken[0].items)
            while count < settings.pack_changesets and size < settings.pack_bytes:
                try:
                    request = self._requests.get_nowait()
                except queue.Empty:
                    break
                if not request.done.set_running_or_notify_cancel():
                    continue
                count += len(request.items)
                size += sum(item.size for item in request.items)
                if count > settings.pack_changesets:
                    self._left = request
                    break
                taken.append(request)
            return taken

    def _first(self) -> _Request:
        while True:
            request = self._requests.get()
            if request.done.set_running_or_notify_cancel():
                return request

    def _store(self, requests: list[_Request]) -> None:
        pack, data, groups = build([request.items for request in requests])
        bucket = self._repo.bucket
        with deadline.budget("request_budget", self._repo.settings.request_budget):
            # Not stored, where that is known before: as long as it would be ahead of the mark, nothing behind it
            # could be compacted.
            if self._too_far(pack, bucket.estimated_now()):
                self._check_time(pack, bucket.now())
            stored_at = bucket.put_verified(pack + ".pack", data)
        # By the store's clock, which the mark goes by: a slow PUT and a wrong clock of this machine are the same.
        self._check_time(pack, stored_at)
        positions = self._enqueue(pack, [pair for group in groups for pair in group])
        at = 0
        for request, group in zip(requests, groups, strict=True):
            accepted = [Accepted(c, positions[at + i] if positions else None) for i, (c, _) in enumerate(group)]
            at += len(group)
            request.done.set_result(accepted)
        self._news.set()

    def _too_far(self, pack: PackId, now: float) -> bool:
        return abs(now - made_at(pack)) > self._repo.settings.late_put

    def _check_time(self, pack: PackId, now: float) -> None:
        if self._too_far(pack, now):
            apart = now - made_at(pack)
            log.error("clock_skew", pack=pack, seconds=round(apart))
            raise TookTooLong(f"the store's clock is {apart:.0f} seconds from the time in {pack} (late_put)")

    def _announce(self) -> None:
        # A thread of its own: a broker that does not answer must not keep packs from being stored.
        while True:
            self._news.wait()
            self._news.clear()
            try:
                with best_effort(), because("a submission"):
                    ask_for_commit(self._repo)
            except Exception as error:  # upkeep announces what this could not
                log.exception("notify_failed", reason=str(error))

    def _enqueue(self, pack: PackId, changesets: list[tuple[Changeset, bytes]]) -> list[int]:
        try:
            # A waiting writer may be answered without a position in the queue, and should be while it still waits.
            with deadline.budget("request_budget", self._repo.settings.request_budget / 4):
                return self._repo.queue.enqueue(changesets)
        except UNAVAILABLE as error:
            # They are durable, so the answer is 202 all the same; if this process dies, upkeep finds them in the inbox.
            log.warning("not_enqueued", pack=pack, changesets=len(changesets), reason=str(error))
            self._requeue.add(pack)
            return []


def build(groups: Sequence[Sequence[Item]]) -> tuple[PackId, bytes, list[list[tuple[Changeset, bytes]]]]:
    """Build the submission pack of several requests; return its name, its bytes, and each request's changesets.

    Each changeset comes with its part of the manifest, which is the pack's last object.
    """
    writer = PackWriter()
    for group in groups:
        for item in group:
            for oid, (stored, size) in item.blobs.items():
                breathe()
                writer.add_encoded(oid, stored, size)
    count = sum(map(len, groups))
    first = new_ulid()
    pack, ids = inbox_pack(first, count), consecutive(first, count)
    made, at = [], 0
    for group in groups:
        own = ids[at : at + len(group)]
        coded = []
        for i, item in enumerate(group):
            breathe()
            changeset = _changeset(item, own[i], pack, own, writer.places)
            coded.append((changeset, manifest.encode(changeset)))
        made.append(coded)
        at += len(group)
    manifests = manifest.join([part for group in made for _, part in group])
    call = partial(_finished, writer, manifests)
    return pack, in_thread(call) if writer.size + len(manifests) > LARGE else call(), made


def _finished(writer: PackWriter, manifests: bytes) -> bytes:
    writer.add(Kind.BLOB, manifests, level=_LEVEL)
    return writer.finish()


def _changeset(
    item: Item, changeset_id: ChangesetId, pack: PackId, own: list[ChangesetId], places: dict[ObjectId, PackRange]
) -> Changeset:
    submission = item.submission
    base = submission.base
    base_changeset = own[base.position] if isinstance(base, ItemBase) else None
    if isinstance(base, ChangesetBase):
        base_changeset = ChangesetId(base.id)
    return Changeset(
        id=changeset_id,
        pack=pack,
        slice=item.slice,
        base_commit=ObjectId(base.oid) if isinstance(base, CommitBase) else None,
        base_changeset=base_changeset,
        author=item.author,
        message=submission.message,
        changes=tuple(
            [
                Proposal(
                    change.op,
                    change.path,
                    change.mode,
                    oid,
                    places[oid] if oid in item.blobs else None,
                    ObjectId(change.base) if change.base else None,
                    change.strategy,
                    change.base_mode,
                )
                for change, oid in zip(submission.changes, item.oids, strict=True)
            ]
        ),
        key=submission.key,
        fingerprint=item.fingerprint,
        hold=submission.hold,
        resolves=ChangesetId(submission.resolves) if submission.resolves else None,
    )
