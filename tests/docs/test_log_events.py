"""The log events that docs/operations.md tells operators to watch: each is logged, with what the page says."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from storage.backends.bucket import Bucket, BucketError
from storage.base.ids import inbox_pack, new_ulid
from storage.base.settings import Settings
from storage.commit import batch
from storage.commit.prove import RootMismatch
from storage.repository import Repository
from tasks.upkeep import run as run_upkeep
from tests.support.compaction import aged, compacted
from tests.support.redis_rows import flush
from tests.support.world import World

ROOT = Path(__file__).parents[2]
# Words of that form that are no events: Compose's, a field of the log, and metrics.
OTHERS = {"stop_grace_period", "task_id", "sluice_nodes", "sluice_redis_max_bytes", "sluice_redis_used_bytes"}


def named() -> set[str]:
    """Return the events that the page names."""
    words = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", (ROOT / "docs" / "operations.md").read_text()))
    return words - {field.name for field in dataclasses.fields(Settings)} - OTHERS


def test_every_event_that_operators_are_to_watch_is_logged():
    code = "".join(path.read_text() for top in ("app", "tasks", "storage") for path in (ROOT / top).rglob("*.py"))
    assert {event for event in named() if f'"{event}"' not in code} == set()
    assert named() >= {"pack_damaged", "not_deleted", "task_failed"}


@pytest.fixture
def world(settings: Settings) -> World:
    return World(Repository(aged(settings, gc_grace=-1000.0)))


def test_a_damaged_submission_pack_is_logged_by_name_at_a_full_scan(world: World) -> None:
    pack = inbox_pack(new_ulid(), 1)
    world.repo.bucket.create(pack + ".pack", b"no pack")
    flush(world)
    with capture_logs() as logs:
        run_upkeep(world.repo)
    [event] = [each for each in logs if each["event"] == "pack_damaged"]
    assert (event["log_level"], event["pack"], event["changesets"]) == ("error", pack, 1)


def test_what_compactions_cannot_delete_is_logged_with_its_number(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content in (b"1", b"2"):
        world.put({"f": content})
        world.work()

    def fail(self: Bucket, *names: str) -> list[str]:
        raise BucketError("AccessDenied")

    monkeypatch.setattr(Bucket, "delete", fail)
    with capture_logs() as logs:
        compacted(world)
    events = [each for each in logs if each["event"] == "not_deleted"]
    assert events and all(each["packs"] > 0 and "AccessDenied" in each["detail"] for each in events)


def test_a_wrong_root_is_critical_counted_and_commits_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    changeset, applied = world.put({"f": b"1"}), world.repo.view.head().applied

    def mismatch(*_: object) -> None:
        raise RootMismatch("another tree")

    monkeypatch.setattr(batch, "prove", mismatch)
    with capture_logs() as logs, pytest.raises(RootMismatch):
        batch.commit_batch(world.repo)
    [event] = [each for each in logs if each["event"] == "root_mismatch"]
    assert (event["log_level"], event["seq"]) == ("critical", applied + 1)
    assert world.repo.view.root_mismatches() == 1 and world.repo.view.head().applied == applied
    assert world.status(changeset) == "queued"
