"""Entries that no batch makes: what the API itself appends before it answers, for slices and for changesets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from storage.base.errors import Unavailable, ViewStale
from storage.base.ids import new_ulid
from storage.commit.append import append, entry_after
from storage.log.entry import EntryKind, Json
from storage.repository import Repository
from storage.view.rows import NOTHING_FORGOTTEN, Forgotten
from storage.view.snapshot import Snapshot

MAX_ATTEMPTS = 50

Say = Callable[[Snapshot], tuple[EntryKind, Json] | None]
"""Returns what an entry on a snapshot should say, None where nothing is left to say. Raises Moved to be asked again."""


class LogBusy(Unavailable):
    """The log's next place was lost to other writers too often. Try again."""


class Moved(ViewStale):
    """What was asked beside the snapshot is of another moment."""


def of_one_view(repo: Repository, snapshot: Snapshot) -> None:
    """Ask, behind look-ups beside a snapshot, whether they were made on a view that knew as much.

    Where it has more entries meanwhile, the entry's place is taken; another epoch, or a Redis that came back older, may
    know less, and that would go unnoticed: also where it has caught up by now. Raises Moved and ViewAbsent.
    """
    now = repo.view.snapshot()
    same = (now.epoch, now.run) == (snapshot.epoch, snapshot.run)
    if not same or now.head.applied < snapshot.head.applied:
        raise Moved


def append_directly(
    repo: Repository,
    say: Say,
    changesets: Sequence[str] = (),
    slices: Sequence[str] = (),
    forgotten: Forgotten = NOTHING_FORGOTTEN,
) -> bool:
    """Append what `say` says on a snapshot with these changesets and slices, until it is in the log.

    Returns whether anything was left to say. Raises what `say` raises, LogBusy, ViewAbsent, ViewStale and BucketError.
    """
    owner = new_ulid()
    for _ in range(MAX_ATTEMPTS):
        repo.append_lock.take(owner, timeout=repo.settings.lock_ttl)
        try:
            snapshot = repo.snapshot(changesets, slices)
            said = say(snapshot)
            if said is None:
                return False
            kind, body = said
            entry = entry_after(snapshot.head, kind, **body)
            if append(repo.view, repo.log, repo.bucket, snapshot, entry, {}, forgotten):
                return True
        except Moved:
            continue
        finally:
            repo.append_lock.release(owner)
    raise LogBusy(f"the race for a place in the log was lost {MAX_ATTEMPTS} times")
