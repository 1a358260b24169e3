"""Which changesets a caller may know of: those all of whose paths it may read, whatever their slice says today.

A record of a changeset, and what the queues have of one, name a few prefixes that cover its paths; by these, a list
judges at no cost. Where they are
too coarse for its own submitter, or an older record has none, the manifest says the paths themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from msgspec import to_builtins

from app.access.caller import Caller
from storage.access.policy import Right
from storage.base.errors import Corrupt
from storage.base.ids import ChangesetId, PackId
from storage.git.paths import path_json, raw_path
from storage.log.records import RecordedConflict
from storage.queue import ChangesetState, read_changesets
from storage.repository import Repository

N = TypeVar("N", bound=str)


def shown_conflicts(who: Caller, conflicts: Iterable[RecordedConflict]) -> list[dict[str, Any]]:
    """Return conflicts as answers show them; what stands at another path that may not be read is not told."""
    shown = []
    for conflict in conflicts:
        told = conflict_json(conflict)
        if is_hidden(who, conflict):
            for name in ("blocker", "moved"):
                told.pop(name, None)
                told.pop(f"{name}_base64", None)
            told["head"] = None  # which is the version of what stands there
        shown.append(told)
    return shown


def conflict_json(conflict: RecordedConflict) -> dict[str, Any]:
    """Return a conflict as answers show it, to who may know all of it."""
    told: dict[str, Any] = to_builtins(conflict)
    for name in ("path", "blocker", "moved"):
        if name in told:
            told |= path_json(name, told.pop(name))
    return told


def is_hidden(who: Caller, conflict: RecordedConflict) -> bool:
    """Tell whether what a change collides with stands where a caller may not read: in its way, or moved there."""
    elsewhere = conflict.blocker if conflict.blocker is not None else conflict.moved
    return elsewhere is not None and not who.may(Right.READ, [raw_path(elsewhere)])


def visible(repo: Repository, who: Caller, states: Mapping[N, ChangesetState]) -> set[N]:
    """Return those of these changesets that a caller may know of. Raises Unavailable."""
    if who.reads_all:
        return set(states)
    seen: set[N] = set()
    unsure: dict[N, PackId] = {}
    for changeset, state in states.items():
        outcome, covers = state.outcome, state.covers
        if covers and who.may(Right.READ, [raw_path(prefix) for prefix in covers]):
            seen.add(changeset)
            continue
        if covers and (facts := state.facts) and not facts.paths:
            continue  # these prefixes are its paths themselves: its manifest says no more
        is_own = outcome is None or not outcome.by or outcome.by.principal == who.principal
        pack = outcome.pack if outcome else state.pack
        if is_own and pack is not None:
            unsure[changeset] = pack
    try:
        wanted = [(ChangesetId(changeset), pack) for changeset, pack in unsure.items()]
        exact = read_changesets(repo.archive, repo.queue, wanted) if wanted else []
    except Corrupt:
        return seen  # nobody knows what they change
    for changeset, submitted in zip(unsure, exact, strict=True):
        if who.may(Right.READ, [change.path for change in submitted.changes]):
            seen.add(changeset)
    return seen
