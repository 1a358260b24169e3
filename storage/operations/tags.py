"""Making, moving and deleting tags by entries of the log, and what a tag says."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum

from storage.base.errors import Refused
from storage.base.ids import ObjectId, PackId
from storage.commit import Draft, NoEntry, append_directly, check_snapshot_current
from storage.git.objects import Ident, Kind, TagObject, encode_tag, object_id
from storage.git.packs import PackRange
from storage.log.entry import GIT_FORMAT, Tags
from storage.log.kinds.git import TagChange
from storage.log.records import Actor
from storage.log.store_pack import pack_of, store_pack
from storage.operations.access import OlderNodes
from storage.repository import Repository
from storage.view.snapshot import Snapshot
from storage.view.tags import tag_in_the_way, tags_of

MAX_PEELED = 5
"""Tags of tags that are followed to a commit, at most. Sluice makes none; imported ones may be."""


class Done(StrEnum):
    """What became of a tag."""

    MADE = "made"
    MOVED = "moved"
    AS_IT_WAS = "as it was"


class TagGone(Refused):
    """There is no tag with this name; the text is that."""


class TagInTheWay(Refused):
    """A ref with this name cannot stand beside that of another tag."""


class TagChanged(Refused):
    """The tag names another object than its writer saw, or than is wanted."""

    def __init__(self, name: str, current: ObjectId | None, seen: bool) -> None:
        now = "is not there" if current is None else f"names {current.hex()}"
        super().__init__(f"the tag {name} {now}")
        self.current = current
        self.seen = seen  # whether its writer said what it saw


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag and what it says."""

    name: str
    oid: ObjectId  # of its tag object, or of its commit where it has none
    commit: ObjectId | None  # None: it is of something else
    of: TagObject | None  # None: a lightweight one


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A tag that is to be."""

    name: str
    commit: ObjectId
    message: str | None  # None: a lightweight tag
    tagger: Ident
    seen: ObjectId | None = None  # what the tag names that is to be moved
    force: bool = False  # it is moved whatever it names


_Appended = tuple[Done, ObjectId]


def put_tag(repo: Repository, wanted: Wanted, actor: Actor | None) -> tuple[Done, Tag]:
    """Make a tag, or move it where its writer says so; returns once that is durable.

    A tag that says the same already stays as it is, so a request can be repeated. Raises TagChanged, TagInTheWay,
    OlderNodes and Unavailable. The commit has to be one of the repository's.
    """
    _check_readers(repo)
    oid, data = wanted.commit, b""
    packs: tuple[tuple[PackId, int], ...] = ()
    ranges: dict[PackId, dict[ObjectId, PackRange]] = {}
    if wanted.message is not None:
        data = encode_tag(wanted.commit, wanted.name, wanted.tagger, wanted.message)
        oid = object_id(Kind.TAG, data)
        current = tags_of(repo.view, [wanted.name]).get(wanted.name)
        if current is None or not _says(repo, current, wanted):
            writer = pack_of({oid: (Kind.TAG, data)})
            pack, size = store_pack(repo.bucket, writer)
            packs, ranges = ((pack, size),), {pack: writer.ranges}

    def build_entry(snapshot: Snapshot) -> Draft[_Appended] | NoEntry[_Appended]:
        current = tags_of(repo.view, [wanted.name]).get(wanted.name)
        if current is not None and _says(repo, current, wanted):
            check_snapshot_current(repo, snapshot)
            return NoEntry((Done.AS_IT_WAS, current))
        if not wanted.force and current != wanted.seen:
            raise TagChanged(wanted.name, current, wanted.seen is not None)
        if current is None and (other := tag_in_the_way(repo.view, wanted.name)):
            raise TagInTheWay(f"the tag {other} is there, beside which Git can have no {wanted.name}")
        check_snapshot_current(repo, snapshot)
        change = TagChange(name=wanted.name, id=oid.hex(), was=current.hex() if current else None)
        entry = Tags(changed=(change,), time=int(time.time()), actor=actor, packs=packs)
        return Draft(entry, (Done.MOVED if current else Done.MADE, oid), ranges)

    with repo.queue.consistent_read():
        done, made = append_directly(repo, build_entry)
    if made == oid and data:
        repo.objects.share({oid: (Kind.TAG, data)})
    return done, tag_of(repo, wanted.name, made)


def delete_tag(repo: Repository, name: str, seen: ObjectId | None, actor: Actor | None) -> None:
    """Delete a tag, whatever it names where `seen` is None. Raises TagGone, TagChanged, OlderNodes and Unavailable."""
    _check_readers(repo)

    def build_entry(snapshot: Snapshot) -> Draft[None]:
        current = tags_of(repo.view, [name]).get(name)
        if current is None:
            raise TagGone(name)
        if seen not in (None, current):
            raise TagChanged(name, current, seen=True)
        check_snapshot_current(repo, snapshot)
        change = TagChange(name=name, was=current.hex())
        return Draft(Tags(changed=(change,), time=int(time.time()), actor=actor), None)

    with repo.queue.consistent_read():
        append_directly(repo, build_entry)


def tag_of(repo: Repository, name: str, oid: ObjectId) -> Tag:
    """Return what a tag says that names an object. Raises ObjectMissing and Unavailable."""
    kind, data = repo.objects.read(oid)
    outer = TagObject.parse(data) if kind == Kind.TAG else None
    at = oid
    for _ in range(MAX_PEELED):
        if kind != Kind.TAG:
            break
        at = TagObject.parse(data).target
        kind, data = repo.objects.read(at)
    return Tag(name, oid, at if kind == Kind.COMMIT else None, outer)


def _says(repo: Repository, current: ObjectId, wanted: Wanted) -> bool:
    """Tell whether a tag says what is wanted already: of an annotated one, whoever tagged it and whenever."""
    if wanted.message is None:
        return current == wanted.commit
    there = tag_of(repo, wanted.name, current)
    return (
        there.of is not None
        and there.of.target == wanted.commit
        and there.of.message.strip("\n") == wanted.message.strip("\n")
    )


def _check_readers(repo: Repository) -> None:
    if not repo.nodes.all_read(GIT_FORMAT):
        raise OlderNodes("a worker of an older version is at work, which cannot read tags: upgrade it first")
