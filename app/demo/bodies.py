"""Building the bodies of bulk requests; contents are fetched from Git only as they are needed."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice

from app.client.api_client import Json, content
from app.client.byte_paths import dumps
from app.demo.plan import PlannedChangeset
from app.judge import FileChange, History, HistoryError

REQUEST_BYTES = 8 << 20
"""A request takes no further changeset that would take it above this size."""

# The limits of the API's defaults: a changeset beyond them could never be taken.
_MAX_CHANGES = 10_000
_MAX_BYTES = 48 << 20
# Blobs asked for at once: enough to hide the pipe's latency, few enough to hold.
_BLOBS = 64


def changeset_items(
    history: History, changesets: Iterable[PlannedChangeset], slice_id: str, base: str
) -> Iterator[bytes]:
    """Yield changesets of one slice as items of one bulk request, the first on `base`, each other on the one before.

    Raises HistoryError for one that is larger than a changeset can be.
    """
    planned = list(changesets)
    for changeset in planned:
        if len(changeset.changes) > _MAX_CHANGES:
            raise _too_large(
                changeset, f"{len(changeset.changes)} files of one slice; a changeset may have {_MAX_CHANGES}"
            )
    parts = change_parts(history, (change for changeset in planned for change in changeset.changes))
    for position, changeset in enumerate(planned):
        changes, size = [], 0
        for part in islice(parts, len(changeset.changes)):
            changes.append(part)
            size += len(part)
            if size > _MAX_BYTES:
                raise _too_large(
                    changeset, f"more than {_MAX_BYTES >> 20} MiB in one slice, which no request can carry"
                )
        yield item(changeset, slice_id, position - 1 if position else base, changes)


def item(changeset: PlannedChangeset, slice_id: str, base: str | int, changes: list[bytes]) -> bytes:
    """Return a changeset as an item of a bulk request, its changes given as JSON."""
    commit = changeset.commit
    head = {
        "slice": slice_id,
        "base": base,
        "author": {"name": commit.author, "email": commit.email},
        "time": commit.time,
        "message": commit.message,
    }
    return json.dumps(head)[:-1].encode() + b', "changes": [' + b",".join(changes) + b"]}"


def change_parts(history: History, changes: Iterable[FileChange]) -> Iterator[bytes]:
    """Yield changes as JSON, in order."""
    changes = iter(changes)
    while chunk := list(islice(changes, _BLOBS)):
        blobs = iter(history.contents([change.oid for change in chunk if change.needs_content]))
        for change in chunk:
            yield dumps(_change(change, blobs)).encode()


def body(items: list[bytes]) -> bytes:
    """Return the body of a bulk request."""
    return b'{"changesets":[' + b",".join(items) + b"]}"


def _change(change: FileChange, blobs: Iterator[bytes]) -> Json:
    if change.deletes:
        return {"op": "delete", "path": change.path}
    if change.only_mode:
        return {"op": "mode", "path": change.path, "mode": change.mode}
    put = {"op": "put", "path": change.path, "mode": change.mode}
    return put | (content(next(blobs)) if change.needs_content else {"id": change.oid})


def _too_large(changeset: PlannedChangeset, why: str) -> HistoryError:
    return HistoryError(f"commit {changeset.commit.oid} changes {why}")
