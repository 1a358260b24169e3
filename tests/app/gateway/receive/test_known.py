"""A pushed commit is known by its id as long as any attempt to push it has come to something."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from app.gateway.receive.known import KnownCommits
from app.gateway.receive.submissions import keys_of
from storage.base.ids import ChangesetId, ObjectId, SliceId
from storage.log.records import Status
from storage.queue import Admission, ChangesetState

COMMIT = ObjectId(b"c" * 20)
KEYS = keys_of(COMMIT)
HELD, GONE = ChangesetId("held"), ChangesetId("abandoned")
STATES = {
    HELD: ChangesetState(None, SliceId("s"), None, 0, held=True),
    GONE: ChangesetState(SimpleNamespace(status=Status.ABANDONED, reason="", seq=1), None, None, 0),  # type: ignore[arg-type]
}


def known_by(keys: dict[str, ChangesetId]) -> KnownCommits:
    """What is known where the view has these keys, and the archive nothing."""

    def look_up(_: Sequence[str], __: Sequence[str], asked: Sequence[str], ___: Sequence[str]) -> Admission:
        return Admission(True, 0, 0, 0, keys={key: (keys[key], "") for key in asked if key in keys})

    def states(changesets: Sequence[ChangesetId]) -> tuple[bool, list[ChangesetState]]:
        return True, [STATES[each] for each in changesets]

    repo: Any = SimpleNamespace(
        queue=SimpleNamespace(states=states), archive=SimpleNamespace(pushed=lambda commits: {})
    )
    return KnownCommits(repo, look_up)


@pytest.mark.parametrize(
    ("owners", "free"),
    [
        ([HELD], 1),
        ([GONE, HELD], 2),
        ([None, HELD], 0),  # the first attempt was rejected long ago, and its key is forgotten
        ([None, GONE, HELD], 0),
        ([GONE, GONE, GONE, HELD], 3),
    ],
)
def test_a_commit_is_known_by_any_of_its_keys(owners: list[ChangesetId | None], free: int) -> None:
    keys = {key: owner for key, owner in zip(KEYS, owners, strict=False) if owner}
    found, freed = known_by(keys).find([COMMIT])
    assert found[COMMIT].changeset == HELD and freed[COMMIT] == KEYS[free]


@pytest.mark.parametrize(("owners", "free"), [([], 0), ([GONE], 1), ([None, GONE], 0), ([GONE] * 4, 3)])
def test_one_of_which_nothing_came_has_another_attempt(owners: list[ChangesetId | None], free: int) -> None:
    keys = {key: owner for key, owner in zip(KEYS, owners, strict=False) if owner}
    found, freed = known_by(keys).find([COMMIT])
    assert not found and freed[COMMIT] == KEYS[free]
