"""Every commit names its changeset in a trailer that Git finds, whatever its message; older histories are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from app.admin.deep import deep
from app.admin.verify import verify
from storage.base.ids import ChangesetId, ObjectId
from storage.base.settings import Settings
from storage.git.objects import Commit
from storage.git.trailers import CHANGESET_ID, trailers
from storage.repository import Repository
from tests.support.forger import Forger
from tests.support.world import World

SCISSORS = "# ------------------------ >8 ------------------------"
# What was taken at first, and Git finds no trailer in what was made of it.
UNFIT = ["", " \n\t\n", f"{SCISSORS}\nx\n", f"Fix it\n\n{SCISSORS}\n\ndiff --git a/x b/x\n"]
OTHERS = ["Fix it", "Fix it\n\nSigned-off-by: A <a@b>\n", "#12: fix it", "a\n---\nb", "a\r\n\r\nX: y\r\n"]


def written_at_first(message: str, name: str, value: str) -> str:
    """What every commit's message was made of until trailers stood where Git puts them."""
    return f"{message.rstrip()}\n\n{name}: {value}\n".lstrip("\n")


@pytest.fixture
def world(settings: Settings) -> World:
    return World(Repository(settings))


def land(world: World, messages: list[str]) -> list[ChangesetId]:
    ids = [world.put({f"f{i}": message.encode()}, message=message) for i, message in enumerate(messages)]
    world.work()
    return ids


def message_of(world: World, changeset: ChangesetId) -> str:
    outcome = world.repo.outcome(changeset)
    assert outcome
    return world.repo.objects.commit(ObjectId(bytes.fromhex(outcome.commit))).message


def test_messages_accepted_before_trailers_were_required_land_with_one(world: World) -> None:
    ids = land(world, [*UNFIT, *OTHERS])
    for changeset in ids:
        assert (CHANGESET_ID, changeset) in trailers(message_of(world, changeset))
    assert verify(world.repo).differences == [] and deep(world.repo.settings).difference == ""


def test_a_history_from_before_trailers_stood_where_git_puts_them_is_right(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr("storage.commit.link.with_trailer", written_at_first)
        old = land(world, [*UNFIT, *OTHERS])
    new = land(world, OTHERS)
    assert message_of(world, old[0]) == f"{CHANGESET_ID}: {old[0]}\n" and trailers(message_of(world, old[0])) == []
    findings = verify(world.repo)
    assert findings.differences == [] and findings.committed == len(old) + len(new)
    found = deep(world.repo.settings)
    assert found.difference == "" and found.committed == len(old) + len(new)


FORGERIES: dict[str, Callable[[str], str]] = {
    "another changeset": lambda message: message[:-3] + ("AA\n" if not message.endswith("AA\n") else "BB\n"),
    "a line after it": lambda message: message + f"{SCISSORS}\n",
    "no paragraph of its own": lambda message: message.replace("\n\nChangeset", "\nChangeset"),
    "no trailer": lambda message: "Fix it\n",
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES.keys())
def test_what_only_looks_like_an_old_commit_is_found_out(
    world: World, monkeypatch: pytest.MonkeyPatch, forgery: Callable[[str], str]
) -> None:
    monkeypatch.setattr("storage.commit.link.with_trailer", written_at_first)
    [changeset] = land(world, UNFIT[3:])
    assert Forger(world).deep().difference == ""

    def forge(_: str, commit: Commit) -> Commit:
        return dataclasses.replace(commit, message=forgery(commit.message))

    difference = Forger(world, commit=forge).deep().difference
    assert changeset in difference and "the trailers of" in difference
