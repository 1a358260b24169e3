"""What a push may bring: kinds of files, encodings, and clones that have not everything."""

from __future__ import annotations

import os

import pytest

from storage.base.ids import ObjectId, Seq
from storage.git.trees import lookup
from storage.log.entry import Commits, decode
from tests.support.pushing import Pushing

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 12345\n"


def test_all_kinds_of_files_and_changes_land_as_they_are(pushed: Pushing) -> None:
    clone = pushed.clone("docs")
    clone.git("mv", "docs/a.txt", "docs/renamed.txt")
    (clone.path / "docs/link").symlink_to("renamed.txt")
    (clone.path / "docs/run").chmod(0o755)
    big = os.urandom(3 << 20)
    clone.write({"docs/big": big, "docs/pointer": POINTER, "docs/empty": b"", "docs/sub/deep/ä ü.txt": b"1\n"})
    clone.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},docs/module")
    clone.git("add", ".", "--", ":!docs/module")
    clone.git("commit", "-q", "-m", "All at once")
    tree = clone.git("rev-parse", "HEAD:docs")
    done = clone.push()
    assert done.ok, done.said
    clone.git("fetch", "-q")
    assert clone.git("rev-parse", "origin/main:docs") == tree and clone.git("rev-parse", "origin/main") == clone.head
    root = ObjectId(bytes.fromhex(pushed.world.repo.view.head().root))
    version = lookup(pushed.world.repo.objects.tree, root, b"docs/big")
    assert version and pushed.world.repo.objects.blob(version.oid) == big
    clone.git("rm", "-q", "--cached", "docs/module")
    clone.git("rm", "-q", "docs/run", "docs/big")
    clone.git("update-index", "--chmod=+x", "docs/pointer")
    clone.git("commit", "-q", "-m", "Modes and deletions")
    assert clone.push().ok
    clone.git("fetch", "-q")
    assert clone.git("rev-parse", "origin/main") == clone.head


@pytest.mark.parametrize(
    ("config", "author", "message"),
    [
        ("i18n.commitEncoding=ISO-8859-1", "Jürgen".encode("latin-1"), "Grüße\n".encode("latin-1")),
        ("x.y=z", "Jürgen".encode("latin-1"), "Gr\xfc\xdfe ohne Angabe\n".encode("latin-1")),
        ("x.y=z", "Jürgen".encode(), "Grüße\n\n# kept\n\n\n".encode()),
    ],
)
def test_bytes_that_are_not_utf_8_are_kept(pushed: Pushing, config: str, author: bytes, message: bytes) -> None:
    clone = pushed.clone("docs")
    clone.write({"docs/b": b"1\n"})
    clone.git("add", ".")
    environ = {"GIT_AUTHOR_NAME": os.fsdecode(author)}
    clone.git("-c", config, "commit", "-q", "--cleanup=verbatim", "-F", "-", stdin=message, **environ)
    done = clone.push()
    assert done.ok, done.said
    clone.git("fetch", "-q")
    assert clone.git("rev-parse", "origin/main") == clone.head
    repo = pushed.world.repo
    read = (decode(repo.log.read(Seq(seq)) or b"") for seq in range(repo.view.head().applied, 0, -1))
    [decided] = next(entry for entry in read if isinstance(entry, Commits)).decided
    assert decided.facts and decided.facts.author[0] == "Jürgen" and decided.facts.subject.startswith("Grüße")


@pytest.mark.parametrize(
    "options", [("--depth=1",), ("--filter=blob:none",), ("--filter=tree:0",), ("--depth=2", "--filter=blob:none")]
)
def test_a_clone_that_has_not_everything_pushes_all_that_is_needed(pushed: Pushing, options: tuple[str, ...]) -> None:
    before = pushed.clone("docs")
    for i in range(3):
        before.commit({"docs/n": b"%d\n" % i})
    assert before.push().ok
    clone = pushed.clone("docs", "--no-local", *options)
    clone.commit({"docs/a.txt": b"replaced\n", "docs/deep/er/x": b"1\n"})
    done = clone.push()
    assert done.ok, done.said
    assert pushed.world.files()["docs/a.txt"] == b"replaced\n" and pushed.world.files()["docs/n"] == b"2\n"
    before.git("pull", "-q", "--ff-only")
    assert before.head == clone.head
    before.git("fsck", "--strict")


def test_a_clone_that_is_behind_sends_its_own_commits_alone(pushed: Pushing) -> None:
    clone, other = pushed.clone("docs"), pushed.clone("docs")
    for i in range(40):
        other.commit({f"docs/large{i}": os.urandom(20_000)})
    assert other.push().ok
    other.git("pull", "-q", "--ff-only")
    late = pushed.clone("docs")
    for i in range(3):
        other.commit({"docs/n": b"%d\n" % i})
        assert other.push().ok
        other.git("fetch", "-q")
    late.commit({"docs/late": b"1\n"})
    done = late.run("push", "--progress", "origin", "HEAD:refs/for/main")
    assert done.returncode == 0, done.stderr
    assert b"Writing objects: 100% (4/4)" in done.stderr, done.stderr
    clone.commit({"docs/oldest": b"1\n"})
    done = clone.run("push", "--progress", "origin", "HEAD:refs/for/main")
    assert done.returncode == 0 and b"Writing objects: 100% (4/4)" in done.stderr, done.stderr
