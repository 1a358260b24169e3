r"""Git objects as values: ids, trees' rows and commits. Pure.

Formats: Git's Documentation/gitformat-pack.txt, `git help hash-object`, and fsck.c for tags. A tree is kept as its
sorted rows, each the bytes `<mode> <name>\0<id>` that Git stores, since joining rows is what makes an edit cheap.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from hashlib import sha1

import msgspec

from storage.base.errors import Corrupt
from storage.base.ids import ObjectId


class Kind(IntEnum):
    """Git's object types, with the numbers that packs use."""

    COMMIT = 1
    TREE = 2
    BLOB = 3
    TAG = 4


TREE_MODE = 0o40000
FILE_MODE = 0o100644
EXECUTABLE_MODE = 0o100755
REGULAR_MODES = (FILE_MODE, EXECUTABLE_MODE)
SYMLINK_MODE = 0o120000
SUBMODULE_MODE = 0o160000
UNKNOWN_MODE = 0
"""Of a version that a writer named by its id alone: nobody knows whether it was a symlink, or executable."""


_KIND_BITS = 0o170000


class ModeText(StrEnum):
    """Modes of files as `git diff-tree` and the API write them."""

    ABSENT = "000000"
    FILE = f"{FILE_MODE:o}"
    EXECUTABLE = f"{EXECUTABLE_MODE:o}"
    SYMLINK = f"{SYMLINK_MODE:o}"
    SUBMODULE = f"{SUBMODULE_MODE:o}"


REGULAR_MODE_TEXTS = frozenset({ModeText.FILE, ModeText.EXECUTABLE})
MODE_TEXTS = frozenset(ModeText) - {ModeText.ABSENT}

_NAMES = {Kind.COMMIT: b"commit", Kind.TREE: b"tree", Kind.BLOB: b"blob", Kind.TAG: b"tag"}
# The whole row and its name. `[^\0]+` cannot run into the id, which follows the NUL and has a fixed length. Where no
# row is, all that is left is taken at once: looked for at each byte anew, what anybody pushes in 2 KiB takes hours.
_ROW = re.compile(rb"([0-7]+ ([^\0]+)\0.{20})|.+", re.DOTALL)
_TAG_HEAD = re.compile(rb"object ([0-9a-f]{40})\ntype (commit|tree|blob|tag)\ntag ([^\n]*)\n(?:tagger ([^\n]*)\n)?")
_TAGGER = re.compile(r"(.*?) ?<([^<>]*)>(?: (-?[0-9]{1,18}) ([+-])([0-9]{2})([0-9]{2}))?")
# Some old program wrote modes with a zero before them, which Git reads.
_DIRECTORY = (b"4", b"04")
# Two byte strings have heads of 33 bytes each, are rounded up, and stand in two lists.
_ROW_MEMORY = 100


class CorruptObject(Corrupt):
    """Stored bytes are not the expected Git object."""


def object_id(kind: Kind, data: bytes) -> ObjectId:
    """Return the id that Git gives to `data` as an object of `kind`."""
    return ObjectId(sha1(b"%s %d\0" % (_NAMES[kind], len(data)) + data).digest())


EMPTY_TREE = object_id(Kind.TREE, b"")


class Version(msgspec.Struct, frozen=True, gc=False):
    """What stands at a path: a file, a symlink, a submodule or a directory. Absent is None, never a Version."""

    mode: int
    oid: ObjectId

    @property
    def is_tree(self) -> bool:
        """Whether it is a directory."""
        return self.mode == TREE_MODE


def as_file(version: Version | None) -> Version | None:
    """Return a file's version; where a directory stands there is no file."""
    return None if version is None or version.is_tree else version


def row(mode: int, name: bytes, oid: bytes) -> bytes:
    """Return the row of a tree for one name."""
    return b"%o %s\0%s" % (mode, name, oid)


class Tree:
    """A tree's rows in Git's order, and their sort keys: the name, with `/` behind it for a directory."""

    __slots__ = ("in_order", "keys", "rows", "size")

    def __init__(self, keys: list[bytes], rows: list[bytes], size: int | None = None) -> None:
        """`size` is the number of bytes of all rows, where the caller knows it."""
        self.keys = keys
        self.rows = rows
        self.size = sum(map(len, rows)) if size is None else size
        self.in_order = False
        """Whether somebody has checked that the rows are in Git's order, and that no name stands twice."""

    @property
    def memory(self) -> int:
        """About how many bytes it takes here: of each row the bytes, those of its key, and what Python adds to both."""
        return 2 * self.size + _ROW_MEMORY * len(self.rows)

    @classmethod
    def parse(cls, data: bytes) -> Tree:
        """Read a tree object. Raises CorruptObject where the bytes are not rows in strictly ascending order."""
        matches = _ROW.findall(data)
        rows = [whole for whole, _ in matches]
        keys = [name + b"/" if whole.startswith(_DIRECTORY) else name for whole, name in matches]
        if sum(map(len, rows)) != len(data):
            raise CorruptObject("a tree has bytes that are no row")
        return cls(keys, rows, len(data))

    def encode(self) -> bytes:
        """Return the tree object's bytes."""
        return b"".join(self.rows)

    def get(self, name: bytes) -> Version | None:
        """Return what stands under `name` here, or None."""
        i = self.find(name)
        return None if i < 0 else version_of(self.rows[i])

    def find(self, name: bytes) -> int:
        """Return the position of `name`, or -1."""
        keys = self.keys
        for key in (name, name + b"/"):
            i = bisect_left(keys, key)
            if i < len(keys) and keys[i] == key:
                return i
        return -1

    def find_key(self, key: bytes) -> int:
        """Return the position of a name that is no directory's, or of a directory's with `/` behind it; or -1."""
        i = bisect_left(self.keys, key)
        return i if i < len(self.keys) and self.keys[i] == key else -1

    def directories(self) -> list[ObjectId]:
        """Return the ids of the trees that stand here."""
        return [ObjectId(self.rows[i][-20:]) for i, key in enumerate(self.keys) if key.endswith(b"/")]

    def items(self) -> Iterator[tuple[bytes, Version]]:
        """Yield names and versions in Git's order."""
        for key, whole in zip(self.keys, self.rows, strict=True):
            yield key.rstrip(b"/"), version_of(whole)


def canonical(mode: int) -> int:
    """Return what Git reads where a tree has this mode: of a file's rights only whether its owner may execute it."""
    if mode & _KIND_BITS == FILE_MODE & _KIND_BITS:
        return EXECUTABLE_MODE if mode & 0o100 else FILE_MODE
    return mode


def version_of(whole: bytes) -> Version:
    """Return the version in a row."""
    if whole[:7] == b"100644 ":  # nearly all rows, and it takes half the time
        mode = FILE_MODE
    elif whole[:6] == b"40000 ":
        mode = TREE_MODE
    else:
        mode = canonical(int(whole[: whole.index(b" ")], 8))
    return Version(mode, ObjectId(whole[-20:]))


@dataclass(frozen=True, slots=True)
class Ident:
    """Who and when: a name, an e-mail address, seconds since the epoch and minutes east of Greenwich."""

    name: str
    email: str
    time: int
    zone: int = 0

    def encode(self) -> bytes:
        """Return it as it stands in a commit."""
        sign, minutes = ("-", -self.zone) if self.zone < 0 else ("+", self.zone)
        return f"{self.name} <{self.email}> {self.time} {sign}{minutes // 60:02}{minutes % 60:02}".encode()


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit object."""

    tree: ObjectId
    parents: tuple[ObjectId, ...]
    author: Ident
    committer: Ident
    message: str

    def encode(self) -> bytes:
        """Return the commit object's bytes."""
        lines = [b"tree " + self.tree.hex().encode()]
        lines += [b"parent " + parent.hex().encode() for parent in self.parents]
        lines += [
            b"author " + self.author.encode(),
            b"committer " + self.committer.encode(),
            b"",
            self.message.encode(),
        ]
        return b"\n".join(lines)

    @classmethod
    def parse(cls, data: bytes) -> Commit:
        """Read a commit object, of ours or of an imported history, to be shown. Raises CorruptObject where it is none.

        What is not text of the commit's encoding is replaced; what is no time or zone is 0.
        """
        head, _, message = data.partition(b"\n\n")
        fields: dict[bytes, list[bytes]] = {}
        for line in head.split(b"\n"):
            name, _, value = line.partition(b" ")
            fields.setdefault(name, []).append(value)
        encoding = fields.get(b"encoding", [b"utf-8"])[0].decode(errors="replace")
        try:
            return cls(
                ObjectId(bytes.fromhex(fields[b"tree"][0].decode())),
                tuple(ObjectId(bytes.fromhex(p.decode())) for p in fields.get(b"parent", [])),
                _parse_ident(fields[b"author"][0], encoding),
                _parse_ident(fields[b"committer"][0], encoding),
                _text(message, encoding),
            )
        except (KeyError, ValueError) as error:
            raise CorruptObject("not a commit") from error


_IDENT = re.compile(rb"(.*?) ?<(.*)>(?: *(-?[0-9]{1,18})(?: +([+-])([0-9]{2,})([0-9]{2}))?)?[^>]*", re.DOTALL)
_MOST_MINUTES = 100 * 60  # what Git shows of a zone, and more than any place has


def _parse_ident(raw: bytes, encoding: str) -> Ident:
    found = _IDENT.fullmatch(raw)
    if found is None:
        return Ident(_text(raw, encoding), "", 0)
    name, email, seconds, sign, hours, minutes = found.groups()
    zone = min(_MOST_MINUTES, int(hours) * 60 + int(minutes)) if sign else 0
    return Ident(_text(name, encoding), _text(email, encoding), int(seconds or 0), -zone if sign == b"-" else zone)


def _text(raw: bytes, encoding: str) -> str:
    """Return bytes as text: UTF-8, else the encoding that a commit names, else with what is none replaced."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        pass
    try:
        return raw.decode(encoding)
    except (LookupError, UnicodeError):
        return raw.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class TagObject:
    """What a tag object says. Bytes that are not UTF-8 are shown as U+FFFD: it is read, and never written again."""

    target: ObjectId
    kind: str  # of the target, as Git names it
    name: str
    tagger: Ident | None  # old tags have none
    message: str  # with a signature, if it has one

    @classmethod
    def parse(cls, data: bytes) -> TagObject:
        """Read a tag object, also one of another program's. Raises CorruptObject where it is none."""
        head, _, message = data.partition(b"\n\n")
        match = _TAG_HEAD.match(head + b"\n")
        if match is None:
            raise CorruptObject("not a tag")
        target, kind, name, tagger = match.groups()
        return cls(
            ObjectId(bytes.fromhex(target.decode())),
            kind.decode(),
            name.decode(errors="replace"),
            _tagger(tagger.decode(errors="replace")) if tagger is not None else None,
            message.decode(errors="replace"),
        )


def encode_tag(commit: ObjectId, name: str, tagger: Ident, message: str) -> bytes:
    """Return the bytes of a tag of a commit; the message ends with a line feed, as `git tag -m` has it."""
    head = b"object %s\ntype commit\ntag %s\ntagger %s\n\n" % (commit.hex().encode(), name.encode(), tagger.encode())
    return head + message.strip("\n").encode() + b"\n"


def _tagger(text: str) -> Ident | None:
    match = _TAGGER.fullmatch(text)
    if match is None:
        return None
    name, email, time, sign, hours, minutes = match.groups()
    zone = int(hours) * 60 + int(minutes) if hours else 0
    return Ident(name, email, int(time or 0), -zone if sign == "-" else zone)
