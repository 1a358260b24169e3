"""The judge is judged: with each of these bugs, switched on here alone, the checker finds what came of it.

They are the bugs that the design is there to keep out. Without one, the same writers and the same faults leave nothing
to find.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest

from app.access.authentication import Access
from app.access.caller import EVERYBODY, Caller
from app.intake.intake import Accepted, Intake
from app.intake.packing import build
from storage.access.policy import Right
from storage.backends import scripts
from storage.backends.bucket import Bucket, Created
from storage.base.ids import ObjectId, PackId, changesets_of
from storage.base.settings import Settings
from storage.commit import append_loop, global_merge
from storage.commit.append_loop import Draft
from storage.commit.base_resolver import BaseResolver
from storage.commit.global_merge import MergeResult
from storage.commit.link import Linker
from storage.log.entry import Commits
from storage.log.manifest import Changeset
from storage.lookup.archive import PACK_FILES
from storage.maintenance import compaction, garbage
from storage.queue.recovery import Inbox, Watermark
from storage.repository import Repository
from storage.view.snapshot import Snapshot
from storage.view.view import View
from tasks import notify
from tests.harness.checker import Violation, check
from tests.harness.evidence import gather
from tests.harness.rounds import Load
from tests.harness.small import EVERY, Small
from tests.harness.writers import message_of

_FOUND_WITHIN = 300.0
# Seconds of writing before the judge is asked, and of waiting for what a bug may have made endless.
_WRITING, _SETTLING = 5.0, 8.0

Bug = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture
def s3_kind() -> str:
    """What finds a bug does not depend on the S3 server."""
    return "seaweedfs"


@pytest.fixture(autouse=True)
def no_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "send", lambda app, task, token=None: None)


def appends_where_the_log_ends_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry is made on one snapshot, and appended behind what is newest by then."""
    append = append_loop.append

    def append_anywhere(repo: Repository, snapshot: Snapshot, draft: Draft[Any]) -> bool:
        if isinstance(draft.entry, Commits):
            newest = repo.view.head()
            head = replace(snapshot.head, applied=newest.applied, hash=newest.hash)
            snapshot = replace(snapshot, head=head)
        return append(repo, snapshot, draft)

    monkeypatch.setattr(append_loop, "append", append_anywhere)


def applies_without_a_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """`apply` takes any entry in any order, on any epoch."""
    source = scripts._source

    def unguarded(name: str) -> str:
        text = source(name)
        if name != "apply":
            return text
        kept = [line for line in text.splitlines() if "applied >= seq" not in line and "applied ~= seq - 1" not in line]
        return "\n".join(kept).replace("applied > 0 and hash ~= previous", "false")

    monkeypatch.setattr(scripts, "_source", unguarded)


def overwrites_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log takes an entry though its place is taken; not before writers begin, who would wait for the first ones."""
    create, begin, begun = Bucket.create, Load.begin, threading.Event()

    def begin_first(load: Load) -> None:
        begun.clear()
        begin(load)
        begun.set()

    def put(bucket: Bucket, name: str, data: bytes) -> Created:
        if not begun.is_set() or not name.startswith("log/"):
            return create(bucket, name, data)
        bucket.s3.minio.put_object(bucket.s3.bucket, bucket._prefix + name, BytesIO(data), len(data))
        return Created(True, bucket.now())

    monkeypatch.setattr(Load, "begin", begin_first)
    monkeypatch.setattr(Bucket, "create", put)


def answers_before_it_is_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is 202 before the PUT; and one process in some dies in between."""
    store, rng = Intake._store, random.Random(1)

    def answers_first(intake: Intake, requests: Any) -> None:
        # Not before the files are there that writers begin with.
        begun = all(each.submission.message != message_of("setup") for request in requests for each in request.items)
        if not begun or rng.random() < 0.9:
            store(intake, requests)
            return
        _, _, groups = build([request.items for request in requests])
        for request, group in zip(requests, groups, strict=True):
            request.done.set_result([Accepted(changeset, None) for changeset, _ in group])

    monkeypatch.setattr(Intake, "_store", answers_first)


def rebases_merges(monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge that finds another before it is put behind that instead of being thrown away."""

    def merge(repo: Repository) -> MergeResult:
        batches = global_merge._next_batches(repo, repo.view.snapshot().head)
        for _ in range(append_loop.MAX_ATTEMPTS if batches else 0):
            snapshot = repo.view.snapshot()
            draft = global_merge._draft(repo, snapshot.head, batches)
            if append_loop.append(repo, snapshot, draft):
                return draft.result[0]
        return MergeResult()

    monkeypatch.setattr("tests.harness.small.merge_batch", merge)


def takes_the_mark_from_the_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark goes up to the oldest changeset that the queues remember."""

    def advance_watermark(inbox: Inbox) -> Watermark:
        redis, prefix = inbox._view.redis, inbox._view.prefix
        waiting = [
            each.decode()
            for slice_id in redis.hkeys(inbox._view.key("slices"))
            for each in redis.zrange(f"{prefix}queue:{slice_id.decode()}", 0, 0)
        ]
        names = inbox._bucket.list_keys("inbox/", inbox._behind_mark())
        ids = [each for name in names for each in changesets_of(PackId(name.removesuffix(".pack")))]
        passed = [each for each in ids if not waiting or each < min(waiting)]
        return Watermark(max(passed, default=inbox._view.head().mark), packs=1_000_000)

    monkeypatch.setattr(Inbox, "advance_watermark", advance_watermark)


def forgets_bases(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that a changeset is based on is not found now and then."""
    tree_of, rng = BaseResolver.tree_of, random.Random(1)

    def forgets(bases: BaseResolver, changeset: Changeset) -> ObjectId | None:
        # Not of the files that are there before anybody writes.
        begun = changeset.base_commit is not None and changeset.message != message_of("setup")
        return None if begun and rng.random() < 0.2 else tree_of(bases, changeset)

    monkeypatch.setattr(BaseResolver, "tree_of", forgets)


def deletes_what_was_not_condemned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Garbage is deleted without an entry that says so first."""

    def delete(repo: Repository, packs: Any, found: Any) -> None:
        repo.bucket.delete(*(pack + suffix for pack in packs for suffix in PACK_FILES))

    monkeypatch.setattr(garbage, "_condemn_and_delete", delete)
    # A pack is named some milliseconds after it was stored: collections come often, so that one comes in between.
    monkeypatch.setattr("tests.harness.small.EVERY", EVERY / 4)


def names_what_was_condemned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compaction does not ask whether its packs were taken for garbage before it names them."""
    append, tombstoned_packs = compaction._append, View.tombstoned_packs
    here = threading.local()

    def unasked(*args: Any) -> bool:
        here.compacting = True
        # It stands still for a moment, as a process may: long enough for a collection to come by.
        threading.Event().wait(3 * EVERY)
        try:
            return append(*args)
        finally:
            here.compacting = False

    def none_is(view: View, packs: Any) -> Any:
        return set() if getattr(here, "compacting", False) else tombstoned_packs(view, packs)

    monkeypatch.setattr(compaction, "_append", unasked)
    monkeypatch.setattr(View, "tombstoned_packs", none_is)


def keeps_tokens_that_were_revoked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that was seen once is never looked up again."""
    of_hash, known = Access._of_hash, dict[str, Caller]()

    def remembers(access: Access, token_hash: str) -> Caller | None:
        caller = of_hash(access, token_hash)
        if caller is not None:
            known[token_hash] = caller
        return known.get(token_hash)

    monkeypatch.setattr(Access, "_of_hash", remembers)


def decides_whatever_rights_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch does not ask whether a submitter may still write."""
    monkeypatch.setattr(Linker, "_not_allowed", lambda *asked: None)


def admits_whatever_rights_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may read a slice may submit to it."""
    require = Caller.require

    def asks_for_no_writer(who: Caller, right: Right, *args: Any, **options: Any) -> None:
        if right is not Right.WRITE:
            require(who, right, *args, **options)

    monkeypatch.setattr(Caller, "require", asks_for_no_writer)


def shows_what_may_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice is there for everybody."""
    monkeypatch.setattr("app.routes.slices.caller", lambda: EVERYBODY)


BUGS: dict[Bug, set[str]] = {
    keeps_tokens_that_were_revoked: {"revoked-is-over"},
    decides_whatever_rights_are_left: {"committed-by-right"},
    admits_whatever_rights_there_are: {"done-by-right"},
    shows_what_may_not_be_read: {"told-by-right", "done-by-right"},
    appends_where_the_log_ends_now: {"commits-do-what-was-submitted", "landed-is-in-the-history-once"},
    applies_without_a_guard: {"landed-is-in-the-history-once", "one-final-outcome", "verify-finds-no-difference"},
    overwrites_entries: {"landed-is-in-the-history-once", "answers-stay-true", "what-was-seen-is-still-there"},
    answers_before_it_is_durable: {"one-final-outcome"},
    rebases_merges: {"global-commits-go-forward"},
    takes_the_mark_from_the_queues: {"one-final-outcome"},
    forgets_bases: {"no-base-is-forgotten"},
    deletes_what_was_not_condemned: {"git-finds-no-fault"},
    names_what_was_condemned: {"git-finds-no-fault", "verify-finds-no-difference"},
}
"""Each with rules that it must break, one of them at least."""


def judge(
    settings: Settings, seed: str, rebuilt: bool = False, settling: float = _SETTLING, guests: int = 3
) -> list[Violation]:
    """Return what is found after some seconds of writing, with Redis flushed and rolled back meanwhile.

    `settling`: seconds after which all that can end has ended; no longer where all has.
    `rebuilt`: the view is loaded anew at the end. One that went back between its two calls for an entry, where objects
    are and what became of changesets, has holes that nothing else fills.
    """
    with ExitStack() as around:
        small = around.enter_context(Small(settings))
        load = Load(small.wire, seed, writers=4, guests=guests)
        load.begin()
        until = time.monotonic() + _WRITING
        rng, pause = random.Random(seed), threading.Event()
        while time.monotonic() < until:
            if rng.random() < 0.3:
                pause.wait(rng.uniform(0.3, 0.8))
                small.flush()
            else:
                with small.rolled_back():
                    pause.wait(rng.uniform(0.1, 0.6))
            pause.wait(rng.uniform(0.1, 0.6))
        if rebuilt:
            small.flush()
        load.settle(settling)
        # What is retired is deleted at once here: nobody could read it to the end beside that.
        small.rest()
        evidence = gather(small.wire, load.history, small.settings, small.differences(), 2.0)
        return check(load.history, evidence)


def test_without_a_bug_nothing_is_found(settings: Settings) -> None:
    found = judge(settings, "none", rebuilt=True, settling=90.0)
    assert not found, "\n".join(map(str, found))


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__.replace("_", "-"))
def test_a_bug_is_found_by_what_it_does(settings: Settings, bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    until = time.monotonic() + _FOUND_WITHIN
    found: list[Violation] = []
    for number in itertools.count():
        # In a repository of its own: its writers begin with the same keys.
        fresh = replace(settings, repository=f"{settings.repository}-{number}")
        found = judge(fresh, f"{bug.__name__}/{number}")
        if BUGS[bug] & {violation.rule for violation in found} or time.monotonic() > until:
            break
    assert BUGS[bug] & {violation.rule for violation in found}, "\n".join(map(str, found))
