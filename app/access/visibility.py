"""Which changesets a caller may know of: those all of whose paths it may read, whatever their slice says today.

A record of a changeset, and what the queues have of one, name a few prefixes that cover its paths; by these, a list
judges at no cost. Where they are too coarse for its own submitter, or an older record has none, the manifest says the
paths themselves. What changes nothing is judged by the paths of its slice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from msgspec import to_builtins

from app.access.caller import Caller
from storage.access.policy import Right
from storage.base.errors import Corrupt
from storage.base.ids import ChangesetId, PackId, SliceId
from storage.git.paths import path_json, raw_path
from storage.log.manifest import Changeset
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
    without: dict[N, _Empty] = {}
    unsure: dict[N, PackId] = {}
    for changeset, state in states.items():
        covers, facts = state.covers, state.facts
        if covers and who.may(Right.READ, [raw_path(prefix) for prefix in covers]):
            seen.add(changeset)
        elif facts and not facts.paths:
            # These prefixes are its paths themselves: its manifest says no more.
            if not covers and (slice_id := state.outcome.slice if state.outcome else state.slice):
                without[changeset] = _Empty(slice_id, _submitter(state), _resolved(state))
        elif pack := _pack_to_ask(who, state):
            unsure[changeset] = pack
    for changeset, submitted in _manifests(repo, unsure):
        if not submitted.changes:
            without[changeset] = _Empty(
                submitted.slice, submitted.by.principal if submitted.by else "", submitted.resolves
            )
        elif who.may(Right.READ, [change.path for change in submitted.changes]):
            seen.add(changeset)
    return seen | _visible_by_slice(repo, who, without)


class _Empty(NamedTuple):
    """A changeset that changes nothing."""

    slice: SliceId
    submitter: str  # empty where nobody is known
    resolves: ChangesetId | None  # whose message it repeats


def _visible_by_slice(repo: Repository, who: Caller, changesets: Mapping[N, _Empty]) -> set[N]:
    """Return those that a caller may know of, of changesets that change nothing: by slice and submitter.

    Its submitter may have been let into a part of the slice alone. What it resolves has to be readable too: the slice
    may have had other paths then.
    """
    if not changesets:
        return set()
    slices = repo.view.slices(sorted({each.slice for each in changesets.values()}))
    whole = {each.id for each in slices if who.may(Right.READ, each.paths)}
    part = {each.id for each in slices if who.may_somewhere(Right.READ, frozenset(each.paths))}
    seen = {
        changeset: each.resolves
        for changeset, each in changesets.items()
        if each.slice in whole or (each.submitter == who.principal and each.slice in part)
    }
    resolved = sorted({each for each in seen.values() if each is not None})
    states = dict(zip(resolved, repo.queue.states(resolved)[1], strict=True)) if resolved else {}
    with_paths = {each: state for each, state in states.items() if state.covers}
    hidden = with_paths.keys() - visible(repo, who, with_paths)
    return {changeset for changeset, each in seen.items() if each not in hidden}


def _submitter(state: ChangesetState) -> str:
    """Return who submitted a changeset, empty where nobody is known."""
    if state.outcome is not None:
        return state.outcome.by.principal if state.outcome.by else ""
    return state.told.by if state.told else ""


def _resolved(state: ChangesetState) -> ChangesetId | None:
    return state.outcome.resolves if state.outcome is not None else state.resolves


def slice_paths(repo: Repository, changeset: Changeset) -> frozenset[bytes]:
    """Return the paths of a changeset's slice, by which it is judged where it changes nothing; none once that is gone.

    Raises Unavailable.
    """
    where = repo.view.slices([changeset.slice])
    return frozenset(where[0].paths) if where else frozenset()


def _pack_to_ask(who: Caller, state: ChangesetState) -> PackId | None:
    """Return the pack whose manifest says which paths a changeset has; None where a caller is not judged by it.

    Of what is decided, only its own submitter is: a list of others' would read a pack for each.
    """
    outcome = state.outcome
    if outcome is None:
        return state.pack
    return outcome.pack if not outcome.by or outcome.by.principal == who.principal else None


def _manifests(repo: Repository, packs: Mapping[N, PackId]) -> list[tuple[N, Changeset]]:
    """Return changesets as their packs have them; nobody knows what those change whose pack is lost."""
    if not packs:
        return []
    try:
        read = read_changesets(repo.archive, repo.queue, [(ChangesetId(each), pack) for each, pack in packs.items()])
    except Corrupt:
        if len(packs) == 1:
            return []
        return [row for each, pack in packs.items() for row in _manifests(repo, {each: pack})]
    return list(zip(packs, read, strict=True))
