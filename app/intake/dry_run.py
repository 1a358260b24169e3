"""Whether a changeset would land now: it is linked on the current snapshot, and nothing is stored."""

from dataclasses import replace
from typing import Any

from app.access.caller import EVERYBODY, Caller
from app.access.visibility import shown_conflicts
from app.intake.packing import Item, build
from storage.base.ids import ObjectId
from storage.commit import Linker, snapshot_for, sources
from storage.git.objects import Kind, object_id
from storage.git.packs import Location, decode
from storage.git.paths import path_json, paths_json
from storage.git.threeway import MergeUnavailable
from storage.log.records import NAMING_OTHERS, Status
from storage.repository import Repository

_WOULD = {Status.COMMITTED: "commit", Status.CONFLICTED: "conflict", Status.REJECTED: "reject"}


def dry_run(repo: Repository, item: Item, who: Caller = EVERYBODY) -> dict[str, Any]:
    """Return what `check` answers to a caller. Raises Unavailable, also where contents cannot be merged now."""
    pack, data, [[(changeset, _)]] = build([[item]])

    def read_blob(oid: ObjectId, location: Location | None) -> bytes:
        if location is None or location.pack != pack:
            return repo.objects.blob(oid, location)
        kind, content = decode(data[location.range.offset : location.range.offset + location.range.length])
        assert kind == Kind.BLOB and object_id(kind, content) == oid
        return content

    snapshot = snapshot_for(repo, [changeset])
    read = replace(sources(repo, snapshot.head), blob=read_blob)
    linked = Linker(snapshot, read, committer=repo.committer()).run([changeset])
    if not linked.decided:
        if changeset.base_changeset is None or changeset.base_changeset in snapshot.outcomes:
            # Given back for another reason than its base.
            raise MergeUnavailable
        return {"would": "wait", "tip": snapshot.head.tip}
    [record] = linked.decided
    shown: dict[str, Any] = {"would": _WOULD[record.status], "tip": snapshot.head.tip}
    if record.merged:
        shown |= paths_json("merged", [merged.path for merged in record.merged])
    if record.followed:
        shown["followed"] = [path_json("path", path) | path_json("to", to) for path, to in record.followed]
    if record.status == Status.CONFLICTED:
        shown |= {"conflicts": shown_conflicts(who, record.conflicts), "conflict_count": record.conflict_count}
    if record.reason is not None:
        shown["reason"] = record.reason
        if who.reads_all or record.reason not in NAMING_OTHERS:
            shown["detail"] = record.detail
    return shown
