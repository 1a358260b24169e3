"""What a push says of files that were renamed: others' edits go where the file is now."""

from __future__ import annotations

import os

import pytest

from app.gateway.receive.submissions import can_move, same_files
from storage.base.ids import ObjectId
from storage.git.objects import EXECUTABLE_MODE, FILE_MODE, SUBMODULE_MODE, SYMLINK_MODE, Kind, Version, object_id
from tests.support.pushing import LINES, Clone, Pushed, Pushing

NONE = object_id(Kind.BLOB, b"")


def version(name: bytes, mode: int = FILE_MODE) -> Version:
    return Version(mode, object_id(Kind.BLOB, name))


def sources(pushed: Pushing, done: Pushed) -> list[tuple[bytes, bytes]]:
    """Return what the changesets of a push say that they moved: new and old paths."""
    changes = [change for each in done.changesets for change in pushed.submitted(each).changes]
    return [(change.path, change.source) for change in changes if change.source is not None]


def moves(pushed: Pushing, done: Pushed) -> dict[str, str]:
    """Return what the changesets of a push say that they moved, by the new path."""
    return {path.decode(): source.decode() for path, source in sources(pushed, done)}


def with_lines(pushed: Pushing) -> tuple[Clone, Clone]:
    """Return two clones that have a file of twenty lines."""
    first = pushed.clone("docs")
    first.commit({"docs/long.txt": LINES})
    assert first.push().ok
    first.git("pull", "-q", "--ff-only")
    return first, pushed.clone("docs")


def edited(clone: Clone) -> None:
    clone.commit({"docs/long.txt": LINES.replace(b"line 3\n", b"line three\n")}, "Edit")


def test_an_edit_of_others_goes_to_where_a_push_has_moved_the_file(pushed: Pushing) -> None:
    mover, other = with_lines(pushed)
    mover.git("mv", "docs/long.txt", "docs/new.txt")
    mover.git("commit", "-q", "-m", "Rename")
    edited(other)
    done, follows = mover.push(), other.push()
    assert done.ok and follows.ok, done.said + follows.said
    assert moves(pushed, done) == {"docs/new.txt": "docs/long.txt"}
    files = pushed.world.files()
    assert b"line three\n" in files["docs/new.txt"] and "docs/long.txt" not in files
    # What nothing overtook comes back as it was pushed.
    mover.git("fetch", "-q")
    assert mover.head in mover.git("rev-list", "origin/main").split()


def test_a_file_that_others_have_edited_is_moved_as_it_is_now(pushed: Pushing) -> None:
    mover, other = with_lines(pushed)
    edited(other)
    assert other.push().ok
    mover.git("mv", "docs/long.txt", "docs/new.txt")
    (mover.path / "docs/new.txt").chmod(0o755)
    mover.commit({}, "Rename")
    done = mover.push()
    assert done.ok, done.said
    assert b"line three\n" in pushed.world.files()["docs/new.txt"]
    mover.git("pull", "-q", "--rebase")
    assert mover.git("ls-files", "-s", "docs/new.txt").startswith("100755 ") and mover.git("status", "-s") == ""


def test_a_conflict_of_a_rename_is_tried_again_without_it(pushed: Pushing) -> None:
    mover, other = with_lines(pushed)
    for clone, to in ((other, "docs/theirs.txt"), (mover, "docs/mine.txt")):
        clone.git("mv", "docs/long.txt", to)
        clone.git("commit", "-q", "-m", "Rename")
    assert other.push().ok
    refused = mover.push()
    assert not refused.ok and "conflict in docs/mine.txt (moved" in refused.said
    assert mover.push().changesets == refused.changesets, "what is told again is no other try"
    assert mover.push("-o", "moves=no").ok
    files = pushed.world.files()
    assert files["docs/mine.txt"] == LINES and "docs/theirs.txt" not in files


def test_a_file_that_was_edited_as_well_is_moved_where_git_takes_it_for_renamed(pushed: Pushing) -> None:
    mover, other = with_lines(pushed)
    edited(other)
    assert other.push().ok
    mover.git("mv", "docs/long.txt", "docs/new.txt")
    mover.commit({"docs/new.txt": LINES.replace(b"line 17\n", b"line seventeen\n")}, "Rename and edit")
    refused = mover.push("-o", "moves=exact")
    assert not refused.ok and "conflict in docs/long.txt" in refused.said and not moves(pushed, refused)
    mover.git("commit", "-q", "--amend", "-m", "Rename and edit once more")
    done = mover.push()
    assert done.ok and moves(pushed, done) == {"docs/new.txt": "docs/long.txt"}, done.said
    there = pushed.world.files()["docs/new.txt"]
    assert b"line three\n" in there and b"line seventeen\n" in there
    mover.git("pull", "-q", "--rebase")
    assert mover.git("rev-parse", "HEAD") == mover.git("rev-parse", "origin/main")


@pytest.mark.parametrize("name", ["docs/n\u00e4chste.txt", "docs/a [1].txt", "docs/n\udce4chste.txt"])
def test_a_file_is_moved_whatever_its_new_name_is(pushed: Pushing, name: str) -> None:
    """With an umlaut, say, in UTF-8 or as bytes of Latin-1."""
    mover, other = with_lines(pushed)
    mover.git("mv", "docs/long.txt", name)
    mover.git("commit", "-q", "-m", "Rename")
    edited(other)
    done, follows = mover.push(), other.push()
    assert done.ok and follows.ok, done.said + follows.said
    [(path, source)] = sources(pushed, done)
    assert (path, source) == (os.fsencode(name), b"docs/long.txt")
    other.git("pull", "-q", "--rebase")
    assert b"line three\n" in (other.path / name).read_bytes()


@pytest.mark.parametrize("name", [".gitattributes", ".GitAttributes"])
def test_what_git_reads_itself_is_put_there_with_its_content(pushed: Pushing, name: str) -> None:
    mover, _ = with_lines(pushed)
    mover.git("mv", "docs/long.txt", f"docs/{name}")
    mover.git("commit", "-q", "-m", "Rename")
    done = mover.push()
    assert done.ok and not moves(pushed, done), done.said


def test_a_stack_and_a_squash_say_what_they_moved(pushed: Pushing) -> None:
    mover, other = with_lines(pushed)
    for old, new in (("long", "b"), ("b", "c")):
        mover.git("mv", f"docs/{old}.txt", f"docs/{new}.txt")
        mover.git("commit", "-q", "-m", f"To {new}")
    edited(other)
    stack = mover.push()
    assert stack.ok and moves(pushed, stack) == {"docs/b.txt": "docs/long.txt", "docs/c.txt": "docs/b.txt"}
    assert other.push().ok
    assert b"line three\n" in pushed.world.files()["docs/c.txt"]
    other.git("pull", "-q", "--rebase")
    for old, new in (("c", "d"), ("d", "e")):
        other.git("mv", f"docs/{old}.txt", f"docs/{new}.txt")
        other.git("commit", "-q", "-m", f"To {new}")
    squashed = other.push("-o", "squash")
    assert squashed.ok and moves(pushed, squashed) == {"docs/e.txt": "docs/c.txt"}, squashed.said


@pytest.mark.parametrize("options", [("-o", "moves=exact"), ("-o", "moves=no")])
def test_what_may_be_another_file_is_deleted_and_put(pushed: Pushing, options: tuple[str, ...]) -> None:
    mover, _ = with_lines(pushed)
    mover.git("mv", "docs/long.txt", "docs/new.txt")
    if "moves=exact" in options:
        mover.write({"docs/copy.txt": LINES})  # and which of the two is it?
    mover.commit({}, "Rename")
    done = mover.push(*options)
    assert done.ok and not moves(pushed, done), done.said
    assert pushed.world.files()["docs/new.txt"] == LINES and "docs/long.txt" not in pushed.world.files()


def test_files_are_the_same_where_one_is_gone_and_one_is_new_with_a_content() -> None:
    a, b = version(b"a"), version(b"b")
    assert same_files({b"a": a, b"b": b}, {b"c": a, b"d": version(b"d")}) == {b"c": b"a"}
    assert same_files({b"a": a, b"b": a}, {b"c": a}) == same_files({b"a": a}, {b"b": a, b"c": a}) == {}


@pytest.mark.parametrize(
    ("was", "now", "may"),
    [
        (version(b"a"), version(b"a", EXECUTABLE_MODE), True),
        (version(b"a", SYMLINK_MODE), version(b"a", SYMLINK_MODE), True),
        (version(b"a", SYMLINK_MODE), version(b"a"), False),
        (Version(SUBMODULE_MODE, ObjectId(b"1" * 20)), Version(SUBMODULE_MODE, ObjectId(b"1" * 20)), False),
        (Version(FILE_MODE, NONE), Version(FILE_MODE, NONE), False),
    ],
)
def test_only_files_with_a_content_and_of_one_kind_can_move(was: Version, now: Version, may: bool) -> None:
    assert can_move(was, now) is may
