"""From the commits of a push to submissions: what each changes, with its contents, checked as the API checks it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from app.gateway.receive.commits import CommitRefused, PushedCommit, Range, is_encoding, joined_message
from app.gateway.receive.options import CHANGE_ID, Options
from app.gateway.receive.received import ContentTooLarge, Received
from app.protocol.changesets.labels import load_labels
from app.protocol.changesets.submissions import Base, Change, Submission
from app.protocol.problems import Problem
from storage.base.ids import ObjectId
from storage.base.settings import Settings
from storage.git.fsck import ContentError, FsckError, check_content, check_message, needs_content
from storage.git.objects import (
    EXECUTABLE_MODE,
    FILE_MODE,
    SUBMODULE_MODE,
    SYMLINK_MODE,
    Kind,
    Tree,
    Version,
    object_id,
)
from storage.git.paths import MAX_PARTS, PathError, check_path, quoted
from storage.git.threeway import Strategy
from storage.git.trees import covers, diff
from storage.log.records import Pushed
from storage.view.snapshot import Slice

MODES = frozenset({FILE_MODE, EXECUTABLE_MODE, SYMLINK_MODE, SUBMODULE_MODE})
_REGULAR = frozenset({FILE_MODE, EXECUTABLE_MODE})
_EMPTY = object_id(Kind.BLOB, b"")
_KEY = "\x1fpush/"  # no writer's key can begin so: they are printable
# Directories that are read on the way to one file, in two trees: more are empty ones, or lie too deep.
_BETWEEN_FILES = 2 * (MAX_PARTS + 1)
ATTEMPTS = 4
"""How often one commit may be pushed of which nothing came: it was abandoned, or rejected."""


def keys_of(commit: ObjectId) -> list[str]:
    """Return the idempotency keys of a commit's changesets: one at a time, each for a further attempt."""
    return [f"{_KEY}{commit.hex()}" + (f"/{attempt}" if attempt else "") for attempt in range(ATTEMPTS)]


Difference = tuple[bytes, Version | None, Version | None]
"""A path, and what stands there before and after a commit; None where nothing does."""


class Left(NamedTuple):
    """What a move leaves."""

    path: bytes
    version: Version


class Submissions:
    """Makes the submissions of one push."""

    def __init__(self, incoming: Received, where: Slice, options: Options, settings: Settings) -> None:
        self._incoming = incoming
        self._where = where
        self._options = options
        self._settings = settings
        self._left = settings.max_push_bytes  # of contents
        self._changes_left = settings.max_request_changes

    def each(
        self, commits: Iterable[PushedCommit], before: PushedCommit, bases: Iterable[Base]
    ) -> Iterator[Submission]:
        """Yield the submission of each commit on the one before it; the first stands on `before`.

        Raises CommitRefused, which names the commit and what is wrong, and NotComplete.
        """
        chain = [before, *commits]
        for (parent, commit), base in zip(pairwise(chain), bases, strict=False):
            yield self._submission(commit, parent.tree, base, commit.said(), commit.record())

    def joined(self, range_: Range, before: PushedCommit, base: Base) -> Submission:
        """Return one submission of all commits of a range, against the commit `before`. Raises as `each` does."""
        tip = range_.commits[-1]
        message = joined_message(range_.commits)
        record = tip.record(_encoded(message, tip.encoding))
        return self._submission(tip, before.tree, base, tip.said(message), record)

    def _submission(self, commit: PushedCommit, old: ObjectId, base: Base, message: str, record: Pushed) -> Submission:
        author = commit.ident()
        self._check_message(commit, message, record)
        changes = tuple(self._changes(commit, old))
        if not changes:
            raise CommitRefused(commit.oid, "it changes nothing: drop it (git rebase drops empty commits)")
        return Submission(
            slice=self._where.id, base=base, author_name=author.name, author_email=author.email,
            author_time=author.time, author_zone=author.zone, message=message, changes=changes,
            hold=self._options.hold, labels=self._labels(commit), pushed=record,
        )  # fmt: skip

    def _check_message(self, commit: PushedCommit, message: str, record: Pushed) -> None:
        # Both are kept: what is pushed may have any number of lines that the changeset's message leaves out.
        size, most = max(len(text.encode()) for text in (message, record.message)), self._settings.max_message_bytes
        if size > most:
            raise CommitRefused(commit.oid, f"its message has {size} bytes; {most} are allowed (max_message_bytes)")
        try:
            check_message(message)
        except FsckError as error:
            raise CommitRefused(commit.oid, f"its message {error}") from None

    def _labels(self, commit: PushedCommit) -> dict[str, str]:
        labels = dict(self._options.labels)
        if (change := commit.change_id) and CHANGE_ID not in labels:
            labels[CHANGE_ID] = change
        try:
            return load_labels(labels, self._settings, "label") if labels else {}
        except Problem as problem:
            why = "; ".join(f"{error['field']} {error['message']}" for error in problem.errors)
            raise CommitRefused(commit.oid, why) from None

    def _changes(self, commit: PushedCommit, old: ObjectId) -> Iterator[Change]:
        found = list(self._differences(commit, old))
        moved = self._moved(found, commit, old)
        for path, was, now in found:
            try:
                mode = self._mode(commit.tree, path) if now else b""
                yield self._change(path, was, now, mode, moved.get(path))
            except (PathError, ContentError, ContentTooLarge) as error:
                raise CommitRefused(commit.oid, f"{shown_path(path)} {error}") from None

    def _differences(self, commit: PushedCommit, old: ObjectId) -> Iterator[Difference]:
        fruitless = 0  # directories that were read since the last file

        def read(oid: ObjectId) -> Tree:
            nonlocal fruitless
            fruitless += 1
            if fruitless > _BETWEEN_FILES:
                # A few trees that name one another many times are directories without end.
                raise CommitRefused(commit.oid, f"it has empty directories, or more than {MAX_PARTS} in one another")
            return self._incoming.tree(oid)

        for count, difference in enumerate(diff(read, old, commit.tree)):
            fruitless = 0
            self._changes_left -= 1
            if count >= self._settings.max_changes:
                raise CommitRefused(
                    commit.oid, f"it changes more than {self._settings.max_changes} files (max_changes)"
                )
            if self._changes_left < 0:
                most = self._settings.max_request_changes
                raise CommitRefused(commit.oid, f"with it, the push has more than {most} changes (max_request_changes)")
            yield difference

    def _moved(self, found: Sequence[Difference], commit: PushedCommit, old: ObjectId) -> dict[bytes, Left]:
        """Return for each new path the file that stands there now, and stood at a path that is gone."""
        gone = {path: was for path, was, now in found if was and now is None}
        made = {path: now for path, was, now in found if now and was is None}
        if not gone or not made or self._options.moves == "no":
            return {}
        pairs = same_files(gone, made)
        # A process of Git's only where there is something to guess.
        if self._options.moves == "similar" and len(pairs) < min(len(gone), len(made)):
            pairs = self._incoming.renamed(old, commit.tree)
        return {
            path: Left(source, gone[source])
            for path, source in pairs.items()
            if path in made and source in gone and can_move(gone[source], made[path])
        }

    def _mode(self, root: ObjectId, path: bytes) -> bytes:
        """Return the mode of a file as its tree has it: that of a version is what Git reads there."""
        *above, name = path.split(b"/")
        tree = self._incoming.tree(root)
        for part in above:
            tree = self._incoming.tree(ObjectId(tree.rows[tree.find_key(part + b"/")][-20:]))
        return tree.rows[tree.find_key(name)].partition(b" ")[0]

    def _change(self, path: bytes, was: Version | None, now: Version | None, mode: bytes, left: Left | None) -> Change:
        if not covers(self._where.paths, path):
            raise PathError(f"is not in the slice {self._where.name}")
        is_ordinary = check_path(path, self._settings.max_path_bytes)
        strategy = self._options.strategy or Strategy.MERGE
        if now is None:
            return Change("delete", path, 0, strategy=strategy)
        if mode != b"%o" % now.mode or now.mode not in MODES:
            raise PathError(f"has the mode {mode.decode()}, which Git does not make any more; {FILE_MODE:o} is meant")
        if was and was.oid == now.oid and was.mode != now.mode and {was.mode, now.mode} <= _REGULAR:
            return Change("mode", path, now.mode, strategy=strategy)
        if now.mode == SUBMODULE_MODE:
            check_content(path, now.mode, None)
            return Change("put", path, now.mode, oid=now.oid, strategy=strategy)
        # Where Git reads what is there, its content is checked.
        moved = left if is_ordinary or not needs_content(path, FILE_MODE) else None
        if moved and moved.version.oid == now.oid:
            new_mode = 0 if moved.version.mode == now.mode else now.mode
            return Change("move", path, new_mode, strategy=strategy, source=moved.path)
        content = self._incoming.content(now.oid, min(self._settings.max_blob_bytes, self._left))
        self._left -= len(content)
        if not is_ordinary or now.mode == SYMLINK_MODE:
            check_content(path, now.mode, content)
        if moved:
            return Change("move", path, now.mode, content=content, strategy=strategy, source=moved.path)
        return Change("put", path, now.mode, content=content, strategy=strategy)


def same_files(gone: Mapping[bytes, Version], made: Mapping[bytes, Version]) -> dict[bytes, bytes]:
    """Return for each new path the one that is gone and had the same content, where no other had or has it."""
    sources, targets = _paths_by_content(gone), _paths_by_content(made)
    same = {oid: paths for oid, paths in targets.items() if len(paths) == len(sources.get(oid, [])) == 1}
    return {path: sources[oid][0] for oid, [path] in same.items()}


def _paths_by_content(versions: Mapping[bytes, Version]) -> dict[ObjectId, list[bytes]]:
    found: dict[ObjectId, list[bytes]] = {}
    for path, version in versions.items():
        found.setdefault(version.oid, []).append(path)
    return found


def can_move(was: Version, now: Version) -> bool:
    """Tell whether what was deleted may be the same file: of the same kind, and not one that has no content."""
    kinds = {was.mode, now.mode}
    return (kinds <= _REGULAR or kinds == {SYMLINK_MODE}) and _EMPTY not in (was.oid, now.oid)


def shown_path(path: bytes) -> str:
    """Return a path as Git shows it: in quotes where it has unusual bytes."""
    return quoted(path).decode()


def _encoded(message: str, encoding: bytes) -> bytes:
    """Return a message in the encoding of its commit, or UTF-8 where that cannot be."""
    name = encoding.decode("ascii", "replace")
    try:
        return message.encode(name if is_encoding(name) else "utf-8")
    except (LookupError, ValueError):
        return message.encode()
