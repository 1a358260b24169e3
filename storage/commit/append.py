"""Appending an entry: create it in the log, and only then let the view know."""

from __future__ import annotations

from storage.backends.bucket import Bucket
from storage.base.ids import ObjectId, PackId, new_ulid
from storage.git.packs import PackRange
from storage.log.entry import FORMAT, EntryKind, Json, digest, encode
from storage.log.log import Log
from storage.view.load import catch_up, locations
from storage.view.rows import NOTHING_FORGOTTEN, Forgotten
from storage.view.snapshot import Head, Snapshot
from storage.view.view import View


def entry_after(head: Head, kind: EntryKind, **body: object) -> Json:
    """Return an entry that follows `head`. Names its writer, so that no two writers' entries are the same bytes."""
    return {"format": FORMAT, "kind": kind, "seq": head.applied + 1, "previous": head.hash, "by": new_ulid(), **body}


def append(
    view: View,
    log: Log,
    bucket: Bucket,
    snapshot: Snapshot,
    entry: Json,
    places: dict[PackId, dict[ObjectId, PackRange]],
    forgotten: Forgotten = NOTHING_FORGOTTEN,
) -> bool:
    """Append an entry that was made on `snapshot` and apply it to the view; tell whether it is in the log.

    Where its place is taken, nothing is done but catching up: the caller begins again on a new snapshot. Raises
    BucketError where it is not known whether it was appended; and ViewStale or ViewAbsent where it was, but the view
    changed: catching up will find it.
    """
    data = encode(entry)
    if not log.append(entry["seq"], data):
        catch_up(view, log, bucket)
        return False
    view.apply(snapshot.epoch, entry, digest(data), locations(entry, places), forgotten=forgotten)
    return True
