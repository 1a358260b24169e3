"""`verify --deep` finds what is wrong about moves: its witness is other code than what follows them."""

from __future__ import annotations

from typing import Any

import pytest

from app.admin.deep import deep
from storage.commit.decide import Placed
from storage.git.objects import Version
from storage.moves.trail import BatchMoves, ChangesetTrail
from tests.support.api import Api
from tests.support.collisions import LINES, edit, landed, put, status


def history(api: Api) -> None:
    """Land a move, a file that takes the path, and an edit by somebody who saw the file before it moved."""
    base = landed(api, a=LINES)
    api.submit(base=base, changes=[{"op": "move", "from": "a", "path": "b"}])
    api.world.work()
    api.submit(base=api.tip, changes=[put("c", "1\n")])
    api.world.work()
    late = api.submit(base=base, changes=[put("a", edit(5, "late"))])
    api.world.work()
    assert status(api, late) in ("landed", "conflicted")


def nowhere(_trail: ChangesetTrail, _path: bytes, _seen: Version) -> bytes | None:
    return None


def elsewhere(_trail: ChangesetTrail, path: bytes, _seen: Version) -> bytes | None:
    return b"c" if path == b"a" else None


class Forgetful(Placed):
    """Loses the moves that it is told."""

    @property
    def moves(self) -> list[Any]:  # type: ignore[override]
        return []

    @moves.setter
    def moves(self, _moves: list[Any]) -> None:
        pass


def test_what_followed_rightly_is_verified(api: Api) -> None:
    history(api)
    looked = deep(api.world.repo.settings)
    assert not looked.difference and (looked.unchecked, looked.merged) == (0, 1)


@pytest.mark.parametrize(
    ("where", "words"), [(nowhere, "Git merges it, and it is in conflict"), (elsewhere, "are not those that follow")]
)
def test_an_edit_that_did_not_follow_or_followed_to_another_place_is_found(
    api: Api, monkeypatch: pytest.MonkeyPatch, where: Any, words: str
) -> None:
    if where is elsewhere:
        # Where it would not even collide.
        monkeypatch.setattr("storage.commit.decide.merge_path", lambda base, ours, theirs, merge: theirs)
    monkeypatch.setattr(ChangesetTrail, "where", where)
    history(api)
    assert words in deep(api.world.repo.settings).difference


def test_a_move_that_was_not_recorded_is_found(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.commit.decide.Placed", Forgetful)
    history(api)
    assert "its `moves` are not those that follow" in deep(api.world.repo.settings).difference


def test_following_moves_that_the_writer_had_seen_is_found(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a base had no position in the log: an old move would lead away from a new file."""
    monkeypatch.setattr(BatchMoves, "position_of_commit", lambda self, commit: 0)
    base = landed(api, a="old\n")
    api.submit(base=base, changes=[{"op": "move", "from": "a", "path": "b"}])
    api.world.work()
    base = landed(api, a=LINES)
    api.submit(base=base, changes=[put("a", edit(15, "theirs"))])
    api.world.work()
    api.submit(base=base, changes=[put("a", edit(5, "late"), strategy="theirs")])
    api.world.work()
    assert "are not those that follow" in deep(api.world.repo.settings).difference
