"""What an entry's records say: the JSON of outcomes, changes and conflicts. Pure."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from storage.base.ids import ChangesetId, ObjectId
from storage.commit.decide import MAX_CONFLICTS, Conflict, Rejection
from storage.git.objects import UNKNOWN_MODE, Version
from storage.log.entry import Json, Status
from storage.log.manifest import Proposal
from storage.view.snapshot import Head

MAX_CONFLICT_BYTES = 64 << 10
"""The paths of the conflicts that an outcome names have so many bytes at most; the first is always named."""

EXPIRED = "expired"
"""What is recorded as having closed a conflict that nobody closed while too many were open."""


def rejected(rejection: Rejection) -> Json:
    """Return the outcome of a changeset that can never be committed."""
    first = {"first": rejection.first} if rejection.first else {}
    return {"status": Status.REJECTED, "reason": rejection.reason, "detail": rejection.detail, **first}


def conflicts_json(conflicts: list[Conflict]) -> Json:
    """Return what an outcome says of conflicts: the first of them, and how many there are."""
    shown = [
        {
            "path": conflict.path.decode(),
            "class": conflict.kind,
            "base": version_json(conflict.base),
            "head": version_json(conflict.head),
            "submitted": version_json(conflict.submitted),
            **({"blocker": conflict.blocker.decode()} if conflict.blocker else {}),
        }
        for conflict in _recorded(conflicts)
    ]
    return {"conflicts": shown, "conflict_count": len(conflicts)}


def _recorded(conflicts: list[Conflict]) -> list[Conflict]:
    first = conflicts[:MAX_CONFLICTS]
    sizes = accumulate(len(each.path) + len(each.blocker or b"") for each in first)
    return first[: max(1, sum(size <= MAX_CONFLICT_BYTES for size in sizes))]


def version_json(version: Version | None) -> Json | None:
    """Return what a record says of a version; a mode that nobody knows is null."""
    if version is None:
        return None
    mode = None if version.mode == UNKNOWN_MODE else f"{version.mode:06o}"
    return {"mode": mode, "id": version.oid.hex()}


def version_of(recorded: Json | None) -> Version | None:
    """Read what `version_json` returned."""
    if recorded is None:
        return None
    mode = UNKNOWN_MODE if recorded["mode"] is None else int(recorded["mode"], 8)
    return Version(mode, ObjectId(bytes.fromhex(recorded["id"])))


def decisions_body(head: Head, decided: list[Json]) -> Json:
    """Return the body of an entry of decisions without commits: the chain stays as it is."""
    return {
        "packs": [], "decided": decided, "tip": head.tip, "root": head.root, "time": head.tip_time,
        "committed": head.committed,
    }  # fmt: skip


def closing(changeset_id: ChangesetId, outcome: Json) -> Json:
    """Return what an entry says to close a conflicted changeset, given its outcome."""
    paths = [conflict["path"] for conflict in outcome["conflicts"]]
    return {"id": changeset_id, "slice": outcome["slice"], "paths": paths}


def change_json(change: Proposal) -> list[Any]:
    """Return a change as the entry records it: path, mode, id and the blob's place; mode 0 for a delete."""
    oid = change.oid.hex() if change.oid else None
    return [change.path.decode(), change.mode, oid, *(change.place or ())]
