"""What answers tell of commits, as far as a caller may know of them: in a history, in a blame, and of a single one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from app.access.commits import knows
from app.access.current import caller
from app.access.visibility import visible
from app.protocol.history.moments import shown_moment
from app.routes.changeset_facts import said_json
from app.service.services import services
from storage.base.ids import ChangesetId, ObjectId
from storage.git.objects import Commit, Ident
from storage.log.facts import SUBJECT_CHARACTERS
from storage.operations.versions.path_history import Touch
from storage.operations.versions.places import CommitKind
from storage.queue import ChangesetState

Json = dict[str, Any]
Told = Mapping[ObjectId, Json]
"""What is told of each commit beside its id."""


def told_of(touches: Iterable[Touch]) -> Told:
    """Return what the caller may know of commits that changed a path, by their ids."""
    rows = {touch.oid: touch for touch in touches}
    by_changeset = told([(row.changeset, row.state) for row in rows.values() if row.changeset and row.state])
    return {oid: _of_touch(row, by_changeset) for oid, row in rows.items()}


def _of_touch(touch: Touch, by_changeset: Mapping[ChangesetId, Json]) -> Json:
    if touch.changeset is None:
        return {"kind": CommitKind.IMPORTED} | _of_imported(touch.commit)
    shown: Json = {"kind": CommitKind.CHAIN}
    if touch.changeset in by_changeset:
        shown |= {"changeset": touch.changeset, "time": shown_moment(touch.commit.author)}
        shown |= by_changeset[touch.changeset]
    return shown


def _of_imported(commit: Commit) -> Json:
    if not knows(services().repo, caller(), commit):
        return {}
    message = commit.message.strip()
    subject = message.partition("\n")[0].rstrip()[:SUBJECT_CHARACTERS]
    return said(commit) | {"message": subject} | ({"message_cut": True} if len(subject) < len(message) else {})


def told(wanted: Iterable[tuple[ChangesetId, ChangesetState]]) -> dict[ChangesetId, Json]:
    """Return what is told of changesets of which the caller may know."""
    states = dict(wanted)
    seen = visible(services().repo, caller(), states)
    shown: dict[ChangesetId, Json] = {}
    for changeset, state in states.items():
        if changeset in seen and (outcome := state.outcome):
            shown[changeset] = {"slice": outcome.slice, "status": state.status}
            shown[changeset] |= said_json(state.facts) if state.facts else {}
            if outcome.by:
                shown[changeset]["submitter"] = outcome.by.principal
    return shown


def said(commit: Commit) -> Json:
    """Return what a commit says itself."""
    return {
        "author": _person(commit.author),
        "time": shown_moment(commit.author),
        "committer": _person(commit.committer),
        "committed": shown_moment(commit.committer),
        "message": commit.message,
    }


def _person(who: Ident) -> Json:
    return {"name": who.name, "email": who.email}
