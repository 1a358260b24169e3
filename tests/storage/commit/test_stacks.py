"""Deep stacks among other writers: no line that anyone landed is lost, and none that did not land is there.

Every changeset adds lines that no other has, and now and then deletes one that its writer saw. So whose work a file has
can be read from it: the checker knows nothing of how changesets are decided.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from storage.base.ids import ObjectId
from storage.base.settings import Settings
from storage.commit.link import Linker
from storage.git.objects import FILE_MODE, Kind, Version
from storage.git.trees import walk
from storage.log.manifest import Changeset, Proposal
from storage.lookup.content_merges import ContentMerges
from tests.support.link_bench import ADA, LinkBench

FILES = (b"a", b"dir/b", b"dir/deep/c")
ANCHORS = 60
DEPTH = 100
OTHERS = 60
MERGES = ContentMerges(Settings())

Lines = list[bytes]


def anchor(number: int) -> bytes:
    return b"anchor %d\n" % number


@dataclass
class Writer:
    """Somebody's own copy: what was seen at the beginning, and what was made of it since."""

    files: dict[bytes, Lines]
    base: bytes | str
    anchors: range


@dataclass
class Effect:
    """What a changeset does to lines, whatever file they are in."""

    added: set[bytes] = field(default_factory=set)
    deleted: set[bytes] = field(default_factory=set)


class History:
    """A random history of one stack and others between, and what became of each changeset."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.repo = LinkBench({})
        self.repo.merge = MERGES
        start = {path: [anchor(i) for i in range(ANCHORS)] for path in FILES}
        self.repo.root = self.repo.trees.build(
            {path: Version(FILE_MODE, self.repo.put_blob(b"".join(lines))) for path, lines in start.items()}
        )
        self.start = start
        self.bases: dict[bytes, ObjectId] = {}
        self.outcomes: dict[str, dict] = {}
        self.effects: dict[str, Effect] = {}
        self.made = 0

    def commit(self) -> bytes:
        """Return an id that stands for a commit with the present root."""
        name = b"%020d" % len(self.bases)
        self.bases[name] = self.repo.root
        return name

    def now(self) -> dict[bytes, Lines]:
        return {
            path: self.repo.blobs[version.oid].splitlines(keepends=True)
            for path, version in walk(self.repo.trees.read, self.repo.root)
        }

    def change(self, writer: Writer, own: bool) -> Changeset:
        """Have a writer change one or two files; `own`: only where nobody else does."""
        self.made += 1
        name = f"{self.made:06}"
        effect = self.effects[name] = Effect()
        changes = []
        for path in self.random.sample(FILES, self.random.randint(1, 2)):
            lines = writer.files[path]
            chosen = self.random.choice(writer.anchors if own else range(ANCHORS))
            new = b"line of %s in %s\n" % (name.encode(), path)
            lines.insert(lines.index(anchor(chosen)) + 1, new)
            effect.added.add(new)
            seen = [line for line in lines if line.startswith(b"line") and line != new]
            if seen and self.random.random() < 0.1:
                gone = self.random.choice(seen)
                lines.remove(gone)
                effect.deleted.add(gone)
            oid = self.repo.put_blob(b"".join(lines))
            changes.append(Proposal("put", path, FILE_MODE, oid=oid))
        commit = writer.base if isinstance(writer.base, bytes) else None
        base = writer.base if isinstance(writer.base, str) else None
        return Changeset(
            id=name,
            pack="inbox/p-1",
            slice="all",
            base_commit=commit,
            base_changeset=base,
            author=ADA,
            message="m",
            changes=tuple(changes),
        )

    def land(self, batch: list[Changeset]) -> None:
        linked = self.repo.link(batch, self.bases, self.outcomes)
        assert not linked.deferred
        self.repo.root = linked.root
        self.repo.blobs |= {oid: data for oid, (kind, data) in linked.objects.items() if kind == Kind.BLOB}
        self.outcomes |= {each.id: each for each in linked.decided}

    def run(self) -> None:
        stacked = Writer({path: list(lines) for path, lines in self.start.items()}, self.commit(), range(0, ANCHORS, 4))
        stack: list[Changeset] = []
        for _ in range(DEPTH):
            stack.append(self.change(stacked, own=True))
            stacked.base = stack[-1].id
        others = 0
        while stack or others < OTHERS:
            batch: list[Changeset] = []
            writers = [
                Writer(self.now(), self.commit(), range(1, ANCHORS, 2)) for _ in range(self.random.randint(0, 3))
            ]
            for writer in writers:
                batch.append(self.change(writer, own=self.random.random() < 0.9))
                others += 1
            rest, stack = stack[: (taken := self.random.randint(0, 30))], stack[taken:]
            at = self.random.randint(0, len(batch))
            self.land([*batch[:at], *rest, *batch[at:]])

    def check(self) -> Counter[str]:
        """Compare every file with what landed, and return the outcomes."""
        lines = Counter(line for each in self.now().values() for line in each)
        landed = {name for name, outcome in self.outcomes.items() if outcome.status == "committed"}
        deleted = set().union(*(self.effects[name].deleted for name in landed))
        for name, effect in self.effects.items():
            for line in effect.added:
                expected = 1 if name in landed and line not in deleted else 0
                assert lines[line] == expected, f"{line!r} of {self.outcomes[name].status} {name}: {lines[line]} times"
        for i in range(ANCHORS):
            assert lines[anchor(i)] == len(FILES)
        return Counter(outcome.status for outcome in self.outcomes.values())


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(3, 30))])
def test_no_line_that_landed_is_lost(seed: int) -> None:
    history = History(seed)
    history.run()
    statuses = history.check()
    assert sum(statuses.values()) == history.made >= DEPTH + OTHERS
    assert statuses["committed"] > DEPTH / 2, statuses
    merged = [outcome for outcome in history.outcomes.values() if outcome.merged_count]
    assert len(merged) > 10, "the stack and the others meet in the same files"


def test_the_checker_sees_a_stack_that_takes_the_head_for_what_it_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trap of the design: what somebody else's work was merged into is not what the stack's writer saw."""
    monkeypatch.setattr(Linker, "_base_in_stack", lambda self, base: (self._head, self._head.root))
    history = History(1)
    history.run()
    with pytest.raises(AssertionError, match="line of"):
        history.check()
