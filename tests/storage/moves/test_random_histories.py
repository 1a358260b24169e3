"""Random histories with moves, against a slow model in which every file is a thing of its own, wherever it is.

A batch knows paths, positions and what records say; the model knows which file is which. A history is named by its
seed: `History(7).run()` makes it again.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from storage.base.ids import ChangesetId, ObjectId, PackId, SliceId
from storage.base.settings import Settings
from storage.commit.link import BatchSources, Linker
from storage.commit.prove import prove
from storage.git.objects import FILE_MODE, Ident, Kind, Version, object_id
from storage.git.trees import walk
from storage.log.entry import NO_HASH, SLOTS, log_position
from storage.log.manifest import Changeset, Proposal
from storage.log.records import Left, Outcome, Status
from storage.lookup.content_merges import ContentMerges
from storage.view.snapshot import Head, Slice, Snapshot
from tests.support.trees import Trees

WHO = Ident("A", "a@example.org", 1)
ALL = Slice(SliceId("all"), "all", frozenset([b"/"]), 1)
NAMES = [b"a", b"b", b"c", b"d/a", b"d/b", b"e/f/g"]
LINES = 40  # of a file; no two edits of a history are of one line, or of neighbouring ones

State = dict[bytes, tuple[int, frozenset[int]]]
"""By path: which file it is, and which of its lines were edited."""


def content(file: int, edits: frozenset[int]) -> bytes:
    lines = [b"%d of %d%s\n" % (i, file, b" edited" if i in edits else b"") for i in range(LINES)]
    return b"".join(lines)


@dataclass
class Wanted:
    """One changeset, as the model has it."""

    op: str
    path: bytes  # as its writer saw it
    to: bytes = b""  # of a move
    file: int = 0
    edits: frozenset[int] = frozenset()  # afterwards
    seen: frozenset[int] = frozenset()


@dataclass
class History:
    seed: int
    moved: list[Left] = field(default_factory=list)
    sources: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.trees, self.blobs = Trees(), dict[ObjectId, bytes]()
        self.merge = ContentMerges(Settings())
        self.files = 0
        self.lines = list(range(0, LINES, 3)) * 4
        self.root = self.trees.build({})
        self.states: list[State] = [{}]  # after each commit
        self.roots: list[ObjectId] = [self.root]
        self.positions: list[int] = [0]
        self.seq = 1
        self.outcomes: dict[str, Outcome] = {}
        self.followed = self.conflicts = 0
        self.ended = False

    # What a batch reads of stored moves.
    @property
    def last(self) -> int:
        return max((left.position for left in self.moved), default=0)

    def position_of(self, commit: ObjectId) -> int:
        return self.positions[int.from_bytes(commit, "big")]

    def moved_from(self, path: bytes, after: int) -> list[Left]:
        rows = zip(self.sources, self.moved, strict=True)
        return [left for source, left in rows if source == path and left.position > after]

    def blob(self, data: bytes) -> ObjectId:
        oid = object_id(Kind.BLOB, data)
        self.blobs[oid] = data
        return oid

    def propose(self, base: State, count: int) -> list[Wanted]:
        """Return what a writer wants who saw `base`, each path once."""
        free = [name for name in NAMES if name not in base]
        known = sorted(base)
        self.chance.shuffle(known)
        self.chance.shuffle(free)
        made: list[Wanted] = []
        for _ in range(count):
            what = self.chance.random()
            if known and what < 0.45:
                path = known.pop()
                file, edits = base[path]
                more = edits | {self.lines.pop(0)} if self.lines else edits
                made.append(Wanted("put", path, file=file, edits=more, seen=edits))
            elif known and free and what < 0.8:
                path = known.pop()
                file, edits = base[path]
                more = edits | {self.lines.pop(0)} if self.chance.random() < 0.3 and self.lines else edits
                made.append(Wanted("move", path, free.pop(), file, more, edits))
            elif known and what < 0.9:
                path = known.pop()
                made.append(Wanted("delete", path, file=base[path][0], seen=base[path][1]))
            elif free:
                self.files += 1
                made.append(Wanted("add", free.pop(), file=self.files))
        return made

    def proposals(self, wanted: list[Wanted]) -> tuple[Proposal, ...]:
        changes: list[Proposal] = []
        for each in wanted:
            oid = self.blob(content(each.file, each.edits))
            match each.op:
                case "put" | "add":
                    changes.append(Proposal("put", each.path, FILE_MODE, oid=oid))
                case "delete":
                    changes.append(Proposal("delete", each.path, 0))
                case "move":
                    new = None if each.edits == each.seen else oid
                    changes.append(Proposal("move", each.to, 0, oid=new, source=each.path))
                    changes.append(Proposal("delete", each.path, 0))
        self.chance.shuffle(changes)
        return tuple(changes)

    def model(self, head: State, wanted: list[Wanted]) -> tuple[State | None, bool]:
        """Return the state behind a changeset, None where it conflicts; and whether either would do."""
        after, either = dict(head), False
        own = {each.path for each in wanted} | {each.to for each in wanted}
        at = {file: path for path, (file, _) in head.items()}
        for each in wanted:
            where = at.get(each.file)
            if each.op == "add":
                if each.path in head:
                    return None, False
                after[each.path] = (each.file, frozenset())
                continue
            if where is not None and where != each.path and where in own and where != each.to:
                return None, True  # its writer put something else there
            if where is None:
                if each.op != "delete":
                    # Another file at its last place is taken for it, as Git does: it moves as it is.
                    return None, each.op == "move"
                either = True  # gone already, unless another file has come to its last place
                continue
            now = head[where][1]
            if each.op == "delete":
                if now != each.seen:
                    return None, False
                after.pop(where, None)
                continue
            merged = now | (each.edits - each.seen)
            if each.op == "put" or where == each.to:
                after[where] = (each.file, merged)
            elif where != each.path or each.to in head:
                return None, False
            else:
                del after[where]
                after[each.to] = (each.file, merged)
        return after, either

    def run(self) -> None:
        """Link batches, and compare each changeset with the model."""
        for _ in range(self.chance.randint(3, 6)):
            batch: list[tuple[Changeset, list[Wanted]]] = []
            for _ in range(self.chance.randint(1, 4)):
                base = self.chance.choice([len(self.states) - 1, self.chance.randrange(len(self.states))])
                wanted = self.propose(self.states[base], self.chance.randint(1, 3))
                if not wanted:
                    continue
                name = f"{self.seq}-{len(batch)}"
                batch.append((self.changeset(name, base, self.proposals(wanted)), wanted))
            if batch and not self.ended:
                self.link(batch)

    def changeset(self, name: str, base: int, changes: tuple[Proposal, ...]) -> Changeset:
        return Changeset(
            id=ChangesetId(name), pack=PackId("inbox/p"), slice=ALL.id, base_commit=ObjectId(base.to_bytes(20, "big")),
            author=WHO, message="m", changes=changes,
        )  # fmt: skip

    def link(self, batch: list[tuple[Changeset, list[Wanted]]]) -> None:
        head = Head(
            self.seq, NO_HASH, "00" * 20, 0, self.root.hex(), "00" * 20, self.root.hex(), 0, 1, 1, 0, 0, moved=self.last
        )  # type: ignore[arg-type]
        stored = BatchSources(
            tree=self.trees.read,
            commit_tree=lambda commit: self.roots[int.from_bytes(commit, "big")],
            outcome=lambda _: None,
            changes=lambda *_: (),
            blob=lambda oid, _: self.blobs[oid],
            merge=self.merge,
            moves=Stored(self),
        )
        linker = Linker(Snapshot("e", head, {ALL.id: ALL}, {}, {}), stored, committer=WHO)
        linked = linker.run([changeset for changeset, _ in batch])
        self.trees.update({oid: data for oid, (kind, data) in linked.objects.items() if kind == Kind.TREE})
        self.blobs |= {oid: data for oid, (kind, data) in linked.objects.items() if kind == Kind.BLOB}
        prove(self.trees.read, self.root, linked.root, linked.net)
        self.seq += 1
        state = self.states[-1]
        for index, ((changeset, wanted), record) in enumerate(zip(batch, linked.decided, strict=True)):
            where = f"seed {self.seed}, changeset {changeset.id}: {wanted} on {state}"
            after, either = self.model(state, wanted)
            committed = record.status == Status.COMMITTED
            assert record.status in (Status.COMMITTED, Status.CONFLICTED), f"{where}: {record.detail}"
            if not either:
                assert committed == (after is not None), where
            if not committed:
                self.conflicts += 1
                continue
            if after is None:
                self.ended = True  # the model cannot tell what became of it
                return
            self.followed += record.followed_count
            position = log_position(self.seq, index)
            for source, path, oid in record.moves:
                self.sources.append(source.encode())
                self.moved.append(Left(position, ObjectId(bytes.fromhex(oid)), path.encode()))
            state = after
            commit = linked.objects[ObjectId(bytes.fromhex(record.commit or ""))][1]
            self.states.append(state)
            self.roots.append(ObjectId(bytes.fromhex(commit[5:45].decode())))
            self.positions.append(position)
            found = dict(walk(self.trees.read, self.roots[-1]))
            blobs = {path: self.blob(content(*file)) for path, file in state.items()}
            assert found == {path: Version(FILE_MODE, oid) for path, oid in blobs.items()}, where
        self.root = linked.root


class Stored:
    """The moves of a history, as a batch reads them."""

    def __init__(self, history: History) -> None:
        self.last = history.last
        self.position_of = history.position_of
        self.moved = history.moved_from


@pytest.mark.parametrize("first", [0, *(pytest.param(first, marks=pytest.mark.long) for first in (50, 100, 150))])
def test_batches_follow_files_as_the_model_does(first: int) -> None:
    histories = [History(seed) for seed in range(first, first + 50)]
    for history in histories:
        history.run()
    assert sum(history.followed for history in histories) > 10
    assert sum(history.conflicts for history in histories) > 10
    assert sum(len(history.moved) for history in histories) > 50
    assert max(history.last for history in histories) >= SLOTS
