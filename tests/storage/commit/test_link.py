"""What a batch decides: three versions and what comes of them, stacks, duplicates, and the proof of its root."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from storage.base.settings import Settings
from storage.commit.prove import RootMismatch, prove
from storage.git.objects import (
    EXECUTABLE_MODE,
    FILE_MODE,
    SUBMODULE_MODE,
    SYMLINK_MODE,
    Commit,
    Kind,
    Version,
    object_id,
)
from storage.git.threeway import ConflictClass, MergeUnavailable, Strategy
from storage.git.trees import walk
from storage.log.manifest import Changeset
from storage.log.records import Outcome, RecordedConflict, Status
from storage.lookup.content_merges import ContentMerges, MergeBudget
from storage.view.snapshot import Slice
from tests.support.link_bench import (
    BASE,
    FILE,
    LINK,
    A,
    B,
    C,
    LinkBench,
    changeset,
    chmod,
    delete,
    put,
)
from tests.support.trees import FILES, Trees

OUTCOMES = [
    # base, head, change, outcome, version afterwards
    (None, None, put(b"f", A), "committed", FILE),
    (None, FILE, put(b"f", A), "committed", FILE),
    (None, FILE, put(b"f", B), "add/add", FILE),
    (FILE, FILE, put(b"f", B), "committed", Version(FILE_MODE, B)),
    (FILE, Version(FILE_MODE, C), put(b"f", B), "content", Version(FILE_MODE, C)),
    (FILE, Version(FILE_MODE, C), put(b"f", A), "committed", Version(FILE_MODE, C)),
    (FILE, Version(FILE_MODE, C), delete(b"f"), "delete/modify", Version(FILE_MODE, C)),
    (FILE, FILE, delete(b"f"), "committed", None),
    (FILE, None, delete(b"f"), "committed", None),
    (FILE, None, put(b"f", B), "delete/modify", None),
    (None, FILE, delete(b"f"), "committed", FILE),
    (FILE, FILE, chmod(b"f", EXECUTABLE_MODE), "committed", Version(EXECUTABLE_MODE, A)),
    (FILE, Version(FILE_MODE, B), chmod(b"f", EXECUTABLE_MODE), "committed", Version(EXECUTABLE_MODE, B)),
    (FILE, Version(EXECUTABLE_MODE, A), put(b"f", B), "committed", Version(EXECUTABLE_MODE, B)),
    (Version(FILE_MODE, B), Version(EXECUTABLE_MODE, A), put(b"f", A), "committed", Version(EXECUTABLE_MODE, A)),
    (Version(SYMLINK_MODE, A), Version(EXECUTABLE_MODE, B), put(b"f", B), "mode", Version(EXECUTABLE_MODE, B)),
    (FILE, Version(SYMLINK_MODE, B), put(b"f", C), "mode", Version(SYMLINK_MODE, B)),
    (None, None, chmod(b"f", EXECUTABLE_MODE), "missing-file", None),
    (
        Version(SUBMODULE_MODE, A),
        Version(SUBMODULE_MODE, A),
        chmod(b"f", FILE_MODE),
        "missing-file",
        Version(SUBMODULE_MODE, A),
    ),
    (LINK, LINK, chmod(b"f", EXECUTABLE_MODE), "missing-file", LINK),
    (LINK, FILE, chmod(b"f", EXECUTABLE_MODE), "missing-file", FILE),
    (FILE, LINK, chmod(b"f", EXECUTABLE_MODE), "mode", LINK),
    (FILE, LINK, chmod(b"f", FILE_MODE), "committed", LINK),
    (FILE, Version(SUBMODULE_MODE, A), chmod(b"f", EXECUTABLE_MODE), "mode", Version(SUBMODULE_MODE, A)),
]


@pytest.mark.parametrize(("base", "head", "change", "outcome", "after"), OUTCOMES)
def test_three_versions_decide_as_in_git(base, head, change, outcome, after) -> None:
    repo = LinkBench({b"f": head} if head else {})
    seen = repo.trees.build({b"f": base} if base else {})
    linked = repo.link([changeset("X", change)], {BASE: seen})
    [decided] = linked.decided
    word = decided.reason or next((conflict.kind for conflict in decided.conflicts), decided.status)
    assert word == outcome
    assert repo.files(linked).get(b"f") == after


@pytest.mark.parametrize("batches", [1, 2])
@pytest.mark.parametrize("kind", [SYMLINK_MODE, SUBMODULE_MODE])
def test_a_mode_cannot_change_once_the_stack_has_made_it_no_file(batches: int, kind: int) -> None:
    repo = LinkBench({b"f": FILE})
    seen = repo.trees.build({b"f": FILE})
    below, above = changeset("A", put(b"f", B, kind)), changeset("B", chmod(b"f", EXECUTABLE_MODE), on="A")
    if batches == 1:
        linked = repo.link([below, above], {BASE: seen})
        decided = linked.decided[1]
    else:
        linked = repo.link([below], {BASE: seen})
        [first] = linked.decided
        repo.root = linked.root
        linked = repo.link([above], {BASE: seen}, outcomes={"A": first})
        [decided] = linked.decided
    assert decided.reason == "missing-file" and "so its mode cannot change" in decided.detail
    assert repo.files(linked)[b"f"] == Version(kind, B)


BY_VERSIONS = [
    # head, change, outcome, version afterwards; the writer saw A
    (FILE, put(b"f", B, base=A), "committed", Version(FILE_MODE, B)),
    (Version(FILE_MODE, B), put(b"f", A, EXECUTABLE_MODE, base=A), "committed", Version(EXECUTABLE_MODE, B)),
    (Version(FILE_MODE, B), replace(chmod(b"f", EXECUTABLE_MODE), base=A), "committed", Version(EXECUTABLE_MODE, B)),
    (Version(EXECUTABLE_MODE, A), put(b"f", B, EXECUTABLE_MODE, base=A), "committed", Version(EXECUTABLE_MODE, B)),
    (None, replace(chmod(b"f", EXECUTABLE_MODE), base=A), "delete/modify", None),
    (LINK, replace(chmod(b"f", EXECUTABLE_MODE), base=A), "missing-file", LINK),
    (LINK, replace(chmod(b"f", EXECUTABLE_MODE), base=A, base_mode=FILE_MODE), "mode", LINK),
    (Version(SYMLINK_MODE, B), replace(chmod(b"f", EXECUTABLE_MODE), base=A), "mode", Version(SYMLINK_MODE, B)),
    (Version(SUBMODULE_MODE, B), replace(chmod(b"f", EXECUTABLE_MODE), base=A), "mode", Version(SUBMODULE_MODE, B)),
    (None, put(b"f", A, base=A), "delete/modify", None),
    (None, delete(b"f", base=A), "committed", None),
    (Version(FILE_MODE, B), delete(b"f", base=A), "delete/modify", Version(FILE_MODE, B)),
]


@pytest.mark.parametrize(("head", "change", "outcome", "after"), BY_VERSIONS)
def test_what_was_seen_by_versions_counts_and_no_change_of_mode_is_lost(head, change, outcome, after) -> None:
    repo = LinkBench({b"f": head} if head else {})
    linked = repo.link([changeset("X", change, on=None)])
    [decided] = linked.decided
    word = decided.reason or next((conflict.kind for conflict in decided.conflicts), decided.status)
    assert word == outcome
    assert repo.files(linked).get(b"f") == after
    for conflict in decided.conflicts:
        assert conflict.base.mode != "000000"


def test_what_a_mode_change_takes_over_is_never_its_content() -> None:
    """`theirs` is about the mode; the id that its writer names may be another's old content, or stored nowhere."""
    nowhere = object_id(Kind.BLOB, b"nowhere")
    for base, on in ((nowhere, None), (None, BASE)):
        repo = LinkBench({b"f": Version(FILE_MODE, B)})
        change = replace(chmod(b"f", EXECUTABLE_MODE), base=base, strategy=Strategy.THEIRS)
        linked = repo.link([changeset("X", change, on=on)], {BASE: repo.trees.build({b"f": FILE})})
        assert repo.files(linked) == {b"f": Version(EXECUTABLE_MODE, B)}
    for head in ({}, {b"f": Version(SYMLINK_MODE, B)}):
        repo = LinkBench(head)
        change = replace(chmod(b"f", EXECUTABLE_MODE), base=nowhere, strategy=Strategy.THEIRS)
        assert repo.link([changeset("X", change, on=None)]).decided[0].status == "conflicted"


CONFLICT = Outcome(
    status=Status.CONFLICTED, slice="all", pack="inbox/p-1", seq=1, index=0, conflict_count=1,
    conflicts=(RecordedConflict(path="f", kind="content", base=None, head=None, submitted=None),),
)  # fmt: skip


@pytest.mark.parametrize(
    ("closed", "second"), [({}, "rejected"), ({"C": "expired"}, "rejected"), ({"C": "abandoned"}, "rejected")]
)
def test_a_conflicted_changeset_has_one_successor_an_abandoned_one_none(closed, second) -> None:
    repo = LinkBench({b"f": FILE})
    batch = [
        replace(changeset("A", put(b"f", B)), resolves="C"),
        replace(changeset("B", put(b"g", C)), resolves="C"),
        replace(changeset("D", put(b"g", C)), resolves="another"),
    ]
    linked = repo.link(batch, {BASE: repo.root}, outcomes={"C": CONFLICT}, closed=closed)
    abandoned = "abandoned" in closed.values()
    assert [each.status for each in linked.decided] == [
        "rejected" if abandoned else "committed",
        second,
        "committed",
    ]
    assert [each.closes is not None for each in linked.decided] == [not abandoned, False, False]
    by = "abandoned" if abandoned else "A"
    assert linked.decided[1].reason == "conflict-closed" and linked.decided[1].detail.endswith(f"before: {by}")


def test_a_successor_that_conflicts_is_not_followed_by_another() -> None:
    repo = LinkBench({b"f": FILE})
    seen = repo.trees.build({})
    batch = [replace(changeset(name, put(b"f", oid)), resolves="C") for name, oid in (("A", B), ("B", C))]
    first, second = repo.link(batch, {BASE: seen}, outcomes={"C": CONFLICT}).decided
    assert (first.status, first.closes.id) == ("conflicted", "C")
    assert (second.status, second.reason, second.closes) == ("rejected", "conflict-closed", None)


def test_a_stack_on_versions_cannot_delete_what_none_of_it_saw() -> None:
    repo = LinkBench({b"f": FILE, b"g": FILE})
    batch = [
        changeset("1", put(b"f", B, base=A), on=None),
        changeset("2", delete(b"f"), on="1"),
        changeset("3", delete(b"g"), on="2"),
        changeset("4", delete(b"nothing"), on="2"),
    ]
    linked = repo.link(batch)
    assert [each.status for each in linked.decided] == ["committed", "committed", "rejected", "committed"]
    assert linked.decided[2].reason == "missing-file" and list(repo.files(linked)) == [b"g"]


def test_of_a_changeset_with_a_file_too_large_nothing_more_is_merged() -> None:
    asked = []

    def merge(three, read):
        asked.append(three)
        return ConflictClass.TOO_LARGE if len(asked) == 2 else b"merged"

    names = [b"a", b"b", b"c", b"d"]
    repo = LinkBench({name: Version(FILE_MODE, C) for name in names})
    repo.merge = merge
    seen = repo.trees.build(dict.fromkeys(names, FILE))
    batch = [changeset("X", *(put(name, B) for name in names)), changeset("Y", put(b"a", B))]
    linked = repo.link(batch, {BASE: seen})
    assert [each.kind for each in linked.decided[0].conflicts] == ["too-large"] * 3
    assert linked.decided[1].status == "committed" and len(asked) == 3


def test_merges_that_take_too_long_wait_for_another_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    merges = ContentMerges(Settings())
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr("storage.lookup.content_merges.time", SimpleNamespace(monotonic=lambda: next(clock)))
    budget = MergeBudget(merges, 15)
    repo = LinkBench({})
    threes = [(None, repo.put_blob(b"%d" % i), repo.put_blob(b"")) for i in range(3)]
    for three in threes[:2]:
        budget(three, repo.blobs.__getitem__)
    with pytest.raises(MergeUnavailable):
        budget(threes[2], repo.blobs.__getitem__)
    assert budget(threes[0], repo.blobs.__getitem__) == b"0", "what is known costs nothing"


def test_a_changeset_whose_contents_cannot_be_merged_now_waits_alone() -> None:
    def unavailable(three, read):
        raise MergeUnavailable("git is away")

    repo = LinkBench({b"f": Version(FILE_MODE, C)})
    repo.merge = unavailable
    seen = repo.trees.build({b"f": FILE})
    batch = [changeset("X", put(b"f", B)), changeset("Y", put(b"g", B)), changeset("Z", put(b"h", B), on="X")]
    linked = repo.link(batch, {BASE: seen})
    assert linked.deferred == ["X", "Z"] and [each.id for each in linked.decided] == ["Y"]


def test_all_or_nothing_for_a_changeset() -> None:
    repo = LinkBench({b"f": Version(FILE_MODE, C)})
    seen = repo.trees.build({b"f": FILE})
    linked = repo.link([changeset("X", put(b"f", B), put(b"g", B))], {BASE: seen})
    assert linked.decided[0].status == "conflicted" and linked.root == repo.root and not linked.objects


def test_a_file_becomes_a_directory_and_back_with_the_deletes_beside_it() -> None:
    repo = LinkBench({b"a": FILE})
    there = changeset("X", delete(b"a"), put(b"a/b", B))
    back = changeset("Y", delete(b"a/b"), put(b"a", C), on="X")
    linked = repo.link([there, back], {BASE: repo.root})
    assert [each.status for each in linked.decided] == ["committed", "committed"]
    assert repo.files(linked) == {b"a": Version(FILE_MODE, C)}


def test_a_seen_file_in_the_way_is_refused_and_a_newer_one_conflicts() -> None:
    repo = LinkBench({b"a/b": FILE})
    seen = linked = repo.link([changeset("X", put(b"a", B))], {BASE: repo.root})
    assert seen.decided[0].reason == "in-the-way"
    linked = repo.link([changeset("X", put(b"a", B))], {BASE: repo.trees.build({})})
    [conflict] = linked.decided[0].conflicts
    assert conflict.kind == "directory/file" and conflict.blocker == "a/b"


def test_by_versions_the_id_that_was_seen_decides() -> None:
    repo = LinkBench({b"f": FILE})
    good = changeset("X", put(b"f", B, base=A), put(b"new", C), on=None)
    late = changeset("Y", put(b"f", C, base=A), on=None)
    linked = repo.link([good, late])
    assert [each.status for each in linked.decided] == ["committed", "conflicted"]


#   base ── X ── Y ── Z      X, Y, Z: one writer's stack
#     └──── other ────┘      other: somebody else's, landed in between
def test_a_stack_sees_what_its_writer_saw_and_nothing_that_others_landed() -> None:
    repo = LinkBench({b"f": FILE, b"g": FILE})
    x = changeset("X", put(b"f", B))
    other = changeset("other", put(b"g", B))
    y = changeset("Y", put(b"f", C), on="X")
    z = changeset("Z", put(b"g", C), on="Y")
    linked = repo.link([x, other, y, z], {BASE: repo.root})
    assert [each.status for each in linked.decided] == ["committed", "committed", "committed", "conflicted"]
    assert repo.files(linked) == {b"f": Version(FILE_MODE, C), b"g": Version(FILE_MODE, B)}


@given(st.lists(FILES, min_size=2, max_size=6), st.integers(1, 5))
@pytest.mark.long
def test_a_stack_in_many_batches_ends_like_the_stack_in_one(states: list[dict], cut: int) -> None:
    def stack() -> list[Changeset]:
        made = []
        for i, (old, new) in enumerate(itertools.pairwise(states)):
            changes = [delete(path) for path in old.keys() - new.keys()]
            changes += [put(path, version.oid, version.mode) for path, version in new.items()]
            made.append(changeset(f"C{i}", *changes, on=f"C{i - 1}" if i else BASE))
        return made

    other = changeset("other", put(b"zz/other", C))
    whole = LinkBench(states[0])
    one = whole.link([other, *stack()], {BASE: whole.root})
    assert {each.status for each in one.decided} == {"committed"}

    parts = LinkBench(states[0])
    seen = parts.root
    outcomes: dict = {}
    rest = [other, *stack()]
    while rest:
        batch, rest = rest[:cut], rest[cut:]
        linked = parts.link(batch, {BASE: seen}, outcomes)
        outcomes |= {each.id: each for each in linked.decided}
        parts.root = linked.root
    assert {each.status for each in outcomes.values()} == {"committed"}
    assert parts.root == one.root


def test_an_undecided_base_is_waited_for_and_a_failed_one_is_a_reason() -> None:
    repo = LinkBench({})
    waits = changeset("W", put(b"f", A), on="unknown")
    linked = repo.link([waits])
    assert linked.deferred == ["W"] and not linked.decided
    linked = repo.link([waits], outcomes={"unknown": CONFLICT})
    assert linked.decided[0].reason == "base-not-landed"


def test_a_second_changeset_with_a_key_is_rejected_and_names_the_first() -> None:
    repo = LinkBench({})
    first, second = changeset("1", put(b"f", A), key="k"), changeset("2", put(b"g", A), key="k")
    linked = repo.link([first, second], {BASE: repo.root})
    assert linked.decided[1].reason == "duplicate" and "1" in linked.decided[1].detail
    linked = repo.link([second], {BASE: repo.root}, keys={"k": "1"})
    assert linked.decided[0].reason == "duplicate" and linked.decided[0].first == "1"


@pytest.mark.parametrize("batches", [1, 2, 3])
def test_a_stack_on_a_repeat_stands_on_the_first(batches: int) -> None:
    """The answer to 1 was lost with the API; its client was given 2 for the repeat, and goes on from there."""
    repo = LinkBench({b"f": FILE})
    order = [
        changeset("1", put(b"f", B), key="k"),
        changeset("2", put(b"f", B), key="k"),
        changeset("3", put(b"f", C), on="2"),
        changeset("4", put(b"g", C), on="3"),
    ]
    outcomes: dict = {}
    for part in ([order], [order[:2], order[2:]], [order[:1], order[1:3], order[3:]])[batches - 1]:
        linked = repo.link(part, {BASE: repo.root}, outcomes, keys={"k": "1"} if outcomes else {})
        repo.root = linked.root
        outcomes |= {each.id: each for each in linked.decided}
    assert [outcomes[each].status for each in "1234"] == ["committed", "rejected", "committed", "committed"]
    assert dict(walk(repo.trees.read, repo.root)) == {b"f": Version(FILE_MODE, C), b"g": Version(FILE_MODE, C)}


def test_a_stack_on_another_request_with_a_used_key_is_rejected() -> None:
    repo = LinkBench({b"f": FILE})
    first = changeset("1", put(b"f", B), key="k")
    other = replace(changeset("2", put(b"f", C), key="k"), fingerprint="another")
    linked = repo.link([first, other, changeset("3", put(b"f", A), on="2")], {BASE: repo.root})
    assert linked.decided[2].reason == "base-not-landed"


def test_changesets_are_decided_by_their_slices_definition_at_the_snapshot() -> None:
    repo = LinkBench({})
    only_a = {"all": Slice("all", "all", frozenset([b"a/"]), 2)}
    linked = repo.link([changeset("X", put(b"b", A))], {BASE: repo.root}, slices=only_a)
    assert linked.decided[0].reason == "outside-slice"
    linked = repo.link([changeset("X", put(b"b", A))], {BASE: repo.root}, slices={})
    assert linked.decided[0].reason == "no-such-slice"


def test_what_is_decided_already_is_not_decided_again() -> None:
    repo = LinkBench({})
    linked = repo.link([changeset("X", put(b"b", A))], {BASE: repo.root}, {"X": {"status": "committed"}})
    assert not linked.decided and not linked.objects


def test_a_changeset_that_changes_nothing_becomes_an_empty_commit() -> None:
    repo = LinkBench({b"f": FILE})
    linked = repo.link([changeset("X", put(b"f", A))], {BASE: repo.root})
    assert linked.committed == 1 and linked.root == repo.root and len(linked.objects) == 1


def test_a_commit_is_never_older_than_its_parent_and_carries_one_trailer() -> None:
    repo = LinkBench({})
    linked = repo.link([changeset("X", put(b"f", A))], {BASE: repo.root}, tip_time=10**9)
    commit = Commit.parse(linked.objects[linked.tip][1])
    assert commit.committer.time == 10**9 and commit.message == "m\n\nChangeset-Id: X\n"


def test_linking_twice_on_one_snapshot_gives_the_same_bytes() -> None:
    one, two = LinkBench({b"f": FILE}), LinkBench({b"f": FILE})
    batch = [changeset("X", put(b"f", B)), changeset("Y", put(b"g/h", B), on="X")]
    first, second = one.link(batch, {BASE: one.root}), two.link(batch, {BASE: two.root})
    assert first.decided == second.decided and first.objects == second.objects


@pytest.mark.parametrize("wrong", [{b"f": Version(FILE_MODE, C)}, {b"f": FILE, b"g": FILE}, {}])
def test_a_root_that_is_not_exactly_the_batchs_changes_is_never_committed(wrong: dict) -> None:
    trees = Trees()
    old = trees.build({b"f": FILE, b"keep": FILE})
    new = trees.build({b"f": Version(FILE_MODE, B), b"keep": FILE})
    prove(trees.read, old, new, {b"f": Version(FILE_MODE, B)})
    with pytest.raises(RootMismatch):
        prove(trees.read, old, trees.build({b"keep": FILE} | wrong), {b"f": Version(FILE_MODE, B)})
    with pytest.raises(RootMismatch):
        prove(trees.read, old, trees.build({b"f": Version(FILE_MODE, B)}), {b"f": Version(FILE_MODE, B)})
