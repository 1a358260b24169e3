"""Changesets that take the place of another: a rebase onto the tip, and the resolution of a conflict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from app.errors import Problem, conflict, invalid
from app.intake import Item, blob
from storage.changes import Base, Change, CommitBase, Submission, VersionsBase
from storage.decide import Conflict, Rejection
from storage.entries import Json, Status
from storage.fsck import ContentError, check_content
from storage.ids import ChangesetId, ObjectId, SliceId
from storage.inbox import read_changesets
from storage.link import Slice
from storage.manifest import Changeset, Proposal
from storage.objects import FILE_MODE, SUBMODULE_MODE, Version
from storage.queue import Standing
from storage.records import conflicts_json
from storage.remerge import Remerge
from storage.repository import Repository
from storage.seen import look
from storage.threeway import Strategy
from storage.trees import covers

# No writer's key can begin so: they are printable.
_KEY_PREFIX = "\x1f"


@dataclass(frozen=True, slots=True)
class Resolution:
    """What shall stand at a path that is in conflict."""

    take: str | None = None  # "ours", what stands in the head, or "theirs", what was submitted
    content: bytes | None = None
    mode: int | None = None
    delete: bool = False


def key_of(verb: str, changeset: ChangesetId) -> str:
    """Return the idempotency key of a changeset's one successor by `verb`, where its writer gave none."""
    return f"{_KEY_PREFIX}{verb}/{changeset}"


def fingerprint_of(verb: str, changeset: ChangesetId, told: object = None) -> str:
    """Return what tells a repeat from another request with the same key."""
    return sha256(repr((verb, changeset, told)).encode()).hexdigest()[:32]


class Successor:
    """Makes the changeset that takes the place of another."""

    def __init__(self, repo: Repository, where: Slice, changeset: Changeset, standing: Standing) -> None:
        self._repo = repo
        self._where = where
        self._changeset = changeset
        self._standing = standing
        self._blobs: dict[ObjectId, tuple[bytes, int]] = {}
        self._changes: list[Change] = []
        self._oids: list[ObjectId | None] = []
        paths = [change.path for change in changeset.changes]
        seen = look(repo, changeset, paths)
        self._seen = seen.versions
        self._remerge = Remerge(repo, changeset, seen)

    def rebase(self, key: str) -> Item:
        """Return the changeset on the present tip.

        Raises a Problem of 409 with the conflicts where they collide.
        """
        head = self._repo.view.head()
        decision = self._remerge.onto(ObjectId(bytes.fromhex(head.root)))
        if isinstance(decision, Rejection):
            raise conflict(decision.detail, reason=decision.reason)
        if isinstance(decision, list):
            raise colliding(decision)
        for path, version in decision.items():
            self._take(path, version, None, Strategy.MERGE)
        fingerprint = fingerprint_of("rebase", self._changeset.id)
        base = CommitBase(bytes.fromhex(head.tip))
        # One that was held, and abandoned for this very rebase, is held again.
        outcome = self._standing.outcome
        hold = self._standing.held or (
            self._changeset.hold and outcome is not None and outcome["status"] == Status.ABANDONED
        )
        return self._item(base, key, fingerprint, self._changeset.message, hold)

    def resolve(self, paths: dict[bytes, Resolution], key: str, fingerprint: str, message: str | None) -> Item:
        """Return the changeset with its conflicts resolved, by a writer who saw what the conflicts say.

        Raises a Problem where a path in conflict is left out, or another is named.
        """
        outcome = self._standing.outcome
        assert outcome is not None
        conflicts = {each["path"].encode(): each for each in outcome["conflicts"]}
        if outcome["conflict_count"] > len(conflicts):
            raise conflict(
                f"it has {outcome['conflict_count']} conflicts, too many to be resolved one by one; rebase it"
            )
        for path in paths:
            if path not in conflicts:
                raise invalid(f"paths.{path.decode()}", "is not in conflict")
        for path in conflicts:
            if path not in paths:
                raise invalid(f"paths.{path.decode()}", "is in conflict and not resolved")
        for change in self._changeset.changes:
            if change.path in conflicts:
                self._resolve(change, conflicts[change.path], paths[change.path])
            else:
                base = self._seen.get(change.path)
                self._take(change.path, change.version(base), base, change.strategy)
        return self._item(VersionsBase(), key, fingerprint, message or self._changeset.message, hold=False)

    def _resolve(self, change: Proposal, found: Json, resolution: Resolution) -> None:
        path, head = change.path, _version(found["head"])
        if resolution.take == "ours" or ("blocker" in found and resolution.delete):
            return
        if "blocker" in found:
            # What stands in the way goes, as it was seen; at the path itself there was nothing.
            blocker = found["blocker"].encode()
            if blocker not in {each.path for each in self._changes}:
                self._take(blocker, None, head, Strategy.MERGE)
            head = None
        submitted = change.version(self._seen.get(path))
        if resolution.take == "theirs":
            self._take(path, submitted, head, Strategy.MERGE)
        elif resolution.delete:
            self._take(path, None, head, Strategy.MERGE)
        else:
            assert resolution.content is not None
            modes = [version.mode for version in (submitted, head) if version and version.mode != SUBMODULE_MODE]
            mode = resolution.mode or (modes[0] if modes else FILE_MODE)
            self._put(path, mode, resolution.content, head)

    def _take(self, path: bytes, version: Version | None, base: Version | None, strategy: Strategy) -> None:
        """Change a path to a version whose content is known; `base` is what was seen there."""
        seen = base.oid if base else None
        if version is None:
            self._changes.append(Change("delete", path, 0, None, None, seen, strategy))
            self._oids.append(None)
        elif version.mode == SUBMODULE_MODE:
            self._changes.append(Change("put", path, version.mode, None, version.oid, seen, strategy))
            self._oids.append(version.oid)
        else:
            self._put(path, version.mode, self._remerge.content(version.oid), base, strategy)

    def _put(
        self, path: bytes, mode: int, content: bytes, base: Version | None, strategy: Strategy = Strategy.MERGE
    ) -> None:
        try:
            check_content(path, mode, content)
        except ContentError as error:
            raise invalid(f"paths.{path.decode()}", str(error)) from None
        oid, stored = blob(content)
        self._blobs[oid] = stored
        self._changes.append(Change("put", path, mode, content, None, base.oid if base else None, strategy))
        self._oids.append(oid)

    def _item(self, base: Base, key: str, fingerprint: str, message: str, hold: bool) -> Item:
        for change in self._changes:
            if not covers(self._where.paths, change.path):
                raise conflict(f"{change.path.decode()} is no longer in the slice {self._where.name}")
        resolves = self._changeset.id
        submission = Submission(
            self._where.id, base, None, None, None, 0, message, tuple(self._changes), key, hold, resolves
        )
        oids = tuple(self._oids)
        return Item(submission, SliceId(self._where.id), self._changeset.author, oids, self._blobs, fingerprint)


def read_changeset(repo: Repository, changeset: ChangesetId, standing: Standing) -> Changeset:
    """Return what a changeset's writer submitted. Raises BucketError."""
    pack = standing.outcome["pack"] if standing.outcome else standing.pack
    assert pack is not None
    return read_changesets(repo.bucket, repo.queue, [(changeset, pack)])[0]


def rebasable(standing: Standing) -> bool:
    """Tell whether a changeset may be rebased: it is not to be committed as it is."""
    outcome = standing.outcome
    if outcome is None:
        return standing.held
    if outcome["status"] in {Status.CONFLICTED, Status.ABANDONED}:
        return True
    return outcome["status"] == Status.REJECTED and outcome["reason"] == "base-not-landed"


def colliding(conflicts: list[Conflict]) -> Problem:
    """The changes collide with the head."""
    return conflict(f"it collides with the head at {len(conflicts)} paths", **conflicts_json(conflicts))


def _version(shown: Json | None) -> Version | None:
    return Version(int(shown["mode"], 8), ObjectId(bytes.fromhex(shown["id"]))) if shown else None


def paths_of(resolutions: dict[bytes, Resolution]) -> Iterator[tuple[object, ...]]:
    """Yield what a fingerprint is made of, in order."""
    for path, each in sorted(resolutions.items()):
        content = sha256(each.content).hexdigest() if each.content is not None else None
        yield path, each.take, content, each.mode, each.delete
