"""Small pushes: read in memory, without a process or a file; whatever is not ordinary is Git's, as before."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.gateway.receive import receiver
from app.gateway.receive.incoming import Incoming
from app.gateway.receive.received import StoreGone
from app.gateway.receive.small import store_objects
from app.gateway.receive.small.in_memory import InMemory
from app.gateway.receive.small.pack import MOST_INFLATED, Stored
from app.gateway.receive.small.store_objects import StoreObjects, StoresObjects
from storage.base.ids import ObjectId
from storage.git.objects import Kind
from storage.git.run_git import Git
from tests.support.git_repository import GitRepository
from tests.support.pushing import Clone, Pushing
from tests.support.waiting import await_true as until


@pytest.fixture
def by_git(monkeypatch: pytest.MonkeyPatch) -> list[Incoming]:
    """The pushes that Git reads, as they come."""
    made: list[Incoming] = []

    class Noted(Incoming):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(receiver, "Incoming", Noted)
    return made


def test_one_commit_and_a_stack_take_no_process_and_no_disk(pushed: Pushing, by_git: list[Incoming]) -> None:
    clone = pushed.clone("docs")
    clone.commit({"docs/b": b"1\n", "docs/deep/er/c": b"2\n"})
    assert clone.push().ok
    clone.git("pull", "-q", "--ff-only")  # it came back under its own id
    (clone.path / "docs" / "run").chmod(0o644)
    clone.commit({"docs/b": None, "docs/a.txt": b"".join(b"line %d\n" % i for i in range(1, 21))}, "Less, and a delta")
    clone.git("mv", "docs/deep/er/c", "docs/c")
    clone.commit({}, "Moved")
    (clone.path / "docs" / "link").symlink_to("c")
    clone.commit({"docs/c": b"3\n"}, "A link")
    done = clone.push()
    assert done.ok and len(done.changesets) == 3, done.said
    assert not by_git and not pushed.left
    files = pushed.world.files()
    assert files["docs/c"] == b"3\n" and "docs/link" in files
    assert not {"docs/b", "docs/deep/er/c"} & files.keys()
    assert clone.push().ok, "what has landed is told so"
    assert not by_git


def merge(clone: Clone) -> None:
    clone.git("checkout", "-q", "-b", "side")
    clone.commit({"docs/side": b"1\n"})
    clone.git("checkout", "-q", "main")
    clone.commit({"docs/here": b"1\n"})
    clone.git("merge", "-q", "--no-edit", "side")


UNUSUAL: dict[str, Callable[[Clone], object]] = {
    "a merge": merge,
    "a name that some system may read otherwise": lambda clone: clone.commit({"docs/it\u2019s": b"1\n"}),
    "a file that Git reads itself": lambda clone: clone.commit({"docs/.gitattributes": b"* text\n"}),
    "many bytes": lambda clone: clone.commit({"docs/zeros": b"0" * (MOST_INFLATED + 1)}),
}


@pytest.mark.parametrize("what", UNUSUAL)
def test_what_is_not_ordinary_is_read_by_git_and_lands(pushed: Pushing, by_git: list[Incoming], what: str) -> None:
    clone = pushed.clone("docs")
    UNUSUAL[what](clone)
    done = clone.push()
    assert done.ok, done.said
    assert len(by_git) == 1


def test_only_for_renames_that_are_guessed_git_is_given_a_small_push(pushed: Pushing, by_git: list[Incoming]) -> None:
    clone = pushed.clone("docs")
    clone.git("mv", "docs/a.txt", "docs/exact.txt")
    clone.commit({}, "Moved as it is")
    assert clone.push().ok and not by_git
    clone.git("pull", "-q", "--ff-only")
    clone.git("mv", "docs/exact.txt", "docs/similar.txt")
    clone.commit({"docs/similar.txt": b"".join(b"line %d\n" % i for i in range(21))}, "Moved, with a line more")
    assert clone.push().ok
    until(lambda: not pushed.left)
    assert len(by_git) == 1
    assert "docs/similar.txt" in pushed.world.files()


def test_git_is_given_a_stack_once_for_all_its_renames(pushed: Pushing, by_git: list[Incoming]) -> None:
    clone = pushed.clone("docs")
    for at, (old, new) in enumerate((("a.txt", "b.txt"), ("b.txt", "c.txt"), ("c.txt", "d.txt"))):
        clone.git("mv", f"docs/{old}", f"docs/{new}")
        clone.commit({f"docs/{new}": b"".join(b"line %d\n" % i for i in range(21 + at))}, "Moved, with a line more")
    done = clone.push()
    assert done.ok, done.said
    changes = [change for each in done.changesets for change in pushed.submitted(each).changes]
    assert [change.source for change in changes if change.source] == [b"docs/a.txt", b"docs/b.txt", b"docs/c.txt"]
    assert len(by_git) == 1
    until(lambda: not pushed.left)


def test_the_time_for_renames_is_that_of_all_commits_of_a_push(
    pushed: Pushing, by_git: list[Incoming], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each of them may take all of it, of a processor too."""
    given: list[float] = []
    run = Git.run

    def slowly(self: Git, *arguments: str, **options: Any) -> Any:
        done = run(self, *arguments, **options)
        if arguments[0] == "diff-tree":
            given.append(options["timeout"])
            monkeypatch.setattr(by_git[0], "_rename_seconds", 0.0)  # as if this had taken all of it
        return done

    monkeypatch.setattr(Git, "run", slowly)
    clone = pushed.clone("docs")
    for at, (old, new) in enumerate((("a.txt", "b.txt"), ("b.txt", "c.txt"))):
        clone.git("mv", f"docs/{old}", f"docs/{new}")
        clone.commit({f"docs/{new}": b"".join(b"line %d\n" % i for i in range(21 + at))}, "Moved, with a line more")
    done = clone.push()
    assert not done.ok and "push with -o moves=exact" in done.said
    assert len(given) == 1, "the second one was ended before it had begun"
    until(lambda: not pushed.left)
    assert clone.push("-o", "moves=exact").ok


def test_a_signed_commit_is_ordinary(pushed: Pushing, by_git: list[Incoming]) -> None:
    clone = pushed.clone("docs")
    clone.commit({"docs/b": b"1\n"})
    data = clone.git("cat-file", "commit", "HEAD").encode() + b"\n"
    signed = data.replace(
        b"\n\n", b"\ngpgsig -----BEGIN SSH SIGNATURE-----\n line\n -----END SSH SIGNATURE-----\n\n", 1
    )
    commit = clone.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=signed)
    clone.git("reset", "-q", "--soft", commit)
    done = clone.push()
    assert done.ok and not by_git, done.said
    assert pushed.world.files()["docs/b"] == b"1\n"


# --- The store beside it ----------------------------------------------------------------------------------------------


@pytest.fixture
def made(tmp_path: Path) -> GitRepository:
    made = GitRepository.begun(tmp_path / "made")
    made.git("repack", "-a", "-d", "-q")
    return made


def never() -> Incoming:
    pytest.fail("it needs no Git")


def oid_of(made: GitRepository, name: str) -> ObjectId:
    return ObjectId(bytes.fromhex(made.git("rev-parse", name).strip()))


def test_objects_of_a_store_are_found_where_its_packs_are_now(made: GitRepository) -> None:
    objects = StoreObjects(made.path / ".git")
    first = oid_of(made, "HEAD")
    assert objects.kind(first) == Kind.COMMIT and objects.commit_tree(first) == oid_of(made, "HEAD^{tree}")
    made.write("README", "second\n")
    made.commit("Go on")
    second = oid_of(made, "HEAD")
    assert objects.kind(second) == Kind.COMMIT  # it came behind the look at what there is
    made.git("repack", "-a", "-d", "-q")
    blob = oid_of(made, "HEAD:README")
    assert objects.read(blob) == Stored(Kind.BLOB, b"second\n")
    assert objects.read(blob, most=3) is None and objects.header(blob) == (Kind.BLOB, 7)
    assert objects.kind(ObjectId(b"1" * 20)) is None and objects.commit_tree(blob) is None
    tree = objects.tree(oid_of(made, "HEAD^{tree}"))
    assert tree and tree.get(b"README") and objects.tree(blob) is None


def test_a_store_that_was_made_anew_is_another_one(made: GitRepository, tmp_path: Path) -> None:
    store, stores = made.path / ".git", StoresObjects()
    before = stores.of(store)
    assert stores.of(store) is before
    blob = oid_of(made, "HEAD:README")
    push = InMemory({}, before, never)
    push.check_store()
    shutil.rmtree(made.path)
    GitRepository(made.path).write("other", "1\n")
    with pytest.raises(StoreGone):
        push.check_store()
    after = stores.of(store)
    assert after is not before and after.kind(blob) is None


def test_packs_of_stores_hold_a_bounded_number_of_files_open(
    made: GitRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = []
    for number in range(8):
        made.write("README", f"{number}\n")
        made.commit(f"Go on {number}")
        made.git("repack", "-d", "-q")
        commits.append(oid_of(made, "HEAD"))
    monkeypatch.setattr(store_objects, "_MOST_PACKS", 3)
    objects = StoresObjects().of(made.path / ".git")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for commit in commits * 2:
        assert objects.commit_tree(commit)
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= 3
    monkeypatch.undo()
    StoresObjects()  # the limit is the process's


def held(folder: Path) -> list[str]:
    """Return the files below a folder that this process has open, or mapped, although they were deleted."""
    opened = [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    mapped = Path("/proc/self/maps").read_text().splitlines()
    return [each for each in opened + mapped if str(folder) in each and each.endswith("(deleted)")]


def test_what_was_merged_or_removed_keeps_no_disk(
    made: GitRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, stores, other = made.path / ".git", StoresObjects(), GitRepository.begun(tmp_path / "other")
    assert stores.of(store).commit_tree(oid_of(made, "HEAD"))
    made.write("README", "second\n")
    made.commit("Go on")
    made.git("repack", "-a", "-d", "-q", "--write-midx")
    assert held(made.path), "it was not read, so this proves nothing"
    assert stores.of(store).commit_tree(oid_of(made, "HEAD"))
    assert not held(made.path)
    shutil.rmtree(made.path)
    assert held(made.path)
    monkeypatch.setattr(store_objects, "_EVERY", 0.0)
    stores.of(other.path / ".git")
    assert not held(made.path)


def test_what_is_gone_from_the_store_meanwhile_is_not_the_pushs_fault(made: GitRepository) -> None:
    push = InMemory({}, StoreObjects(made.path / ".git"), never)
    with pytest.raises(StoreGone):
        push.content(ObjectId(b"1" * 20), 100)
