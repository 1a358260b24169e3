"""What a push must not bring, and that nothing of a refused one can be had: each attack is tried."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha1
from pathlib import Path
from struct import pack
from urllib.parse import urlsplit

import pytest

from storage.base.ids import ObjectId
from storage.git.objects import Kind, object_id
from storage.git.trees import lookup
from storage.repository import Repository
from tests.support.pack_entries import entry
from tests.support.pushing import Clone, Pushed, Pushing, pushing, run
from tests.support.waiting import await_true as until
from tests.support.world import World

SECRET = b"hidden " * 100


def pack_of(*objects: bytes) -> bytes:
    body = b"PACK" + pack(">II", 2, len(objects)) + b"".join(objects)
    return body + sha1(body, usedforsecurity=False).digest()


def pkt(data: bytes) -> bytes:
    return b"%04x" % (len(data) + 4) + data


def send(pushed: Pushing, clone: Clone, tip: str, data: bytes) -> Pushed:
    """Push bytes as a pack, as no Git would make it, by Git's own client of HTTP."""

    url = urlsplit(f"{pushed.url}/docs.git/git-receive-pack")
    body = pkt(b"%s %s refs/for/main\0report-status\n" % (b"0" * 40, tip.encode())) + b"0000" + data
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=60)
    connection.request("POST", url.path, body, {"Content-Type": "application/x-git-receive-pack-request"})
    answer = connection.getresponse()
    said = answer.read().decode()
    connection.close()
    assert answer.status == 200, said
    return Pushed("ok refs/for/main" in said, said)


def commit_bytes(tree: ObjectId, parent: str, message: str = "m") -> bytes:
    who = "A <a@b> 1700000000 +0000"
    return f"tree {tree.hex()}\nparent {parent}\nauthor {who}\ncommitter {who}\n\n{message}\n".encode()


def secret(world: World) -> tuple[ObjectId, ObjectId]:
    """Return the ids of the secret file, and of its folder's tree."""
    root = ObjectId(bytes.fromhex(world.repo.view.head().root))
    blob, tree = (lookup(world.repo.objects.tree, root, path) for path in (b"secret/key", b"secret"))
    assert blob and tree
    return blob.oid, tree.oid


def attempt(clone: Clone, row: bytes) -> tuple[str, bytes]:
    """Return a commit whose folder docs has one row more, and the pack that brings it."""
    old = run(clone.path, "cat-file", "tree", "HEAD:docs").stdout
    folder = old + row
    tree = b"40000 docs\0" + object_id(Kind.TREE, folder)
    data = commit_bytes(object_id(Kind.TREE, tree), clone.head)
    return object_id(Kind.COMMIT, data).hex(), pack_of(entry(1, data), entry(2, tree), entry(2, folder))


def nested(depth: int, wide: int, inmost: bytes) -> tuple[ObjectId, list[bytes]]:
    """Return directories in one another, each of which has the next one under `wide` names, and their packed form."""
    data, packed = inmost, [entry(2, inmost)]
    for _ in range(depth):
        below = object_id(Kind.TREE, data)
        data = b"".join(b"40000 d%02d\0" % i + below for i in range(wide))
        packed.append(entry(2, data))
    return object_id(Kind.TREE, data), packed


@pytest.mark.parametrize(("depth", "wide"), [(16, 16), (5000, 1)])
def test_directories_without_end_are_refused_at_once(pushed: Pushing, depth: int, wide: int) -> None:
    clone = pushed.clone("docs")
    blob = bytes.fromhex(clone.git("rev-parse", "HEAD:docs/a.txt"))
    bomb, packed = nested(depth, wide, b"" if wide > 1 else b"100644 file\0" + blob)
    tip, data = attempt(clone, b"40000 zz\0" + bomb)
    objects = [data[12:-20], *packed]
    body = b"PACK" + pack(">II", 2, 3 + len(packed)) + b"".join(objects)
    done = send(pushed, clone, tip, body + sha1(body, usedforsecurity=False).digest())
    assert not done.ok and "it has empty directories, or more than 100 in one another" in done.said, done.said


@pytest.mark.parametrize("kind", ["blob", "tree"])
def test_a_tree_that_names_anothers_object_is_refused(pushed: Pushing, kind: str) -> None:
    clone = pushed.clone("docs")
    blob, tree = secret(pushed.world)
    tip, data = attempt(clone, b"100644 zz\0" + blob if kind == "blob" else b"40000 zz\0" + tree)
    done = send(pushed, clone, tip, data)
    assert not done.ok and "did not receive expected object" in done.said, done.said
    assert not {"docs/zz", "docs/zz/key"} & pushed.world.files().keys()


def test_a_delta_against_anothers_blob_is_refused(pushed: Pushing) -> None:
    clone = pushed.clone("docs")
    blob, _ = secret(pushed.world)
    # Copy all of it: what stands there then is the secret itself.
    size = len(SECRET)
    lengths = bytes([size & 0x7F | 0x80, size >> 7])
    delta = lengths + lengths + bytes([0x80 | 0x10 | 0x20, size & 0xFF, size >> 8])
    tip, _ = attempt(clone, b"100644 zz\0" + object_id(Kind.BLOB, SECRET))
    folder = run(clone.path, "cat-file", "tree", "HEAD:docs").stdout + b"100644 zz\0" + object_id(Kind.BLOB, SECRET)
    tree = b"40000 docs\0" + object_id(Kind.TREE, folder)
    data = commit_bytes(object_id(Kind.TREE, tree), clone.head)
    assert object_id(Kind.COMMIT, data).hex() == tip
    thin = pack_of(entry(1, data), entry(2, tree), entry(2, folder), entry(7, delta, before=bytes(blob)))
    done = send(pushed, clone, tip, thin)
    assert not done.ok and "does not accept the pack" in done.said, done.said
    assert "docs/zz" not in pushed.world.files()
    # The same against an object of its own slice is what Git does all the time.
    own = ObjectId(bytes.fromhex(clone.git("rev-parse", "HEAD:docs/a.txt")))
    content = run(clone.path, "cat-file", "blob", own.hex()).stdout
    size = len(content)
    lengths = bytes([size & 0x7F | 0x80, size >> 7])
    delta = lengths + bytes([(size + 1) & 0x7F | 0x80, (size + 1) >> 7])
    delta += bytes([0x80 | 0x10 | 0x20, size & 0xFF, size >> 8]) + b"\x01!"
    new = content + b"!"
    tip, data = attempt(clone, b"100644 zz\0" + object_id(Kind.BLOB, new))
    objects = data[12:-20] + entry(7, delta, before=bytes(own))
    body = b"PACK" + pack(">II", 2, 4) + objects
    done = send(pushed, clone, tip, body + sha1(body, usedforsecurity=False).digest())
    assert done.ok, done.said
    assert pushed.world.files()["docs/zz"] == new


@pytest.mark.parametrize("version", ["0", "2"])
def test_nothing_of_a_refused_push_can_be_fetched(pushed: Pushing, version: str) -> None:
    clone, reader = pushed.clone("docs"), pushed.clone("docs")
    clone.commit({"docs/good": b"never landed\n", "elsewhere": b"1\n"})
    done = clone.push()
    assert not done.ok and "elsewhere is not in the slice docs" in done.said, done.said
    blob = clone.git("rev-parse", "HEAD:docs/good")
    for name in ("docs", "-/repository"):
        for wanted in (clone.head, clone.git("rev-parse", "HEAD^{tree}"), blob):
            url = f"{pushed.url}/{name}.git"
            got = reader.run("-c", f"protocol.version={version}", "fetch", url, wanted)
            assert got.returncode != 0, (wanted, got.stderr)
    # Nor by naming it in a push of one's own.
    tip, data = attempt(reader, b"100644 zz\0" + bytes.fromhex(blob))
    assert not send(pushed, reader, tip, data).ok


def test_what_git_only_warns_of_is_refused_by_name(pushed: Pushing) -> None:
    clone = pushed.clone("docs")
    blob = bytes.fromhex(clone.git("rev-parse", "HEAD:docs/a.txt"))
    tip, data = attempt(clone, b"100664 zz\0" + blob)
    done = send(pushed, clone, tip, data)
    assert not done.ok and "docs/zz has the mode 100664" in done.said, done.said


def test_a_range_without_a_common_base_is_refused(pushed: Pushing) -> None:
    clone = pushed.clone("docs")
    clone.git("checkout", "-q", "--orphan", "new")
    clone.commit({"docs/x": b"1\n"})
    done = clone.push()
    assert not done.ok and "no commit of this repository below them" in done.said, done.said


@pytest.mark.parametrize(
    ("files", "options", "said"),
    [
        ({}, ("--allow-empty",), "it changes nothing: drop it"),
        ({"docs/.gitmodules": b"[submodule \"x\"]\n\tpath = x\n\turl = -u./x\n"}, (), "gitmodulesUrl"),
        ({"README": b"1\n"}, (), "README is not in the slice docs"),
    ],
)  # fmt: skip
def test_a_commit_that_cannot_be_taken_is_named(
    pushed: Pushing, files: dict[str, bytes | None], options: tuple[str, ...], said: str
) -> None:
    clone = pushed.clone("docs")
    clone.commit({"docs/ok": b"1\n"}, "Good")
    commit = clone.commit(files, "Bad", *options)
    done = clone.push()
    assert not done.ok and said in done.said, done.said
    assert commit[:10] in done.said or "Git does not accept" in done.said
    assert "docs/ok" not in pushed.world.files()  # all or none


@contextmanager
def limited(world: World, folder: Path, **changed: int) -> Iterator[Pushing]:
    other = World(Repository(replace(world.repo.settings, **changed)), world.all)
    with pushing(other, folder) as made:
        yield made


def test_limits_are_named(world: World, tmp_path: Path) -> None:
    with limited(world, tmp_path / "a", max_push_commits=2, max_push_bytes=100_000, max_blob_bytes=50_000) as pushed:
        (tmp_path / "a").mkdir(exist_ok=True)
        clone = pushed.clone("docs")
        for i in range(3):
            clone.commit({"docs/n": b"%d\n" % i})
        done = clone.push()
        assert not done.ok and "more than 2 new commits (max_push_commits)" in done.said, done.said
        clone.git("reset", "-q", "--hard", "origin/main")
        clone.commit({"docs/zeros": b"0" * 60_000})
        done = clone.push()
        assert not done.ok and "docs/zeros 60000 bytes; at most 50000 are allowed" in done.said, done.said
        clone.git("reset", "-q", "--hard", "origin/main")
        import os

        clone.commit({f"docs/r{i}": os.urandom(40_000) for i in range(10)})
        done = clone.push()
        assert not done.ok and "max_push_bytes" in done.said, done.said
        until(lambda: not pushed.left)
        clone.git("reset", "-q", "--hard", "origin/main")
        clone.commit({"docs/fine": b"1\n"})
        assert clone.push().ok
