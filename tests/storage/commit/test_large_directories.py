"""The cost of many paths in one directory is that of the directory plus that of the paths, and never their product."""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.base.ids import ChangesetId, ObjectId, SliceId
from storage.commit.footprint import LookUps, portion
from storage.commit.prove import RootMismatch, prove
from storage.git import tree_editor
from storage.git.objects import EXECUTABLE_MODE, FILE_MODE, Kind, Tree, Version, object_id
from storage.git.tree_editor import TreeEditor
from storage.git.trees import diff, lookup, lookup_many, sizes, walk
from storage.log.manifest import Changeset, Proposal
from tests.support.link_bench import ADA, BASE, FILE, A, B, LinkBench, changeset, chmod, delete, put
from tests.support.trees import FILES, PATHS, Trees

ROWS, NEW = 30_000, 10_000
OLD_FILES = {b"dir/old%05d" % i: FILE for i in range(ROWS)}


class Counted(Trees):
    """Trees that count how often each was read, which is to parse it."""

    def __init__(self) -> None:
        super().__init__()
        self.of: Counter[ObjectId] = Counter()

    def read(self, oid: ObjectId) -> Tree:
        self.of[oid] += 1
        return super().read(oid)

    def most(self) -> int:
        """Return how often the tree was read that was read most often."""
        return max(self.of.values())


@cache
def old_files() -> tuple[Trees, ObjectId]:
    """Return the trees of `OLD_FILES`, and the root of them; nobody writes to them."""
    trees = Trees()
    return trees, trees.build(OLD_FILES)


def with_old_files() -> tuple[Counted, ObjectId]:
    """Return trees of a test's own, in which nothing was read yet, and the root that has `OLD_FILES`."""
    built, root = old_files()
    trees = Counted()
    trees.update(built)
    return trees, root


@pytest.fixture
def repo() -> LinkBench:
    """A repository with a directory of many files, in which nothing was read yet."""
    made = LinkBench({})
    made.trees, made.root = with_old_files()
    return made


CHANGES = {
    "new files": [put(b"dir/new%05d" % i, A) for i in range(NEW)],
    "files rewritten": [put(b"dir/old%05d" % i, B) for i in range(NEW)],
    "files deleted": [delete(b"dir/old%05d" % i) for i in range(NEW)],
    "modes changed": [chmod(b"dir/old%05d" % i, EXECUTABLE_MODE) for i in range(NEW)],
}


@pytest.mark.parametrize("what", CHANGES)
def test_ten_thousand_changes_read_a_directory_once_to_link_and_to_prove(repo: LinkBench, what: str) -> None:
    linked = repo.link([changeset("X", *CHANGES[what])], {BASE: repo.root})
    assert linked.committed == 1
    _, old = old_files()
    # Linked on the very tree that its writer saw: the directory is looked up as the base's, edited as the head's, and
    # compared by the proof.
    assert repo.trees.of[old] <= 3 and repo.trees.most() <= 3


def test_a_hundred_changesets_in_one_directory_read_it_once(repo: LinkBench) -> None:
    changesets = [changeset(f"X{i:03d}", put(b"dir/new%03d" % i, A)) for i in range(100)]
    assert repo.link(changesets, {BASE: repo.root}).committed == 100
    assert repo.trees.most() <= 3


def test_proving_reads_each_directory_once_in_either_tree() -> None:
    trees, old_root = with_old_files()
    new = dict(OLD_FILES) | {b"dir/new%05d" % i: FILE for i in range(NEW)}
    new_root = trees.build(new)
    trees.of.clear()
    prove(trees.read, old_root, new_root, dict.fromkeys(new.keys() - OLD_FILES.keys(), FILE))
    assert trees.most() == 1 and len(trees.of) == 4, "both roots, and the directory in both"


def test_a_proof_finds_what_was_left_out_is_missing_or_differs() -> None:
    trees = Trees()
    old, new = trees.build({b"d/a": FILE, b"d/b": FILE}), trees.build({b"d/a": FILE, b"d/b": FILE, b"d/c": FILE})
    other = Version(FILE_MODE, B)
    prove(trees.read, old, new, {b"d/c": FILE, b"d/a": FILE, b"d/x": None})
    for net, paths in (
        ({}, [b"d/c"]),
        ({b"d/c": other}, [b"d/c"]),
        ({b"d/c": None}, [b"d/c"]),
        ({b"d/c": FILE, b"d/a": other}, [b"d/a"]),
        ({b"d/c": FILE, b"d/b": None}, [b"d/b"]),
    ):
        with pytest.raises(RootMismatch) as raised:
            prove(trees.read, old, new, net)
        assert raised.value.paths == paths


def test_a_difference_reads_each_directory_once_in_either_tree() -> None:
    trees, old_root = with_old_files()
    new_root = trees.build(OLD_FILES | {b"dir/n%05d" % i: FILE for i in range(NEW)})
    trees.of.clear()
    assert sum(1 for _ in diff(trees.read, old_root, new_root)) == NEW
    assert trees.most() == 1


@given(FILES, st.lists(PATHS, max_size=10))
def test_many_look_ups_equal_single_ones_and_read_each_directory_once(files: dict, paths: list[bytes]) -> None:
    trees = Counted()
    root = trees.build(files)
    found = lookup_many(trees.read, root, paths)
    reads = trees.of.copy()
    assert found == {path: lookup(trees.read, root, path) for path in paths}
    # One tree may stand at several paths.
    places = {path.rpartition(b"/")[0] for path in files} | {path[: path.find(b"/")] for path in files if b"/" in path}
    assert sum(reads.values()) <= 1 + len({d[:i] for d in places for i in range(1, len(d) + 1)}), (
        "no path is its own read"
    )


@given(FILES, st.lists(FILES, min_size=1, max_size=3), st.sampled_from([0, 1, 1000]))
def test_merged_changes_and_changes_one_by_one_give_the_same_tree(start: dict, states: list[dict], few: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree_editor, "_FEW", few)
        trees = Trees()
        editor, now = TreeEditor(trees.read, trees.build(start)), start
        for state in states:
            editor.change({**dict.fromkeys(now.keys() - state.keys()), **state})
            now = state
            assert editor.write(trees.emit) == Trees().build(state)


def test_an_editor_knows_how_many_bytes_it_has_still_to_write() -> None:
    trees = Trees()
    editor = TreeEditor(trees.read, trees.build({b"d/a": FILE, b"d/b": FILE, b"e/c": FILE}))
    assert editor.unwritten == 0
    editor.change({b"d/a": None, b"d/bb": FILE, b"e/nothing": None})
    written: list[bytes] = []
    unwritten = editor.unwritten
    editor.write(lambda oid, data: written.append(data))
    assert unwritten == sum(map(len, written)) > 0 and editor.unwritten == 0, "the root and d, not e"


@given(FILES, PATHS)
def test_a_page_begins_behind_any_path_whether_it_is_there_or_not(files: dict, after: bytes) -> None:
    trees = Trees()
    root = trees.build(files)
    whole = list(walk(trees.read, root))
    assert list(walk(trees.read, root, after)) == [each for each in whole if each[0] > after]


class Unlisted(list):
    """A list that nobody may go through from its beginning."""

    def __iter__(self):
        raise AssertionError("all rows were gone through")


def test_a_page_in_a_large_directory_does_not_read_the_rows_before_it() -> None:
    trees, root = with_old_files()

    def read(oid: ObjectId) -> Tree:
        tree = trees.read(oid)
        return Tree(Unlisted(tree.keys), Unlisted(tree.rows), tree.size)

    page = list(islice(walk(read, root, b"dir/old29990"), 3))
    assert [path for path, _ in page] == [b"dir/old29991", b"dir/old29992", b"dir/old29993"]


def test_a_batch_takes_no_further_changeset_having_made_its_bytes(repo: LinkBench) -> None:
    changesets = [changeset(f"X{i:03d}", put(b"dir/new%03d" % i, A)) for i in range(40)]
    directory = len(repo.trees[repo.trees.build({path[4:]: version for path, version in OLD_FILES.items()})])
    linked = repo.link(changesets, {BASE: repo.root}, max_bytes=10 * directory)
    assert 10 <= linked.committed <= 11
    assert linked.left == [each.id for each in changesets[linked.committed :]], "the others, in their order"
    assert sum(len(data) for _, data in linked.objects.values()) < 12 * directory


def test_what_stacks_have_still_to_write_counts_for_a_batchs_bytes(repo: LinkBench) -> None:
    stack = [
        changeset(f"X{i:03d}", put(b"dir/new%03d" % i, A), on=BASE if i < 30 else f"X{i - 30:03d}") for i in range(60)
    ]
    other = repo.trees.build({**OLD_FILES, b"other": FILE})
    repo.root, seen = other, repo.root
    directory = len(repo.trees[repo.trees.build({path[4:]: version for path, version in OLD_FILES.items()})])
    linked = repo.link(stack, {BASE: seen}, max_bytes=40 * directory)
    assert 30 < linked.committed < 60 and linked.left
    assert sum(len(data) for _, data in linked.objects.values()) < 43 * directory


def test_one_changeset_is_taken_however_large(repo: LinkBench) -> None:
    linked = repo.link(
        [changeset("X", put(b"dir/new", A)), changeset("Y", put(b"y", A))], {BASE: repo.root}, max_bytes=1
    )
    assert linked.committed == 1 and linked.left == ["Y"]


def test_a_batch_ends_early_where_it_is_told_to_and_never_with_nothing(repo: LinkBench) -> None:
    changesets = [changeset(f"X{i}", put(b"dir/new%d" % i, A)) for i in range(3)]
    linked = repo.link(changesets, {BASE: repo.root}, enough=lambda: True)
    assert linked.committed == 1 and linked.left == ["X1", "X2"]


def test_look_ups_in_ever_more_trees_keep_only_as_many_as_have_room() -> None:
    trees = Counted()
    roots = [trees.build({b"d/f%04d" % i: FILE for i in range(1000)} | {b"d/own%d" % n: FILE}) for n in range(20)]
    memory = trees.read(roots[0]).memory + trees.read(lookup(trees.read, roots[0], b"d").oid).memory
    look_ups = LookUps(trees.read, 3 * memory)
    trees.of.clear()
    for n, root in enumerate(roots):
        for _ in range(2):
            assert look_ups[root].get(b"d/own%d" % n) == FILE
        assert len(look_ups._editors) <= 5
    assert trees.most() == 1, "and each is read once while it is there"


def asks(name: str, where: str, *paths: bytes) -> Changeset:
    changes = tuple(Proposal("put", path, FILE_MODE, oid=A) for path in paths)
    return Changeset(
        id=ChangesetId(name),
        pack="inbox/p-1",
        slice=SliceId(where),
        base_commit=BASE,
        author=ADA,
        message="m",
        changes=changes,
        key=None,
        fingerprint="f",
    )


def test_a_batch_takes_small_changesets_beside_a_queue_of_large_ones() -> None:
    large = [asks(f"A{i}", "large", b"big/f%d" % i) for i in range(50)]
    small = [asks(f"B{i}", "small", b"few/f%d" % i) for i in range(5)]
    taken = portion([*large, *small], {b"": 100, b"big/": 1 << 20, b"few/": 200}, 8 << 20)
    assert [each.id for each in taken] == [*(f"A{i}" for i in range(7)), *(f"B{i}" for i in range(5))]


def test_slices_take_turns_and_the_one_that_waited_longest_is_first() -> None:
    queues = [asks(f"{i}-{where}", where, b"big/%d" % i) for where in ("c", "a", "b") for i in range(4)]
    taken = portion(queues, {b"big/": 10}, 40)
    assert {each.id for each in taken} == {"0-a", "0-b", "0-c", "1-a"}
    assert [each.id for each in portion(queues, {b"big/": 10}, 1)] == ["0-a"], "one at least"


def test_a_changeset_costs_each_directory_on_its_paths_once() -> None:
    trees = Counted()
    root = trees.build({b"a/b/f%d" % i: FILE for i in range(50)} | {b"a/c/g": FILE})
    trees.of.clear()
    found = sizes(trees.read, root, [b"a/b/f1", b"a/b/new", b"a/new/x", b"top", b"a/c/g"])
    assert found.keys() == {b"", b"a/", b"a/b/", b"a/c/"} and trees.most() == 1
    cost = found[b""] + found[b"a/"] + found[b"a/b/"]
    two = [asks("A", "s", b"a/b/f1", b"a/b/f2"), asks("B", "s", b"a/b/f3")]
    assert len(portion(two, found, 2 * cost)) == 2 and len(portion(two, found, 2 * cost - 1)) == 1


def test_the_memory_of_a_tree_is_about_what_python_takes() -> None:
    import tracemalloc

    data = b"".join(b"100644 name-of-thirty-bytes-%08d\0" % i + object_id(Kind.BLOB, b"%d" % i) for i in range(20_000))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tree = Tree.parse(data)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.7 * taken < tree.memory < 1.5 * taken
