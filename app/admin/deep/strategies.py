"""What strategies make of a changeset, said to a judge that knows none. Pure."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from app.admin.deep.merges import Case
from storage.git.objects import REGULAR_MODES, Version
from storage.git.threeway import Strategy
from storage.log.manifest import Changeset

Versions = Mapping[bytes, Version | None]


@dataclass(slots=True)
class Applied:
    """The versions that take the place of others."""

    # As if the writer had submitted what stands in the head, or its content; and as if the writer had seen it.
    keep: dict[bytes, Version | None] = field(default_factory=dict)
    over: dict[bytes, Version | None] = field(default_factory=dict)


def apply_strategies(
    case: Case, changeset: Changeset, before: Versions, heads: Versions, wanted: Versions, moved: Container[bytes]
) -> Applied:
    """Return what strategies make of the changes, but for those of files that `moved`.

    Notes in the case what Git might take for a rename, and what must be a conflict.
    """
    made = Applied()
    for change in changeset.changes:
        if change.path in moved or change.source is not None:
            continue
        b, h, n = (versions[change.path] for versions in (before, heads, wanted))
        if b not in (h, n) and (h is None or n is None):
            case.may_rename = True
        if h == b or n in (b, h):
            continue
        match change.strategy:
            case Strategy.OURS:
                made.keep[change.path] = h
            case Strategy.THEIRS if change.op == "mode":
                # It brings no content: the head's stays, where that is a file's.
                if h is None or h.mode not in REGULAR_MODES:
                    case.must_conflict = True
                else:
                    made.over[change.path], made.keep[change.path] = h, Version(change.mode, h.oid)
            case Strategy.THEIRS:
                made.over[change.path] = h
            case Strategy.EXACT:
                case.must_conflict = True
    return made
