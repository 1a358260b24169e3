"""Steps are told in the order of the log, once everything before them has landed, whoever begins wherever."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from storage.base.ids import ChangesetId, PackId, Seq, SliceId
from storage.log import entry as entries_of_the_log
from storage.log.entry import Commits, Definition, Entry, Genesis, Merge, Slices, Tags, log_position
from storage.log.kinds.git import TagChange
from storage.log.records import Decided, MergedFile, RecordedChange, Status
from storage.projection.follow import (
    EVERYTHING,
    DefinitionChanged,
    Follower,
    Landed,
    Published,
    Redefined,
    Shrunk,
    Step,
    begun,
)

DOCS = SliceId("docs")


def oid(number: int) -> str:
    return f"{number:040x}"


def commits(*paths_of: list[str] | None, seq: int, published: bool = False) -> Commits:
    """An entry of changesets: the paths that each changes, None for one that is rejected."""
    decided = tuple(
        Decided(
            id=ChangesetId(f"c{seq}.{i}"), slice=DOCS, pack=PackId("inbox/x-1"),
            status=Status.REJECTED if paths is None else Status.COMMITTED,
            commit=None if paths is None else oid(100 * seq + i),
            changes=tuple(RecordedChange(path, 0, None) for path in paths or ()),
        )
        for i, paths in enumerate(paths_of)
    )  # fmt: skip
    merged = (
        entries_of_the_log.Published(commit=oid(9), parent=oid(9), time=1, changesets=1, merged=1)
        if published
        else None
    )
    return Commits(packs=(), decided=decided, tip=oid(seq), root=oid(1), time=1, committed=1, published=merged)


def merge(through: int) -> Merge:
    return Merge(
        packs=(), commit=oid(9), tree=oid(9), time=1, parents=(oid(9), oid(through)), first=Seq(1),
        through=Seq(through), changesets=1, merged=1,
    )  # fmt: skip


def defines(version: int, *paths: str) -> Slices:
    return Slices(define=(Definition(id=DOCS, name="docs", paths=paths, version=version),), time=77)


def follow(follower: Follower, entries: Iterable[Entry], first: int = 2) -> list[tuple[int, Step]]:
    told = []
    for seq, entry in enumerate(entries, first):
        for settled in follower.add(replace(entry, seq=Seq(seq)), f"h{seq}"):
            told += [(seq, step) for step in settled.steps]
    return told


def docs(version: int = 1, last: int = 1, *paths: bytes) -> Follower:
    return Follower(frozenset(paths or [b"docs/"]), DOCS, version, last)


def test_a_commit_is_told_with_the_entry_that_lands_it():
    entries = [commits(["docs/a"], seq=2), commits(["docs/b"], seq=3), merge(2), merge(3)]
    told = follow(docs(), entries)
    assert [(seq, step.position) for seq, step in told] == [(4, log_position(2, 0)), (5, log_position(3, 0))]
    assert [step.commit.hex() for _, step in told] == [oid(200), oid(300)]


def test_a_batch_that_brings_its_global_commit_is_told_at_once():
    [(seq, step)] = follow(docs(), [commits(["docs/a"], seq=2, published=True)])
    assert seq == 2 and isinstance(step, Landed)


def test_what_commits_nothing_waits_for_nobody():
    told = follow(docs(), [commits(None, seq=2), defines(1, "docs/"), commits(["docs/a"], seq=4, published=True)])
    assert [seq for seq, _ in told] == [4]


def test_a_commit_without_the_slices_paths_is_none_of_its_steps():
    [(_, step)] = follow(docs(), [commits(["x"], ["docsx"], ["docs/a", "y"], None, seq=2, published=True)])
    assert (step.position, step.paths) == (log_position(2, 2), (b"docs/a",))


def test_a_path_that_was_merged_counts_as_changed():
    entry = commits(["x"], seq=2, published=True)
    merged = replace(entry.decided[0], merged=(MergedFile("docs/moved", 0o100644, oid(1)),))
    [(_, step)] = follow(docs(), [replace(entry, decided=(merged,))])
    assert step.paths == (b"docs/moved",)


def test_the_whole_has_each_commit_and_the_first_one():
    genesis = Genesis(packs=(), commit=oid(1), tree=oid(0), time=1)
    told = follow(Follower(EVERYTHING), [genesis, commits([], ["x"], seq=2, published=True)], first=1)
    assert [step.commit.hex() for _, step in told] == [oid(1), oid(200), oid(201), oid(9)]
    assert isinstance(told[-1][1], Published)


def test_tags_are_the_wholes_alone_and_wait_for_what_was_committed_before_them():
    changes = (TagChange(name="v1", id=oid(200)), TagChange(name="old", was=oid(7)))
    entries = [commits(["docs/a"], seq=2), Tags(changed=changes, time=1), merge(2)]
    assert [type(step) for _, step in follow(docs(), entries)] == [Landed]
    *_, (seq, tagged), (_, published) = follow(Follower(EVERYTHING), entries)
    assert seq == 4 and isinstance(published, Published)
    assert tagged == (((("v1", bytes.fromhex(oid(200))), ("old", None))),)


def test_a_definition_waits_for_what_was_committed_before_it_and_counts_for_what_comes_behind():
    entries = [commits(["more/a"], seq=2), defines(2, "docs/", "more/"), commits(["more/b"], seq=4), merge(2), merge(4)]
    told = follow(docs(1, 2), entries)
    assert [(seq, step.position) for seq, step in told] == [(5, log_position(3, 0)), (6, log_position(4, 0))]
    redefined = told[0][1]
    assert isinstance(redefined, Redefined)
    assert (redefined.version, redefined.commit.hex(), redefined.time) == (2, oid(2), 77)
    assert redefined.paths == {b"docs/", b"more/"}


def test_steps_are_the_same_wherever_one_begins_and_whenever_one_stops():
    entries = [
        commits(["docs/a"], seq=2), defines(2, "docs/", "more/"), commits(["more/a"], ["x"], seq=4), merge(2),
        commits(["docs/b"], seq=6), merge(4), defines(3, "docs/", "more/", "x"), merge(6), commits(["x"], seq=10),
        merge(10),
    ]  # fmt: skip
    [*whole] = [step for _, step in follow(docs(1, 3), entries)]
    for stop in range(len(entries) + 1):
        first = docs(1, 3)
        settled, paths, version, tip, steps = 1, frozenset([b"docs/"]), 1, None, []
        for seq, entry in enumerate(entries[:stop], 2):
            for each in first.add(replace(entry, seq=Seq(seq)), ""):
                settled, tip = each.seq, each.tip
                steps += each.steps
                for step in each.steps:
                    if isinstance(step, Redefined):
                        paths, version = step.paths, step.version
        rest = Follower(paths, DOCS, version, 3, tip)
        steps += [step for _, step in follow(rest, entries[settled - 1 :], settled + 1)]
        assert steps == whole, stop


def test_a_definition_that_is_newer_or_narrower_ends_it():
    with pytest.raises(DefinitionChanged):
        follow(docs(1, 1), [defines(2, "docs/", "more/")])
    with pytest.raises(Shrunk):
        follow(docs(1, 2), [defines(2, "docs/a/")])
    other = Definition(id=SliceId("other"), name="other", paths=("x",), version=5)
    assert follow(docs(), [Slices(define=(other,))]) == []


@pytest.mark.parametrize(
    ("definitions", "version", "start"),
    [
        ([["a/"]], 1, (1, {b"a/"})),
        ([["a/"], ["a/", "b/"]], 2, (1, {b"a/"})),
        ([["a/", "b/"], ["a/"]], 2, (2, {b"a/"})),
        ([["a/", "b/"], ["a/"]], 1, (1, {b"a/", b"b/"})),
        ([["a/", "b/"], ["a/"], ["a/", "b/"]], 3, (2, {b"a/"})),
        ([["a/"], ["/"], ["b/"], ["b/", "c"]], 4, (3, {b"b/"})),
        ([["a/b/"], ["a/"], ["a/", "a/b/"], ["a/"]], 4, (1, {b"a/b/"})),
        ([["a/"]], 2, None),
    ],
)
def test_a_projection_begins_with_the_last_definition_that_took_paths_away(definitions, version, start):
    log = [defines(number, *paths) for number, paths in enumerate(definitions, 1)]
    assert begun(log, DOCS, version) == start
