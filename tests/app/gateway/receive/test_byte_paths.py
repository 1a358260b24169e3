"""Pushes from clones that have files whose names are not UTF-8."""

from __future__ import annotations

import os

import pytest

from app.admin.deep import deep
from storage.base.ids import ObjectId
from storage.git.trees import walk
from tests.support.pushing import Clone, Pushing
from tests.support.world import World

LATIN, DEEP = b"docs/caf\xe9.txt", b"docs/na\xefve/\xff"


def named(path: bytes) -> str:
    return os.fsdecode(path)


def files(world: World) -> dict[bytes, bytes]:
    return {path.encode(errors="surrogateescape"): content for path, content in world.files().items()}


def begun(pushed: Pushing) -> Clone:
    """A clone, from which two such files have landed."""
    clone = pushed.clone("docs")
    lines = b"".join(b"line %d\n" % i for i in range(20))
    clone.commit({named(LATIN): lines, named(DEEP): b"1\n"}, "Add names of old")
    done = clone.push()
    assert done.ok, done.said
    clone.git("pull", "-q", "--ff-only")
    return clone


def test_such_files_are_pushed_changed_deleted_and_renamed(pushed: Pushing) -> None:
    clone = begun(pushed)
    assert files(pushed.world).keys() >= {LATIN, DEEP}
    clone.git("mv", named(LATIN), named(b"docs/\xe9"))
    clone.commit({named(DEEP): b"2\n", named(b"docs/new\xfe"): b"3\n", "docs/ü": b"4\n"}, "Change them")
    clone.commit({named(b"docs/new\xfe"): None}, "Delete one")
    done = clone.push()
    assert done.ok, done.said
    clone.git("fetch", "-q")
    assert clone.git("rev-parse", "origin/main") == clone.head, "under its own id"
    assert clone.git("fsck", "--strict") == ""
    there = files(pushed.world)
    assert {b"docs/\xe9", DEEP, "docs/ü".encode()} <= there.keys() and not {LATIN, b"docs/new\xfe"} & there.keys()
    assert not deep(pushed.world.repo.settings).difference
    root = ObjectId(bytes.fromhex(pushed.world.repo.view.head().root))
    listed = clone.run("ls-tree", "-r", "-z", "--name-only", "HEAD").stdout.split(b"\0")[:-1]
    assert listed == [path for path, _ in walk(pushed.world.repo.objects.tree, root) if path.startswith(b"docs/")]


def test_a_conflict_names_the_path_as_git_shows_it_and_is_resolved_by_git(pushed: Pushing) -> None:
    clone, late = begun(pushed), pushed.clone("docs")
    content = (late.path / named(LATIN)).read_bytes()
    clone.commit({named(LATIN): content.replace(b"line 5\n", b"theirs\n")})
    assert clone.push().ok
    late.commit({named(LATIN): content.replace(b"line 5\n", b"ours\n")})
    done = late.push()
    assert not done.ok and 'conflict in "docs/caf\\351.txt" (content' in done.said
    assert late.run("pull", "--rebase", "-q").returncode != 0
    (late.path / named(LATIN)).write_bytes(content.replace(b"line 5\n", b"both\n"))
    late.git("add", "-A")
    late.git("-c", "core.editor=true", "rebase", "--continue")
    done = late.push()
    assert done.ok, done.said
    assert b"both\n" in files(pushed.world)[LATIN]


@pytest.mark.parametrize("name", [b"docs/.git\xff", b"docs/.g\xe2\x80\x8cit\xe9/x"])
def test_what_some_system_takes_for_git_s_own_is_refused(pushed: Pushing, name: bytes) -> None:
    clone = begun(pushed)
    blob = clone.git("hash-object", "-w", "--stdin", stdin=b"x")
    clone.git("-c", "core.protectHFS=false", "update-index", "-z", "--add", "--index-info",
              stdin=b"100644 %s\t%s\0" % (blob.encode(), name))  # fmt: skip
    clone.git("commit", "-q", "-m", "A trap")
    before = files(pushed.world)
    done = clone.push()
    assert not done.ok and files(pushed.world) == before


def test_one_outside_of_the_slice_is_refused_by_name(pushed: Pushing) -> None:
    clone = begun(pushed)
    clone.commit({named(b"doc\xf3/x"): b"x"}, "Elsewhere")
    done = clone.push()
    assert not done.ok and '"doc\\363/x" is not in the slice docs' in done.said
