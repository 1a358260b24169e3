"""Locks by name, on a real Redis: who has one, until when, and what of a process that has ended is free."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from typing import Any

import pytest

from storage.backends.redis_client import connect
from storage.base.settings import Settings
from storage.coordination import Heartbeat, Lease, LeaseName, end_orphans, holders, new_owner
from storage.view.view import View
from tests.support.waiting import await_true


@pytest.fixture
def view(redis_settings: Settings) -> View:
    return View(redis_settings, connect(redis_settings))


def lease_of(view: View, owner: str) -> str:
    return f"{view.prefix}lease:{owner}"


@pytest.mark.parametrize("beats", [True, False], ids=["with-a-heartbeat", "for-a-fixed-time"])
def test_a_held_lock_is_free_once_its_owner_has_no_lease(redis_settings: Settings, view: View, beats: bool) -> None:
    heartbeat = Heartbeat(redis_settings) if beats else None
    lease, other = (Lease(view, LeaseName.COMPACTING, 600.0, heartbeat) for _ in range(2))
    taken, others = (new_owner(), new_owner()) if beats else ("of-an-older-version", "another")
    assert lease.take(taken) and not other.take(others)
    assert view.redis.pttl(view.prefix + LeaseName.COMPACTING) > 590_000
    assert view.redis.delete(lease_of(view, taken)) == int(beats), "only an owner that renews it has one"
    assert other.take(others) is beats


def test_a_block_keeps_its_lease_and_ends_it(redis_settings: Settings, view: View) -> None:
    # On a machine that is busy for a while none expires meanwhile.
    lease = Lease(view, LeaseName.COMPACTING, 600.0, Heartbeat(replace(redis_settings, lock_ttl=300.0)))
    with lease.held() as alone:
        [owner] = holders(view)
        assert alone and view.redis.delete(lease_of(view, owner))
        await_true(lambda: view.redis.exists(lease_of(view, owner)) == 1)  # whatever the block does
        with lease.held() as second:
            assert not second
    assert holders(view) == []
    with lease.held() as again:
        assert again


def test_a_renewal_that_is_on_its_way_does_not_outlive_its_owner(redis_settings: Settings, view: View) -> None:
    renewing, release, renewed = threading.Event(), threading.Event(), threading.Event()

    class Slow(Heartbeat):
        def _beat(self, *args: Any) -> None:
            renewing.set()
            release.wait()
            super()._beat(*args)
            renewed.set()

    with Lease(view, LeaseName.COMPACTING, 600.0, Slow(replace(redis_settings, lock_ttl=300.0))).held():
        assert renewing.wait(60.0)
        threading.Timer(0.2, release.set).start()
    assert renewed.wait(60.0)
    assert not list(view.redis.scan_iter(view.prefix + "lease:*"))


def test_a_turn_lasts_for_its_time_whoever_took_it(view: View) -> None:
    assert Lease(view, LeaseName.GARBAGE, 600.0).take_turn()
    assert not Lease(view, LeaseName.GARBAGE, 600.0).take_turn()
    assert not list(view.redis.scan_iter(view.prefix + "lease:*"))


def owner_of_an_ended_process() -> str:
    """Return a name for an owner as a process that this one had forked, and that has ended, would have made it."""
    ended = os.fork()
    if not ended:
        os._exit(0)
    os.waitpid(ended, 0)
    return f"{new_owner().partition('-')[0]}-{ended}/X"


def test_only_the_leases_of_ended_processes_of_the_family_end(view: View) -> None:
    orphan = owner_of_an_ended_process()
    stranger = subprocess.run(
        [sys.executable, "-c", "from storage.coordination import new_owner; print(new_owner())"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    mine, plain = new_owner(), "of an older version"
    for owner in (mine, orphan, plain, stranger):
        view.redis.set(lease_of(view, owner), "")
    assert end_orphans(view, [mine, orphan, plain, stranger]) == [orphan]
    assert [view.redis.exists(lease_of(view, owner)) for owner in (mine, orphan, plain, stranger)] == [1, 0, 1, 1]


def test_who_waits_for_a_lock_of_an_ended_process_of_the_family_is_told(redis_settings: Settings, view: View) -> None:
    orphan = owner_of_an_ended_process()
    heartbeat = Heartbeat(replace(redis_settings, lock_ttl=300.0))
    lock = Lease(view, LeaseName.LINK, 600.0, heartbeat)
    assert lock.take(orphan) and not lock.take_or_wait(new_owner(), 0.001)
    assert not view.redis.exists(f"{view.prefix}freed:linking")
    assert end_orphans(view, [orphan]) == [orphan]
    assert view.redis.llen(f"{view.prefix}freed:linking") == 1
    assert lock.take(new_owner()), "and it is free"


def test_a_process_whose_number_another_user_has_ends_nothing(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(pid: int, signal: int) -> None:
        raise PermissionError(pid, signal)

    monkeypatch.setattr(os, "kill", kill)
    assert end_orphans(view, [new_owner()]) == []


def test_an_owner_is_not_renewed_where_the_thread_could_not_start(
    redis_settings: Settings, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    heartbeat, owner = Heartbeat(redis_settings), new_owner()
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", _cannot_start)
        with pytest.raises(RuntimeError), heartbeat.of(owner):
            pytest.fail("nobody would renew it")
    with heartbeat.of(new_owner()):
        [other] = heartbeat._owners  # one too many would be renewed for ever
        await_true(lambda: view.redis.exists(lease_of(view, other)) == 1)
    assert other != owner and not view.redis.exists(lease_of(view, owner))


def _cannot_start(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
