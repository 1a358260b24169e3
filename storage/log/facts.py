"""What is told of a changeset besides its outcome, and under which names lists find it. Pure.

Lists of changesets by submitter, author, label or path are found by digests, each of a kind and a value: 8 bytes,
whatever the value is. Two values with one digest are told apart by what is read of the changesets that are found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from hashlib import blake2b

from storage.access.covering import covering
from storage.git.paths import recorded_path
from storage.log.manifest import Changeset
from storage.log.records import Decided, Facts, Status, Waiting

SUBJECT_CHARACTERS = 160
"""Characters of a message's first line that lists and events show at most."""

DIGEST_BYTES = 8


def facts_of(changeset: Changeset, covers: tuple[str, ...], more: int = 0) -> Facts:
    """Return what lists and events tell of a changeset, given `covers_of` it with so many `more` paths."""
    message = changeset.message.strip()
    subject = message.partition("\n")[0].rstrip()[:SUBJECT_CHARACTERS]
    count = len(changeset.changes) + more
    base = changeset.base_changeset or (changeset.base_commit.hex() if changeset.base_commit else None)
    return Facts(
        author=(changeset.author.name, changeset.author.email), subject=subject, more=len(subject) < len(message),
        labels=changeset.labels, base=base, paths=0 if names_each(covers, count) else count,
    )  # fmt: skip


def waiting_of(changeset: Changeset) -> Waiting:
    """Return what lists tell of a changeset that is not decided."""
    covers = covers_of(changeset)
    by = changeset.by.principal if changeset.by else ""
    return Waiting(facts=facts_of(changeset, covers), by=by, covers=covers)


def covers_of(changeset: Changeset, more: Iterable[bytes] = ()) -> tuple[str, ...]:
    """Return path prefixes that hold all that a changeset changes, and `more` paths."""
    paths = dict.fromkeys([*(change.path for change in changeset.changes), *more])
    return tuple([recorded_path(prefix) for prefix in covering(paths)])


def names_each(covers: tuple[str, ...], count: int) -> bool:
    """Tell whether these prefixes are the `count` paths of a changeset themselves, and no directories."""
    return len(covers) == count and not any(prefix.endswith("/") for prefix in covers)


def digest_of(kind: str, value: str) -> bytes:
    """Return the digest by which a list finds its changesets; `kind` is a field of `Wanted`."""
    return blake2b(f"{kind}\0{value}".encode(), digest_size=DIGEST_BYTES).digest()


_frequent_digest = lru_cache(maxsize=4096)(digest_of)


def label_value(key: str, value: str) -> str:
    """Return a label as one text; no key has a colon."""
    return f"{key}:{value}"


def said_digests(facts: Facts, submitter: str | None) -> Iterator[bytes]:
    """Yield the digests by which a changeset is found whatever becomes of it."""
    if submitter:
        yield _frequent_digest("submitter", submitter)
    yield _frequent_digest("author", facts.author[1])
    for key, value in facts.labels.items():
        yield digest_of("label", label_value(key, value))


def digests(decided: Decided) -> Iterator[bytes]:
    """Yield the digests by which a decided changeset is found.

    By path are found those that were committed, and those that are in conflict there.
    """
    submitter = decided.by.principal if decided.by else None
    if decided.facts:
        yield from said_digests(decided.facts, submitter)
    elif submitter:
        yield _frequent_digest("submitter", submitter)
    for change in decided.changes:
        yield digest_of("path", change.path)
    for followed in decided.followed:
        yield digest_of("path", followed.to)
    if decided.status == Status.CONFLICTED:
        for conflict in decided.conflicts:
            yield digest_of("path", conflict.path)
