"""Writers for tests that need no HTTP: submissions go through the intake's own pack building, then to real servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from app.intake.packing import Item, blob, build
from app.protocol.changesets.submissions import Change, ChangesetBase, CommitBase, ItemBase, Submission, VersionsBase
from storage.base.ids import ChangesetId, ObjectId
from storage.commit.batch import commit_batch
from storage.commit.global_merge import merge_batch
from storage.git.objects import EXECUTABLE_MODE, FILE_MODE, SUBMODULE_MODE, SYMLINK_MODE, Ident
from storage.git.trees import walk
from storage.log.manifest import Changeset
from storage.operations.slices import define
from storage.repository import Repository
from storage.view.snapshot import Slice
from tasks.upkeep import run as run_upkeep

AUTHOR = Ident("Ada", "ada@example.org", 1_700_000_000, 60)

Files = Mapping[str, bytes | str | None]
"""Paths with contents; None deletes; a text `link:target` is a symlink, `exec:…` an executable."""


def changes(files: Files, bases: Mapping[str, bytes | None] | None = None) -> tuple[Change, ...]:
    """Return the changes that make `files`; with `bases`, each says what was seen."""
    made = []
    for path, content in files.items():
        base = (bases or {}).get(path)
        if content is None:
            made.append(Change("delete", path.encode(errors="surrogateescape"), 0, base=base))
            continue
        mode = FILE_MODE
        if isinstance(content, str):
            kind, _, rest = content.partition(":")
            mode = {"link": SYMLINK_MODE, "exec": EXECUTABLE_MODE}[kind]
            content = rest.encode()
        made.append(Change("put", path.encode(errors="surrogateescape"), mode, content=content, base=base))
    return tuple(made)


def item(
    where: Slice,
    files: Files,
    base: str | bytes | int | None = None,
    *,
    key: str | None = None,
    message: str = "Change things",
    bases: Mapping[str, bytes | None] | None = None,
    hold: bool = False,
) -> Item:
    """Return a submission: `base` is a commit (bytes), a changeset (text), an earlier item (number) or by versions."""
    match base:
        case bytes():
            on: CommitBase | ChangesetBase | ItemBase | VersionsBase = CommitBase(base)
        case str():
            on = ChangesetBase(base)
        case int():
            on = ItemBase(base)
        case _:
            on = VersionsBase()
    made = changes(files, bases)
    submission = Submission(
        slice=where.id,
        base=on,
        author_name="Ada",
        author_email="ada@example.org",
        message=message,
        changes=made,
        key=key,
        hold=hold,
    )
    return item_of(submission)


def item_of(submission: Submission) -> Item:
    """Return a submission as the intake takes it."""
    blobs = [blob(change.content) if change.content is not None else None for change in submission.changes]
    oids = tuple([pair[0] if pair else change.oid for pair, change in zip(blobs, submission.changes, strict=True)])
    return Item(
        submission=submission,
        slice=submission.slice,
        author=AUTHOR,
        oids=oids,
        blobs=dict(pair for pair in blobs if pair),
        fingerprint="f" if submission.key else "",
    )


class World:
    """A repository on real servers, with one slice of everything."""

    def __init__(self, repo: Repository, everything: Slice | None = None) -> None:
        """Prepare a new repository; with its slice of `everything`, take one as it is."""
        self.repo = repo
        if everything is None:
            repo.prepare()
            run_upkeep(repo)
            everything = define(repo, "all", ["/"])
        self.all = everything

    def reopened(self, **changed: Any) -> World:
        """Return the same repository as another process has it: nothing in memory, and these settings changed."""
        return World(Repository(replace(self.repo.settings, **changed)), self.all)

    @property
    def tip(self) -> bytes:
        """The newest commit of the chain."""
        return bytes.fromhex(self.repo.view.head().tip)

    def store(self, items: Sequence[Item]) -> list[tuple[Changeset, bytes]]:
        """Make submissions durable and queue nothing."""
        pack, data, [group] = build([items])
        self.repo.bucket.put_verified(pack + ".pack", data)
        return group

    def submit(self, *items: Item) -> list[ChangesetId]:
        """Make submissions durable, queue them and return their ids."""
        group = self.store(items)
        self.repo.queue.enqueue(group)
        return [changeset.id for changeset, _ in group]

    def put(self, files: Files, base: str | bytes | int | None = None, **more: object) -> ChangesetId:
        """Submit one changeset on the tip, or on `base`."""
        return self.submit(item(self.all, files, self.tip if base is None else base, **more))[0]  # type: ignore[arg-type]

    def work(self) -> None:
        """Commit and merge until nothing is left."""
        while commit_batch(self.repo).changesets:
            pass
        while merge_batch(self.repo).changesets:
            pass

    def status(self, changeset: str) -> str:
        """Return a changeset's status as the view has it."""
        outcome = self.repo.outcome(changeset)
        return outcome.status if outcome else "queued"

    def files(self, root: str | None = None) -> dict[str, bytes]:
        """Return the contents of all files of the tip, by path."""
        tree = ObjectId(bytes.fromhex(root or self.repo.view.head().root))
        contents = {}
        for path, version in walk(self.repo.objects.tree, tree):
            if version.mode == SUBMODULE_MODE:
                continue
            contents[path.decode(errors="surrogateescape")] = self.repo.objects.read(version.oid)[1]
        return contents
