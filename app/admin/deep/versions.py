"""What the writer of a changeset with a base by versions saw, as a commit that Git can merge with.

Paths that the writer does not mention are taken from the head. A writer may have seen a file at one time, and a file
below the same path at another time, for example while resolving a conflict. No tree can have both, and the head has at
most one of them. A path that the head does not have can be decided alone: changing a deleted file is always a conflict.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from app.admin.deep.git import Importer
from app.admin.deep.submitted import with_some_mode
from storage.base.ids import ObjectId
from storage.commit import base_to_merge, seen_version
from storage.git.objects import Version, as_file
from storage.git.threeway import Strategy
from storage.log.manifest import Changeset, Proposal


@dataclass(slots=True)
class Saw:
    """What a writer saw."""

    mark: str = ""  # of the commit
    tree: str = ""
    unknown: bool = False  # a content that was seen is not stored, and another stands for it
    must_conflict: bool = False  # a path that no tree could have was changed, and is gone
    unchecked: bool = False  # such a path has a strategy, or is put as it was seen


def versions_seen(
    changeset: Changeset,
    importer: Importer,
    chain: str,
    is_stored: Callable[[int, ObjectId | None], bool],
    put: Callable[[bytes, Version], None],
) -> Saw:
    """Make the head with what the writer saw at the changed paths. Raises GitRefused.

    What is in the way of a file that is put was not seen either.
    """
    own = [change.path for change in changeset.changes]
    saw = Saw(importer.begin(chain))
    heads = importer.versions([*own, *above(own)])
    for path in {*above(own)} - {*own}:
        above_it = heads[path]
        if above_it is not None and not above_it.is_tree:
            importer.put(path, None)
    for path in own:
        if heads[path] is not None:
            importer.put(path, None)
    seen = {change.path: _seen(changeset, change, as_file(heads[change.path])) for change in changeset.changes}
    at_odds = _in_each_others_way([path for path in own if seen[path] is not None])
    for change in changeset.changes:
        version = seen[change.path]
        if version is None:
            continue
        if change.path in at_odds and as_file(heads[change.path]) is None:
            _leave_out(change, version, saw)
        elif is_stored(version.mode, version.oid):
            put(change.path, version)
        else:
            saw.unknown = True
            importer.put_text(change.path, version.mode, b"not stored: %s\n" % version.oid.hex().encode())
    saw.tree = importer.end()
    return saw


def _seen(changeset: Changeset, change: Proposal, head: Version | None) -> Version | None:
    """Return what was seen, for Git to merge on."""
    return with_some_mode(base_to_merge(change, seen_version(changeset, change, None, head), head), change.mode)


def _leave_out(change: Proposal, seen: Version, saw: Saw) -> None:
    """Take what is gone for what was never seen: it is the same to who deletes it."""
    wanted = change.version(seen)
    if wanted is None:
        return
    if wanted == seen or change.strategy in (Strategy.OURS, Strategy.THEIRS):
        saw.unchecked = True
    else:
        saw.must_conflict = True


def above(paths: Iterable[bytes]) -> list[bytes]:
    """Return the directories that these paths are in."""
    return list(dict.fromkeys(path[:at] for path in paths for at, byte in enumerate(path) if byte == ord("/")))


def _in_each_others_way(files: list[bytes]) -> set[bytes]:
    """Return those of these files that are below another, or have another below them."""
    known, directories = set(files), set(above(files))
    return {path for path in files if path in directories or not known.isdisjoint(above([path]))}
