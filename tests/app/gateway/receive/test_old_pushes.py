"""A push whose history has left Redis, with its keys, is told what became of it as on its first day."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from storage.access.tokens import hash_of
from storage.repository import Repository
from tests.support.api import Api
from tests.support.compaction import aged_world, compacted, emptied
from tests.support.principals import ROOT_TOKEN
from tests.support.pushing import Clone, Pushed, Pushing, pushing, token
from tests.support.world import World

LINES = b"".join(b"line %d\n" % i for i in range(20))


def archived(world: World) -> World:
    """Have everything archived, and its keys forgotten."""
    old = aged_world(world, key_age=-1000.0)
    assert any(each.entries for each in compacted(old))
    return old


def lost(world: World) -> World:
    """The same, and Redis loses the repository behind that."""
    return emptied(archived(world))


def overtaken(guarded: Pushing, root: Api) -> tuple[Clone, Pushed]:
    """Return a clone with a stack that has landed under other ids than those that were pushed, and that push."""
    clone, other = (guarded.clone("docs", token=token(root, "agent:w")) for _ in range(2))
    for number in range(2):
        clone.commit({"docs/mine": b"%d\n" % number}, f"Mine {number}")
    other.commit({"docs/faster": b"1\n"}, "Faster")
    assert other.push().ok
    first = clone.push()
    assert first.ok and len(first.changesets) == 2, first.said
    return clone, first


@pytest.mark.parametrize("aging", [archived, lost])
def test_it_is_told_as_landed_whoever_pushes_it(
    guarded: Pushing, root: Api, aging: Callable[[World], World], tmp_path: Path
) -> None:
    clone, first = overtaken(guarded, root)
    before = guarded.world.repo.view.head().committed
    world = aging(guarded.world)
    view = world.repo.view
    assert not [each for each in first.changesets if world.repo.redis.exists(view.key(f"outcome:{each}"))]

    chosen = replace(guarded.world.repo.settings, root_token_sha256=hash_of(ROOT_TOKEN))
    (tmp_path / "other").mkdir()
    with pushing(World(Repository(chosen), world.all), tmp_path / "other") as fresh:
        for gateway in (fresh, guarded):  # one that never heard of it, and the one that took it
            clone.git("remote", "set-url", "origin", f"{gateway.url}/docs.git")
            again = clone.push()
            assert again.ok and again.changesets == first.changesets, again.said
            assert [line.split(": ")[1].split(" (")[0] for line in again.remote] == ["landed", "landed"]
            # By another principal, with options, and with more on top of it.
            other = gateway.clone("docs", token=token(root, "agent:all"))
            other.git("fetch", "-q", str(clone.path), "main")
            told = other.push("-o", "hold", refs=("FETCH_HEAD:refs/for/main",))
            assert told.ok and told.changesets == first.changesets, told.said
    assert world.repo.view.head().committed == before
    clone.commit({"docs/more": b"1\n"}, "More")
    third = clone.push()
    assert third.ok and third.changesets[:2] == first.changesets and len(third.changesets) == 3, third.said
    assert world.repo.view.head().committed == before + 1


def test_one_that_came_back_as_it_is_needs_no_push(guarded: Pushing, root: Api) -> None:
    clone = guarded.clone("docs", token=token(root, "agent:w"))
    commit = clone.commit({"docs/b": b"1\n"}, "One")
    assert clone.push().ok
    lost(guarded.world)
    other = guarded.clone("docs", token=token(root, "agent:all"))
    assert other.head == commit
    for each in (clone, other):
        again = each.push()
        assert again.ok and again.remote == [f"{commit[:10]} has landed, as it is"], again.said


def test_a_conflict_is_told_by_what_closed_it(guarded: Pushing, root: Api) -> None:
    clone, other = (guarded.clone("docs", token=token(root, "agent:w")) for _ in range(2))
    old = clone.commit({"docs/a.txt": LINES.replace(b"line 3\n", b"mine\n")}, "Mine")
    other.commit({"docs/a.txt": LINES.replace(b"line 3\n", b"theirs\n")}, "Theirs")
    assert other.push().ok and not clone.push("-o", "topic=t").ok
    clone.git("reset", "-q", "--hard", "HEAD~1")
    clone.git("pull", "-q", "--rebase")
    clone.commit({"docs/a.txt": LINES.replace(b"line 3\n", b"both\n")}, "Mine")
    new = clone.push("-o", "topic=t")
    assert new.ok, new.said
    before = guarded.world.repo.view.head().committed
    archived(guarded.world)
    told = other.run("fetch", "-q", str(clone.path), old)
    assert told.returncode == 0
    again = other.push(refs=("FETCH_HEAD:refs/for/main",))
    assert again.ok and again.changesets == new.changesets, again.said
    assert guarded.world.repo.view.head().committed == before
