"""The commits of a push as values: what their objects say, which of them are new, and what each changes. Pure."""

from __future__ import annotations

import encodings
import encodings.aliases
import pkgutil
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from storage.base.errors import Refused
from storage.base.ids import ObjectId
from storage.git.fsck import FsckError, check_ident
from storage.git.objects import Ident
from storage.git.trailers import NO_SUBJECT, carries, names_changeset, trailers
from storage.log.records import Pushed

SHOWN_DIGITS = 10
_IDENT = re.compile(rb"(.*?) ?<([^<>\n]*)> (\d{1,12}) ([+-])(\d{2})(\d{2})")
_LAST_TIME = 253402214399  # the year 9999
# Bytes of each line about author and committer, and of the name of an encoding, which are kept with the changeset.
_LONGEST_LINE = 1000
_MOST_PARENTS = 100  # each is looked up
# Python remembers each name of an encoding that it is asked for, whether there is one or not.
_ENCODINGS = {module.name for module in pkgutil.iter_modules(encodings.__path__)} | encodings.aliases.aliases.keys()
_BREAKS = re.compile(r"(\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029])")


class CommitRefused(Refused):
    """A commit cannot become a changeset."""

    def __init__(self, commit: ObjectId, why: str) -> None:
        super().__init__(f"{commit.hex()[:SHOWN_DIGITS]}: {why}")


@dataclass(frozen=True, slots=True)
class PushedCommit:
    """A commit as its object says; the texts are its bytes."""

    oid: ObjectId
    tree: ObjectId
    parents: tuple[ObjectId, ...]
    author: bytes
    committer: bytes
    encoding: bytes
    message: bytes

    @classmethod
    def parse(cls, oid: ObjectId, data: bytes) -> PushedCommit:
        """Read a commit object. Raises CommitRefused."""
        head, _, message = data.partition(b"\n\n")
        fields: dict[bytes, list[bytes]] = {}
        for line in head.split(b"\n"):
            name, _, value = line.partition(b" ")  # a line that goes on, as a signature's do, begins with a space
            fields.setdefault(name, []).append(value)
        try:
            made = cls(
                oid,
                _oid(fields[b"tree"][0]),
                tuple(_oid(parent) for parent in fields.get(b"parent", [])),
                fields[b"author"][0],
                fields[b"committer"][0],
                fields.get(b"encoding", [b""])[0],
                message,
            )
        except (KeyError, ValueError) as error:
            raise CommitRefused(oid, "it is no commit that Git makes") from error
        if max(len(made.author), len(made.committer), len(made.encoding)) > _LONGEST_LINE:
            raise CommitRefused(oid, f"its author, committer or encoding has more than {_LONGEST_LINE} bytes")
        if len(made.parents) > _MOST_PARENTS:
            raise CommitRefused(oid, f"it has more than {_MOST_PARENTS} parents")
        return made

    def record(self, message: bytes | None = None) -> Pushed:
        """Return what its changeset keeps of it; of several commits in one, with their common message."""
        said = self.message if message is None else message
        return Pushed.of(self.oid, self.author, self.committer, said, self.encoding)

    @property
    def subject(self) -> str:
        """The first line of its message, cut."""
        return self.text.strip().partition("\n")[0].strip()[:60] or NO_SUBJECT

    @property
    def text(self) -> str:
        """Its message as text, whatever its bytes are."""
        return decoded(self.message, self.encoding)

    def said(self, message: str | None = None) -> str:
        """Return the message of its changeset: without trailers that are Sluice's to write, and with a subject.

        A commit that was cherry-picked from the whole repository has some. What was pushed is kept in the record.
        """
        text = self.text if message is None else message
        if "changeset-" in text.lower() or "\u017f" in text:
            parts = _BREAKS.split(text)
            lines = zip(parts[::2], [*parts[1::2], ""], strict=True)
            text = "".join(line + end for line, end in lines if not names_changeset(line))
        return text if text.strip() and carries(text) else f"{NO_SUBJECT}\n\n{text}"

    def ident(self) -> Ident:
        """Return its author. Raises CommitRefused."""
        match = _IDENT.fullmatch(self.author)
        if match is None:
            raise CommitRefused(self.oid, "its author is not as Git writes one")
        name, email = (decoded(part, self.encoding).strip() for part in (match[1], match[2]))
        try:
            check_ident(name, email)
        except FsckError as error:
            raise CommitRefused(self.oid, f"author: {error}") from None
        minutes = int(match[5]) * 60 + int(match[6])
        if int(match[3]) > _LAST_TIME:
            raise CommitRefused(self.oid, "author: its time is beyond the year 9999")
        return Ident(name, email, int(match[3]), -minutes if match[4] == b"-" else minutes)

    @property
    def change_id(self) -> str | None:
        """The last trailer Change-Id, as Gerrit's hook writes it."""
        found = [value for name, value in trailers(self.text) if name.lower() == "change-id"]
        return found[-1] if found else None


def _oid(text: bytes) -> ObjectId:
    oid = bytes.fromhex(text.decode())
    if len(oid) != 20:
        raise ValueError("no object id")
    return ObjectId(oid)


def decoded(data: bytes, encoding: bytes = b"") -> str:
    """Return bytes as text: by the commit's own encoding, else UTF-8, else each byte as the character of its number."""
    for name in (encoding.decode("ascii", "replace"), "utf-8"):
        if not is_encoding(name):
            continue
        try:
            text = data.decode(name)
            text.encode()
        except (LookupError, ValueError):
            continue
        if "\0" not in text:
            return text
    return data.decode("latin-1")


def is_encoding(name: str) -> bool:
    """Tell whether there may be an encoding of a name: one that a client has given is asked for only then."""
    return encodings.normalize_encoding(name).lower() in _ENCODINGS


@dataclass(frozen=True, slots=True)
class Range:
    """The new commits of a push, oldest first, and the clone store's commit on which they stand."""

    commits: tuple[PushedCommit, ...]
    base: ObjectId  # of the clone store
    has_merges: bool = False


class NoCommonBase(Refused):
    """The pushed commits have no commit of this repository below them: clone it anew, or rebase onto origin/main."""


class TooManyCommits(Refused):
    """A push has more new commits than one may have."""


def new_commits(
    tip: ObjectId,
    read: Callable[[ObjectId], PushedCommit],
    is_known: Callable[[ObjectId], bool],
    merge_base: Callable[[ObjectId], ObjectId | None],
    most: int,
) -> Range:
    """Return the commits up to `tip` that the store has not. `is_known` tells which it has.

    `merge_base` finds, where there are merges among them, the best common ancestor of a commit and the branch. Raises
    NoCommonBase, TooManyCommits and CommitRefused.
    """
    found: dict[ObjectId, PushedCommit] = {}
    base: ObjectId | None = None
    waiting = [tip]
    has_merges = False
    while waiting:
        oid = waiting.pop()
        if oid in found:
            continue
        if is_known(oid):
            base = oid
            continue
        if len(found) >= most:
            raise TooManyCommits(f"the push has more than {most} new commits (max_push_commits)")
        commit = found[oid] = read(oid)
        has_merges = has_merges or len(commit.parents) > 1
        waiting += commit.parents
        if not commit.parents and not has_merges and not waiting:
            raise NoCommonBase
    if has_merges:
        base = merge_base(tip)
    if base is None:
        raise NoCommonBase
    return Range(tuple(_oldest_first(tip, found)), base, has_merges)


def _oldest_first(tip: ObjectId, found: dict[ObjectId, PushedCommit]) -> Iterator[PushedCommit]:
    """Yield commits, each behind its parents."""
    done: set[ObjectId] = set()
    trail = [(tip, False)]
    while trail:
        oid, is_ready = trail.pop()
        if is_ready:
            yield found[oid]
        elif oid in found and oid not in done:
            done.add(oid)
            trail.append((oid, True))
            trail += [(parent, False) for parent in reversed(found[oid].parents)]


def joined_message(commits: Sequence[PushedCommit]) -> str:
    """Return the message of several commits in one changeset: the first one's, and the subjects of the others."""
    own = [commit for commit in commits if len(commit.parents) < 2] or list(commits)
    first, others = own[0], own[1:]
    if not others:
        return first.text
    subjects = "".join(f"* {commit.subject}\n" for commit in others)
    return f"{first.text.rstrip()}\n\n{subjects}"
