"""Reduced trees are those that the files themselves make; what is new in them is told, at the cost of the change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from storage.base.ids import ObjectId
from storage.git.objects import EMPTY_TREE, FILE_MODE, SUBMODULE_MODE, Kind, Tree, Version, object_id
from storage.git.trees import covers, walk
from storage.projection.slice_trees import SliceTrees, added, grows, on_top
from tests.support.trees import FILES, PATHS, VERSIONS, Files, Trees, consistent

SLICE_PATHS = st.sets(st.one_of(PATHS, PATHS.map(lambda path: path + b"/"), st.just(b"/")), min_size=1, max_size=4).map(
    frozenset
)
EDITS = st.lists(st.dictionaries(PATHS, st.one_of(VERSIONS, st.none()), max_size=4), max_size=6)


class Counted(Trees):
    """Stored trees that are read several at a time."""

    def read_many(self, oids: Sequence[ObjectId]) -> Mapping[ObjectId, Tree]:
        return {oid: self.read(oid) for oid in oids}


def edited(files: Files, edit: Mapping[bytes, Version | None]) -> dict[bytes, Version]:
    return consistent({path: version for path, version in {**files, **edit}.items() if version is not None})


def closure(trees: Trees, root: ObjectId) -> set[ObjectId]:
    found = {root}
    for _, version in Tree.parse(trees[root]).items():
        if version.is_tree:
            found |= closure(trees, version.oid)
        elif version.mode != SUBMODULE_MODE:
            found.add(version.oid)
    return found


@given(FILES, EDITS, SLICE_PATHS)
def test_each_root_of_a_history_is_reduced_to_the_tree_of_the_slices_files(files, edits, paths):
    stored, simple, reducer = Counted(), Trees(), SliceTrees(paths)
    root_before: ObjectId = EMPTY_TREE
    there: set[ObjectId] = set()
    for edit in [{}, *edits]:
        files = edited(files, edit)
        before = on_top(stored.read_many, reducer.made())
        reduced = reducer.reduce(stored.read_many, stored.build(files))
        assert reduced == simple.build({path: each for path, each in files.items() if covers(paths, path)})
        new = added(on_top(before, reducer.made()), root_before, reduced)
        there |= new.trees.keys() | new.blobs.keys() | {EMPTY_TREE}
        assert closure(simple, reduced) <= there
        # And nothing of other paths.
        assert new.trees.keys() | new.blobs.keys() <= closure(simple, reduced)
        assert all(object_id(Kind.TREE, tree.encode()) == oid for oid, tree in new.trees.items())
        root_before = reduced


@given(SLICE_PATHS, SLICE_PATHS, FILES)
def test_a_slice_grows_where_no_file_leaves_it(old, new, files):
    if grows(old, new):
        assert all(covers(new, path) for path in files if covers(old, path))
    for path in files:
        if covers(old, path) and not covers(new, path):
            assert not grows(old, new)


def files_of(count: int) -> dict[bytes, Version]:
    version = Version(FILE_MODE, object_id(Kind.BLOB, b""))
    return {b"%s/%03d/%03d" % (top, i, j): version for top in (b"a", b"b") for i in range(count) for j in range(count)}


def test_a_commit_reads_the_directories_on_its_paths_and_no_other():
    stored, reducer = Counted(), SliceTrees([b"a/", b"b/000/", b"b/001/002"])
    files = files_of(20)
    first = reducer.reduce(stored.read_many, stored.build(files))
    stored.reads = 0
    assert reducer.reduce(stored.read_many, stored.build(files)) == first and stored.reads == 0
    files[b"b/007/000"] = Version(FILE_MODE, object_id(Kind.BLOB, b"other"))
    assert reducer.reduce(stored.read_many, stored.build(files)) == first
    assert stored.reads == 2  # the top, and b: what the slice has of b is below directories that stay
    files[b"a/007/000"] = Version(FILE_MODE, object_id(Kind.BLOB, b"mine"))
    before = on_top(stored.read_many, reducer.made())
    second = reducer.reduce(stored.read_many, stored.build(files))
    stored.reads = 0
    new = added(on_top(before, reducer.made()), first, second)
    assert stored.reads == 4 and len(new.trees) == 3 and len(new.blobs) == 1  # a and a/007, before and after


def test_what_stands_in_another_directory_already_is_found_all_the_same():
    stored = Counted()
    version = Version(FILE_MODE, object_id(Kind.BLOB, b"same"))
    one = stored.build({b"a/x": version})
    two = stored.build({b"a/x": version, b"b/x": version})
    new = added(stored.read_many, one, two)
    assert list(new.blobs) == [version.oid] and two in new.trees
    assert dict(walk(stored.read, two)) == {b"a/x": version, b"b/x": version}
