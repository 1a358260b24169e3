"""What the gateway takes in memory, `git index-pack --strict` and `git rev-list` take too; the rest they judge."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path
from struct import pack

import pytest

from app.gateway.receive.incoming import Incoming
from app.gateway.receive.received import NotComplete
from app.gateway.receive.small import complete
from app.gateway.receive.small.in_memory import InMemory, read_small
from app.gateway.receive.small.pack import MOST_BYTES, Unusual, read_pack
from app.gateway.receive.small.store_objects import StoreObjects
from storage.base.ids import ObjectId
from storage.git.objects import Kind, object_id
from tests.support.git_repository import GitRepository
from tests.support.pack_entries import entry
from tests.support.pushing import run

WHO = b"Ada <ada@example.org> 1700000000 +0000"
NAMES = [
    b"a.txt", b"b", b"sub", b"sub.x", b"sub-", b"deep", b"new", b"zz", b"\xc3\xa9t\xc3\xa9", b".github",
    b".gitignore", b".", b"..", b".git", b".GIT", b"git~1", b".git ", b".git.", b".g\xe2\x80\x8cit", b"x/y", b"x\\.git",
    b".gitmodules", b".gitattributes", b"GITMOD~1", b"gi7eba~1", b".git::$INDEX_ALLOCATION", b"\xef\xbb\xbf.git",
    b"...", b" ", b"a\nb", b".git\xff",
    b".GitModules",
]  # fmt: skip
MODES = [
    b"100644", b"100644", b"100644", b"100755", b"120000", b"160000", b"40000", b"040000", b"100664", b"100600", b"0",
    b"100", b"644",
]  # fmt: skip
IDENTS = [
    b"Ada <ada@example.org> 1700000000", b"Ada <ada@example.org> 01700000000 +0000", b"<ada@example.org> 1 +0000",
    b"Ada<ada@example.org> 1 +0000", b"Ada <ada@example.org>1 +0000", b"Ada <a<b> 1 +0000", b"Ada a@b 1 +0000",
    b"Ada <ada@example.org> 1 0000", b"Ada <ada@example.org> 1 +000", b"Ada <ada@example.org> -1 +0000", b"", b"Ada",
    b"Ada <> 0 -1200", b"Ad\xe4 <\xff> 1 +0000", b" <a> 1 +0000", b"A\0 <a> 1 +0000", b"A> <a> 1 +0000",
    b"Ada <a> 99999999999999999999 +0000", b"Ada <a>  1 +0000", b"Ada <a> 1 +00000", b"Ada <a> 1  +0000",
]  # fmt: skip
HEADERS = [
    b"encoding ISO-8859-1\n", b"encoding \n", b"gpgsig -----BEGIN\n one\n two\n -----END\n", b"mergetag object\n x\n",
    b"author " + WHO + b"\n", b"parent " + b"1" * 40 + b"\n", b"x\0y\n", b"HG:extra x\n",
    b"gpgsig one\nencoding utf-8\n",
]  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two commits, one pack for each."""
    made = GitRepository.begun(tmp_path_factory.mktemp("small") / "work")
    files = {
        "a.txt": b"line\n" * 50,
        "b": b"b\n",
        "sub/x": b"x\n",
        "sub/y": b"y\n",
        "sub.x": b"1\n",
        "deep/er/f": b"f\n",
    }
    for count in range(2):
        for name, content in files.items():
            (made.path / name).parent.mkdir(parents=True, exist_ok=True)
            (made.path / name).write_bytes(content + b"%d\n" % count)
        made.git("add", "-A", ".")
        made.git("commit", "-q", "-m", f"Commit {count}")
        made.git("repack", "-d", "-q")
    bare = made.path.parent / "store.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(made.path), str(bare)], check=True)
    return bare


@dataclass
class Given:
    """A push in the making: objects by id, and what a random one does to it."""

    store: Path
    chance: random.Random
    objects: dict[ObjectId, tuple[Kind, bytes]] = field(default_factory=dict)

    def stored(self, name: str) -> tuple[ObjectId, bytes]:
        oid = run(self.store, "rev-parse", name).stdout.decode().strip()
        kind = run(self.store, "cat-file", "-t", oid).stdout.decode().strip()
        return ObjectId(bytes.fromhex(oid)), run(self.store, "cat-file", kind, oid).stdout

    def add(self, kind: Kind, data: bytes) -> ObjectId:
        oid = object_id(kind, data)
        self.objects[oid] = kind, data
        return oid

    def any_oid(self) -> ObjectId:
        """Return an object's id that a row may have: mostly a blob that is there."""
        stored = ["HEAD:a.txt", "HEAD:sub/x", "HEAD:sub", "HEAD~1:sub", "HEAD", "HEAD~1:a.txt"]
        choice = self.chance.random()
        if choice < 0.6:
            return self.add(Kind.BLOB, self.chance.randbytes(self.chance.choice([0, 5, 300])))
        if choice < 0.8:
            return self.stored(self.chance.choice(stored))[0]
        if choice < 0.85:
            return ObjectId(b"\0" * 20)
        if choice < 0.9:
            return ObjectId(self.chance.randbytes(20))
        return self.chance.choice(list(self.objects) or [ObjectId(b"2" * 20)])

    def row(self, is_odd: bool) -> bytes:
        if not is_odd:
            name = self.chance.choice([b"a.txt", b"new", b"other", b"zz", b"\xc3\xa9t\xc3\xa9", b".gitignore"])
            return b"100644 %s\0%s" % (name, self.add(Kind.BLOB, self.chance.randbytes(self.chance.randrange(400))))
        mode, name = self.chance.choice(MODES), self.chance.choice(NAMES)
        if mode in (b"40000", b"040000") and self.chance.random() < 0.7:
            return b"%s %s\0%s" % (mode, name, self.add(Kind.TREE, self.row(False)))
        return b"%s %s\0%s" % (mode, name, self.any_oid())

    def tree(self, data: bytes, odd: float) -> ObjectId:
        """Return a tree with some rows of another one, and some that are new."""
        rows = {}
        while data:
            end = data.index(b"\0") + 21
            rows[data[:end].partition(b" ")[2].partition(b"\0")[0]] = data[:end]
            data = data[end:]
        for _ in range(self.chance.randrange(1, 4)):
            row = self.row(self.chance.random() < odd)
            rows[row.partition(b" ")[2].partition(b"\0")[0]] = row
        if self.chance.random() < 0.3 and len(rows) > 2:
            del rows[self.chance.choice(list(rows))]
        made = sorted(rows.values(), key=_key)
        if self.chance.random() < odd / 3:
            self.chance.shuffle(made)
        if self.chance.random() < odd / 3:
            made.append(self.chance.choice(made))
        return self.add(Kind.TREE, b"".join(made))

    def commit(self, parent: ObjectId, tree: ObjectId, odd: float) -> ObjectId:
        def ident() -> bytes:
            return self.chance.choice(IDENTS) if self.chance.random() < odd / 3 else WHO

        parents = b"parent %s\n" % parent.hex().encode()
        if self.chance.random() < odd / 4:
            parents = self.chance.choice([b"", parents * 2, b"parent %s\n" % self.any_oid().hex().encode()])
        head = b"tree %s\n%sauthor %s\ncommitter %s\n" % (tree.hex().encode(), parents, ident(), ident())
        if self.chance.random() < odd / 2:
            head += self.chance.choice(HEADERS)
        message = self.chance.choice([b"Subject\n", b"", b"Gr\xfc\xdfe\n", b"a\0b\n"] if odd else [b"Subject\n"])
        return self.add(Kind.COMMIT, head + b"\n" + message)

    def _forget_unnamed(self) -> None:
        """Leave out what a row named that another one took the place of."""
        tip, kept = list(self.objects)[-1], -1
        while len(self.objects) != kept:
            kept = len(self.objects)
            named = b"".join(data for _, data in self.objects.values())
            self.objects = {
                oid: made
                for oid, made in self.objects.items()
                if oid == tip or oid in named or oid.hex().encode() in named
            }

    def packed(self, odd: float) -> bytes:
        """Return the pack of its objects, some as deltas."""
        if self.chance.random() >= odd / 3:
            self._forget_unnamed()
        entries, ids = [], list(self.objects)
        self.chance.shuffle(ids)
        at = {}
        place = 12
        for oid in ids:
            kind, data = self.objects[oid]
            bases = [each for each in ids if self.objects[each][0] == kind and each != oid]
            made = entry(kind, data)
            if bases and self.chance.random() < 0.4:
                base = self.chance.choice(bases)
                delta = _delta(self.objects[base][1], data, self.chance.random() < odd / 4)
                if base in at and self.chance.random() < 0.5:
                    made = entry(6, delta, _distance(place - at[base]))
                elif base in at:  # else some would be in a circle
                    made = entry(7, delta, base)
            elif kind == Kind.BLOB and self.chance.random() < 0.2:
                base, content = self.stored("HEAD:a.txt")
                made = entry(7, _delta(content, data, False), base)
            at[oid] = place
            place += len(made)
            entries.append(made)
        body = b"PACK" + pack(">II", 2, len(entries)) + b"".join(entries)
        if self.chance.random() < odd / 5:
            spoilt = self.chance.randrange(len(body))
            body = body[:spoilt] + self.chance.randbytes(1) + body[spoilt + 1 :]
        return body + sha1(body, usedforsecurity=False).digest()


def _key(row: bytes) -> bytes:
    mode, _, name = row.partition(b"\0")[0].partition(b" ")
    return name + (b"/" if mode in (b"40000", b"040000") else b"")


def _distance(distance: int) -> bytes:
    made = [distance & 0x7F]
    while distance := distance >> 7:
        distance -= 1
        made.append(0x80 | (distance & 0x7F))
    return bytes(reversed(made))


def _size(size: int) -> bytes:
    made = bytearray()
    while size > 0x7F:
        made.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*made, size])


def _delta(base: bytes, data: bytes, is_spoilt: bool) -> bytes:
    """Return instructions that copy what both begin with, and insert the rest."""
    same = 0
    while same < min(len(base), len(data), 0xFFFF) and base[same] == data[same]:
        same += 1
    made = _size(len(base)) + _size(len(data))
    if same:
        made += bytes([0x80 | 0x10 | 0x20, same & 0xFF, same >> 8])
    for at in range(same, len(data), 127):
        piece = data[at : at + 127]
        made += bytes([len(piece)]) + piece
    return made[:-1] + b"\x00" if is_spoilt else made


def never(data: bytes) -> Incoming:
    pytest.fail("it needs no Git")


def judged_by_git(folder: Path, store: Path, data: bytes, tip: ObjectId) -> bool:
    incoming = Incoming(folder, store)
    try:
        incoming.take(iter([data]), 1 << 30)
        incoming.finish([tip])
        incoming.check()
    except NotComplete:
        return False
    finally:
        incoming.remove()
    return True


def push(store: Path, seed: int, odd: float) -> tuple[Given, ObjectId]:
    given = Given(store, random.Random(seed))
    parent, _ = given.stored("HEAD")
    _, data = given.stored("HEAD^{tree}")
    for _ in range(given.chance.randrange(1, 4)):
        tree = given.tree(data, odd)
        parent = given.commit(parent, tree, odd)
        data = given.objects[tree][1]
    return given, parent


@pytest.mark.parametrize(("odd", "least"), [(0.0, 58), (0.05, 15), (0.2, 4)])
def test_what_is_taken_in_memory_git_takes_too(store: Path, tmp_path: Path, odd: float, least: int) -> None:
    objects = StoreObjects(store)
    taken = refused = 0
    for seed in range(60):
        given, tip = push(store, seed, odd)
        data = given.packed(odd)
        small = read_small(iter([data]), tip, objects, never)
        if not isinstance(small, InMemory):
            assert b"".join(small) == data, seed
            refused += not judged_by_git(tmp_path, store, data, tip)
            continue
        taken += 1
        assert judged_by_git(tmp_path, store, data, tip), (odd, seed)
        for oid, (kind, content) in given.objects.items():
            if kind == Kind.BLOB:
                assert small.content(oid, 1 << 20) == content
        assert small.commit(tip).tree == ObjectId(bytes.fromhex(given.objects[tip][1][5:45].decode()))
    print(f"odd {odd}: {taken} taken in memory, {refused} refused by Git")
    assert taken >= least
    assert refused >= 40 * odd


def rows(given: Given, *added: bytes, without: bytes = b"") -> ObjectId:
    """Return a commit whose folder has some rows more, in Git's order, and perhaps one less."""
    parent, _ = given.stored("HEAD")
    _, data = given.stored("HEAD^{tree}")
    own = []
    while data:
        end = data.index(b"\0") + 21
        own.append(data[:end])
        data = data[end:]
    kept = [row for row in own if not without or not row.partition(b"\0")[0].endswith(b" " + without)]
    return given.commit(parent, given.add(Kind.TREE, b"".join(sorted([*kept, *added], key=_key))), 0.0)


def by_turns(given: Given) -> ObjectId:
    """Return a commit above some that have, by turns, two trees with a row whose object is nowhere."""
    store, row = given.stored("HEAD")[0], b"100644 new\0" + b"3" * 20
    trees = [given.objects[rows(given, row, *more)][1][5:45] for more in ([], [b"100644 zz\0" + _blob(given)])]
    given.objects = {oid: made for oid, made in given.objects.items() if made[0] != Kind.COMMIT}
    oid = store
    for turn in range(3):
        oid = given.commit(oid, ObjectId(bytes.fromhex(trees[turn % 2].decode())), 0.0)
    return oid


def _blob(given: Given) -> ObjectId:
    return given.add(Kind.BLOB, b"1")


Attack = Callable[[Given], ObjectId]
ATTACKS: dict[str, Attack] = {
    "a row whose object is nowhere": lambda given: rows(given, b"100644 new\0" + b"3" * 20),
    "a row whose object is nowhere, in two trees by turns": by_turns,
    "no object at all": lambda given: rows(given, b"100644 new\0" + b"\0" * 20),
    "a folder that is nowhere": lambda given: rows(given, b"40000 new\0" + b"3" * 20),
    "a folder that is a file of the store": lambda given: rows(given, b"40000 new\0" + given.stored("HEAD:a.txt")[0]),
    "a file that is a folder of the store": lambda given: rows(given, b"100644 new\0" + given.stored("HEAD:sub")[0]),
    "one object as a file and as a folder": lambda given: rows(
        given, b"100644 new\0" + given.add(Kind.BLOB, b""), b"40000 new2\0" + given.add(Kind.BLOB, b"")
    ),
    "a file and a folder of one name": lambda given: rows(
        given, b"100644 sub\0" + given.add(Kind.BLOB, b"1"), b"100644 sub-\0" + given.add(Kind.BLOB, b"2")
    ),
    "a name that is .git to some": lambda given: rows(given, b"100644 GIT~1\0" + given.add(Kind.BLOB, b"1")),
    "a mode with a zero before it": lambda given: rows(given, b"0100644 new\0" + given.add(Kind.BLOB, b"1")),
    "submodules by a hostile address": lambda given: rows(
        given, b"100644 .gitmodules\0" + given.add(Kind.BLOB, b'[submodule "x"]\n\tpath = x\n\turl = -u./x\n')
    ),
    "a parent that is a tree": lambda given: given.commit(
        given.stored("HEAD:sub")[0], given.stored("HEAD^{tree}")[0], 0
    ),
    "a parent that is nowhere": lambda given: given.commit(ObjectId(b"3" * 20), given.stored("HEAD^{tree}")[0], 0),
    "a large tree that is none": lambda given: given.commit(  # as a few bytes, that could take hours to look through
        given.stored("HEAD")[0], given.add(Kind.TREE, b"7 " * (1 << 19)), 0
    ),
    "a tree that is nowhere": lambda given: given.commit(given.stored("HEAD")[0], ObjectId(b"3" * 20), 0),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_git_refuses_is_left_for_git(store: Path, tmp_path: Path, attack: str) -> None:
    given = Given(store, random.Random(1))
    tip = ATTACKS[attack](given)
    data = given.packed(0.0)
    assert not judged_by_git(tmp_path, store, data, tip)
    assert not isinstance(read_small(iter([data]), tip, StoreObjects(store), never), InMemory)


@pytest.mark.parametrize(
    "what", ["an object that nothing names", "a tag", "too many bytes", "an object twice", "trailer"]
)
def test_what_is_not_ordinary_is_left_for_git(store: Path, what: str) -> None:
    given = Given(store, random.Random(1))
    tip = rows(given, b"100644 new\0" + given.add(Kind.BLOB, b"1"))
    entries = [entry(kind, data) for kind, data in given.objects.values()]
    if what == "an object that nothing names":
        entries.append(entry(Kind.BLOB, b"nobody looks at it"))
    elif what == "a tag":
        entries.append(entry(Kind.TAG, b"object %s\ntype commit\ntag x\ntagger %s\n\nm\n" % (tip.hex().encode(), WHO)))
    elif what == "too many bytes":
        entries.append(entry(Kind.BLOB, random.Random(1).randbytes(MOST_BYTES)))
    elif what == "an object twice":
        entries.append(entries[0])
    body = b"PACK" + pack(">II", 2, len(entries)) + b"".join(entries)
    data = body + (b"x" * 20 if what == "trailer" else sha1(body, usedforsecurity=False).digest())
    small = read_small(iter([data[:100], data[100:]]), tip, StoreObjects(store), never)
    assert not isinstance(small, InMemory) and b"".join(small) == data


def test_the_same_without_that_is_taken(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = Given(store, random.Random(1))
    tip = rows(given, b"100644 new\0" + given.add(Kind.BLOB, b"1"), without=b"b")
    assert isinstance(read_small(iter([given.packed(0.0)]), tip, StoreObjects(store), never), InMemory)
    monkeypatch.setattr(complete, "_MOST_COMPARED", 3)  # rows of the folder that stood there
    assert not isinstance(read_small(iter([given.packed(0.0)]), tip, StoreObjects(store), never), InMemory)


def test_a_store_is_asked_for_few_bases_that_it_has_not() -> None:
    """Each is a look into all of its packs, whose folder is read again."""
    chance = random.Random(1)
    asked: list[ObjectId] = []
    entries = [entry(7, _delta(b"", b"%d\n" % i, False), chance.randbytes(20)) for i in range(200)]
    body = b"PACK" + pack(">II", 2, len(entries)) + b"".join(entries)
    with pytest.raises(Unusual):
        read_pack(body + sha1(body, usedforsecurity=False).digest(), asked.append)
    assert 0 < len(asked) < 20
