"""docs/architecture.md lists the keys in Redis: those that the code can write, and no others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from storage.base.settings import Settings
from storage.coordination.lease import LeaseName
from storage.log.entry import decode
from storage.operations.lifecycle import release
from storage.operations.succession import turn
from storage.repository import Repository
from storage.view.cursors import CursorName
from storage.view.rows import effects
from storage.view.view import commands
from tasks.upkeep import run as run_upkeep
from tests.support.compaction import aged_world, compacted
from tests.support.redis_rows import keys
from tests.support.world import World, item

ROOT = Path(__file__).parents[2]
SPELLED_IN = tuple(f"storage/{name}" for name in ("backends/lua", "view", "coordination", "claims", "queue", "lookup"))
# A key's name up to the first colon, as scripts and modules join it to the prefix.
IN_LUA = re.compile(r"prefix \.\. '([a-z_]+:?)'?")
IN_PYTHON = re.compile(r"""prefix(?:\.encode\(\))?(?:\}| \+ b?")([a-z_]+:?)""")
BELOW_EPOCH = "v:"
CHANNELS = {"applied", "advisory_claim_events"}


def documented(title: str) -> set[str]:
    """Return the keys of a table of the page, each up to its first colon."""
    page = (ROOT / "docs/architecture.md").read_text()
    [table] = re.findall(rf"\n\| {title} \|.*?\n\n", page, re.DOTALL)
    cells = [row.split("|")[1] for row in table.strip().splitlines()[2:]]
    return {stem(name) for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def stem(key: str) -> str:
    name, colon, _ = key.partition(":")
    return name + colon


def sources() -> Iterator[tuple[re.Pattern[str], str]]:
    for folder in SPELLED_IN:
        for path in sorted((ROOT / folder).rglob("*.*")):
            if path.suffix in {".lua", ".py"}:
                yield (IN_LUA if path.suffix == ".lua" else IN_PYTHON), path.read_text()


def test_the_keys_of_the_work_are_those_that_the_code_spells():
    spelled = {name for pattern, text in sources() for name in pattern.findall(text)}
    assert spelled - {BELOW_EPOCH} - CHANNELS | set(LeaseName) == documented("key of the work")


def test_the_keys_of_the_view_are_those_that_entries_set_and_the_cursors():
    entries = [path.read_bytes() for path in (ROOT / "tests/testdata/entries").glob("*.json")]
    made = {stem(command[1]) for data in entries for command in commands(effects(decode(data), "h"))}
    assert made | {"at:"} | {stem(name) for name in CursorName} == documented("key of the view")


def test_no_other_key_is_there_while_a_repository_is_used(settings: Settings):
    world = World(Repository(settings))
    repo, used = world.repo, []
    first = world.put({"f": b"1\n"}, key="k")
    repo.queue.ask("commit", 1)
    before = world.tip
    world.work()
    world.put({"f": b"2\n"}, before)  # in conflict
    world.put({"g": b"3\n"}, first)
    [held] = world.submit(item(world.all, {"h": b"4\n"}, before, hold=True))
    repo.queue.claim("somebody who dies")
    with turn(repo, held):
        used += keys(world)
    release(repo, held)
    used += keys(world)
    repo.queue.begin_anew()
    world.work()
    run_upkeep(repo)
    compacted(aged_world(world))
    used += keys(world)
    work, view = repo.view.prefix.encode(), repo.view.key("").encode()
    of_view = {stem(key.removeprefix(view).decode()) for key in used if key.startswith(view)}
    of_work = {stem(key.removeprefix(work).decode("latin-1")) for key in used if not key.startswith(view)}
    assert of_view <= documented("key of the view") and of_work <= documented("key of the work")
    assert len(of_view) > 20 and len(of_work) > 20, (of_view, of_work)
