"""Editing many paths gives the tree that building from scratch gives, and touches only what it must."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from storage.git.objects import EMPTY_TREE, FILE_MODE, Kind, Version, object_id
from storage.git.tree_editor import TreeEditor
from tests.support.trees import FILES, PATHS, Trees

BLOB = Version(FILE_MODE, object_id(Kind.BLOB, b"x"))


@given(FILES, st.lists(FILES, min_size=1, max_size=4))
def test_any_edit_ends_in_the_tree_that_is_built_from_scratch(start: dict, states: list[dict]) -> None:
    trees = Trees()
    editor = TreeEditor(trees.read, trees.build(start))
    now = dict(start)
    for state in states:
        for path in now.keys() - state.keys():
            editor.delete(path)
        for path, version in state.items():
            editor.put(path, version)
        now = dict(state)
        assert editor.write(trees.emit) == Trees().build(state)
        for path, version in state.items():
            assert editor.get(path) == version


@given(FILES, PATHS)
def test_a_file_is_in_the_way_exactly_where_one_stands_above_or_below(files: dict, path: bytes) -> None:
    trees = Trees()
    editor = TreeEditor(trees.read, trees.build(files))
    above = {each for each in files if path.startswith(each + b"/")}
    below = {each for each in files if each.startswith(path + b"/")}
    found = editor.file_in_the_way(path, set())
    assert (found in above | below) if above | below else found is None
    assert editor.file_in_the_way(path, above | below) is None


def test_deleting_the_last_file_of_a_directory_deletes_the_directory() -> None:
    trees = Trees()
    editor = TreeEditor(trees.read, trees.build({b"a/b/c": BLOB}))
    editor.delete(b"a/b/c")
    assert editor.write(trees.emit) == EMPTY_TREE


def test_a_commit_reads_and_writes_only_the_directories_on_its_path() -> None:
    trees = Trees()
    root = trees.build({b"d%d/e%d/f%d" % (i, j, k): BLOB for i in range(10) for j in range(10) for k in range(10)})
    editor = TreeEditor(trees.read, root)
    trees.reads = 0
    written = []
    editor.put(b"d3/e4/f5", Version(FILE_MODE, object_id(Kind.BLOB, b"y")))
    editor.write(lambda oid, data: written.append(oid))
    assert trees.reads == 2, "d3 and d3/e4; the root was read before"
    assert len(written) == 3, "they and the root"
    editor.put(b"d3/e4/f6", BLOB)
    editor.put(b"d3/e4/f6", Version(FILE_MODE, object_id(Kind.BLOB, b"z")))
    assert trees.reads == 2, "a directory is read once for a batch"
