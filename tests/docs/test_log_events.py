"""The log events that docs/operations.md tells operators to watch: each is logged, with what the page says."""

from __future__ import annotations

import ast
import dataclasses
import re

import pytest
from msgspec import structs
from structlog.testing import capture_logs

from storage.backends.bucket import Bucket, BucketError
from storage.base.ids import inbox_pack, new_ulid
from storage.base.settings import Settings
from storage.commit import batch
from storage.commit.prove import RootMismatch
from storage.log.records import Submitter
from storage.repository import Repository
from tasks.upkeep import run as run_upkeep
from tests.support.compaction import aged, compacted
from tests.support.redis_rows import flush
from tests.support.sources import PRODUCT, ROOT, modules, nodes
from tests.support.world import World, item

# Words of that form that are no events: Compose's, fields of the log and of the policy, labels, a file.
OTHERS = {"stop_grace_period", "task_id", "rule_files", "requests_per_second", "bodies_bytes", "token_id"}
# Events whose name a variable has.
NAMED_ELSEWHERE = {
    "task_done": "tasks/base.py",
    "relief_failed": "tasks/node/watch.py",
    "redis_memory_tight": "tasks/relief.py",
    "redis_has_room": "tasks/relief.py",
}
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}


def named() -> set[str]:
    """Return the events that the page names."""
    page = (ROOT / "docs" / "operations.md").read_text()
    words = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", page))
    metrics = {word for word in words if word.startswith("sluice_")}
    return words - {field.name for field in dataclasses.fields(Settings)} - OTHERS - metrics


def listed() -> dict[str, str]:
    """Return the events of the page's table, with their levels."""
    [table] = re.findall(r"\n\| event \|.*?\n\n", (ROOT / "docs" / "operations.md").read_text(), re.DOTALL)
    rows = [[cell.strip() for cell in row.split("|")[1:3]] for row in table.strip().splitlines()[2:]]
    events = {name.strip("`"): level for name, level in rows}
    assert list(events) == sorted(events)
    return events


def logged() -> dict[str, set[str]]:
    """Return the events that the code logs by a fixed name, with their levels."""
    found: dict[str, set[str]] = {}
    for path in modules(*PRODUCT):
        for node in nodes(path):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr in LEVELS and ast.unparse(node.func.value).endswith("log"):
                name = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
                if isinstance(name, str) and re.fullmatch("[a-z]+(_[a-z]+)*", name):
                    found.setdefault(name, set()).add(node.func.attr.replace("exception", "error"))
    return found


def test_the_page_lists_every_event_with_its_level():
    events, page = logged(), listed()
    assert page.keys() == events.keys() | NAMED_ELSEWHERE.keys()
    assert {name: page[name] for name in events if page[name] not in events[name]} == {}
    for name, file in NAMED_ELSEWHERE.items():
        assert f'"{name}"' in (ROOT / file).read_text()


def test_every_event_that_operators_are_to_watch_is_logged():
    assert named() - listed().keys() == set()
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


def test_a_batch_names_the_requests_that_its_changesets_came_with(world: World) -> None:
    by = [Submitter(principal="user:ada", request=request) for request in ("R1", "R2", "R1")]
    world.submit(*(structs.replace(item(world.all, {f"f{i}": b"1"}, world.tip), by=each) for i, each in enumerate(by)))
    with capture_logs() as logs:
        batch.commit_batch(world.repo)
    [event] = [each for each in logs if each["event"] == "batch_committed"]
    assert sorted(event["requests"]) == ["R1", "R2"]
