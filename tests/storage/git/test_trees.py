"""Reading trees: look-up, pages, differences and projections agree with plain dictionaries."""

from __future__ import annotations

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from storage.git.objects import FILE_MODE, Kind, Tree, Version, object_id
from storage.git.trees import covers, diff, lookup, project, runs, walk
from tests.support.trees import FILES, PATHS, Trees

BLOB = Version(FILE_MODE, object_id(Kind.BLOB, b"x"))


@given(FILES, PATHS)
def test_look_up_finds_files_and_directories_and_nothing_else(files: dict, path: bytes) -> None:
    trees = Trees()
    found = lookup(trees.read, trees.build(files), path)
    if path in files:
        assert found == files[path]
    elif any(each.startswith(path + b"/") for each in files):
        assert found and found.is_tree
    else:
        assert found is None


@given(FILES, st.integers(1, 5))
def test_pages_of_any_size_add_up_to_the_whole_walk(files: dict, size: int) -> None:
    trees = Trees()
    root = trees.build(files)
    whole = list(walk(trees.read, root))
    assert dict(whole) == files
    pages, after = [], b""
    while page := list(islice(walk(trees.read, root, after), size)):
        pages += page
        after = page[-1][0]
    assert pages == whole


def test_a_page_costs_the_same_wherever_it_begins() -> None:
    trees = Trees()
    root = trees.build({b"d%03d/f%d" % (i, j): BLOB for i in range(200) for j in range(5)})
    trees.reads = 0
    page = list(islice(walk(trees.read, root, b"d150/f2"), 4))
    assert [path for path, _ in page] == [b"d150/f3", b"d150/f4", b"d151/f0", b"d151/f1"]
    assert trees.reads == 3, "the root and two directories"


@given(FILES, FILES)
def test_the_difference_is_that_of_the_dictionaries(old: dict, new: dict) -> None:
    trees = Trees()
    found = {path: (was, now) for path, was, now in diff(trees.read, trees.build(old), trees.build(new))}
    expected = {p: (old.get(p), new.get(p)) for p in old.keys() | new.keys() if old.get(p) != new.get(p)}
    assert found == expected


def test_equal_subtrees_are_never_read() -> None:
    trees = Trees()
    files = {b"d%d/f%d" % (i, j): BLOB for i in range(50) for j in range(3)}
    old = trees.build(files)
    new = trees.build(files | {b"d7/f9": BLOB})
    trees.reads = 0
    assert [path for path, _, _ in diff(trees.read, old, new)] == [b"d7/f9"]
    assert trees.reads == 4, "both roots, and both of d7"


@given(FILES, st.sets(PATHS.flatmap(lambda path: st.sampled_from([path, path + b"/"])), max_size=5))
def test_a_projection_holds_exactly_the_files_that_the_slice_covers(files: dict, paths: set[bytes]) -> None:
    trees = Trees()
    root, made = project(trees.read, trees.build(files), paths)

    def read(oid):
        return made[oid] if oid in made else trees.read(oid)

    expected = {path: version for path, version in files.items() if covers(paths, path)}
    assert dict(walk(read, root)) == expected
    assert root == Trees().build(expected)


def test_everything_is_projected_without_reading_anything() -> None:
    trees = Trees()
    root = trees.build({b"a": BLOB})
    trees.reads = 0
    assert project(trees.read, root, [b"/"]) == (root, {}) and trees.reads == 0


def test_a_tree_reads_back_as_it_was_written() -> None:
    data = b"100644 a.b\0" + b"\0" * 20 + b"40000 a\0" + b" \0" * 10 + b"100755 b c\0" + b"\n" * 20
    tree = Tree.parse(data)
    assert tree.encode() == data and tree.keys == [b"a.b", b"a/", b"b c"]


@given(FILES, st.sampled_from([b"", b"a/", b"a/b/"]), st.integers(0, 30))
def test_runs_have_the_files_of_the_walk_in_its_order(files: dict, prefix: bytes, skipped: int) -> None:
    trees = Trees()
    root = trees.build(files)
    paths = [path for path, _ in walk(trees.read, root, b"", prefix)]
    after = paths[skipped % len(paths)] if paths else b""
    expected = list(walk(trees.read, root, after, prefix))
    found = [
        (run.base + row[7:-21], Version(int(row[:6], 8), row[-20:]))
        for run in runs(lambda oids: {oid: trees.read(oid) for oid in oids}, root, after, prefix)
        for row in run.rows
    ]
    assert found == expected


def test_all_directories_are_read_once_and_many_at_a_time() -> None:
    trees = Trees()
    root = trees.build({b"d%02d/s%02d/f%d" % (i, j, k): BLOB for i in range(20) for j in range(20) for k in range(2)})
    asked: list[list[bytes]] = []

    def read(oids):
        asked.append(list(oids))
        return {oid: trees.read(oid) for oid in oids}

    assert sum(len(run.rows) for run in runs(read, root)) == 800
    assert len(asked) < 20 and sum(map(len, asked)) == 421
