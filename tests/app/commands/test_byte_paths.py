"""Files whose names are not UTF-8 on the command line: checked out, submitted, shown and resolved by their bytes."""

from __future__ import annotations

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.folder import slice_checkout
from app.folder.folder_base import FILE, read
from tests.support.api import Api, Json
from tests.support.collisions import LINES, Run, edit, runner
from tests.support.command_line import objects
from tests.support.git_repository import GitRepository

LATIN, DEEP = b"caf\xe9.txt", b"na\xefve/\xff/\xfe"


@pytest.fixture
def run(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    with runner(api, monkeypatch) as run:
        yield run


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


def b64(path: bytes) -> str:
    return b64encode(path).decode()


def put(path: bytes, content: str, **more: Any) -> Json:
    return {"op": "put", "path_base64": b64(path), "content": content, **more}


def land(api: Api, *changes: Json) -> str:
    made = api.submit(base=api.tip, changes=list(changes))
    api.world.work()
    return str(made["id"])


def files(api: Api) -> dict[bytes, bytes]:
    return {os.fsencode(path): content for path, content in api.world.files().items()}


def there(folder: Path) -> dict[bytes, bytes]:
    found = (place for place in folder.rglob("*") if place.is_file() and place.name != FILE)
    return {os.fsencode(place.relative_to(folder)): place.read_bytes() for place in found}


@pytest.mark.parametrize("few", [100, 0], ids=["files", "archive"])
def test_a_checkout_has_them_and_a_submission_takes_them_back(
    api: Api, run: Run, work: Path, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(slice_checkout, "_FEW", few)
    land(api, put(LATIN, LINES), put(DEEP, "1\n"), {"op": "put", "path": "plain", "content": "p\n"})
    run("checkout", "all", work)
    assert there(work) == files(api) and files(api).keys() == {LATIN, DEEP, b"plain"}
    assert "nothing differs" in run("submit", "all", work, "-m", "m").stderr
    (work / os.fsdecode(LATIN)).write_text(edit(3, "mine"))
    (work / os.fsdecode(DEEP)).unlink()
    (work / os.fsdecode(b"new\xe9")).write_text("2\n")
    land(api, put(LATIN, edit(15, "theirs")))
    run("submit", "all", work, "-m", "m", "--delete")
    api.world.work()
    assert files(api) == {LATIN: edit(3, "mine", edit(15, "theirs")).encode(), b"new\xe9": b"2\n", b"plain": b"p\n"}
    remembered = read(work)
    assert remembered and {os.fsencode(path) for path in remembered.submitted[0].files} == {LATIN, DEEP, b"new\xe9"}
    run("checkout", "all", work)
    assert there(work) == files(api)
    land(api, {"op": "delete", "path_base64": b64(LATIN)})
    run("checkout", "all", work)
    assert there(work) == files(api) and LATIN not in there(work)


def test_a_file_that_is_in_the_way_stays(api: Api, run: Run, work: Path) -> None:
    land(api, put(LATIN, "1\n"))
    run("checkout", "all", work)
    (work / os.fsdecode(LATIN)).write_text("mine\n")
    land(api, put(LATIN, "2\n"))
    answer = run("checkout", "all", work, code=2)
    assert "in the way" in answer.stderr and there(work)[LATIN] == b"mine\n"


def test_a_range_of_commits_is_submitted_with_its_renames(api: Api, run: Run, tmp_path: Path) -> None:
    repo = GitRepository.begun(tmp_path / "repo")
    repo.write(os.fsdecode(LATIN), LINES)
    repo.commit("one")
    run("submit", "all", repo.path, "--git", "HEAD", "--author", "Ada <a@example.org>")
    api.world.work()
    assert files(api)[LATIN] == LINES.encode()
    repo.git("mv", os.fsdecode(LATIN), os.fsdecode(b"to\xe9"))
    repo.commit("two")
    run("submit", "all", repo.path, "--git", "HEAD", "--moves")
    api.world.work()
    assert files(api).keys() == {b"to\xe9"}


def test_lists_and_history_are_asked_for_and_shown_by_bytes(api: Api, run: Run) -> None:
    first = land(api, put(LATIN, LINES))
    second = land(api, put(LATIN, edit(5, "altered")))
    name = os.fsdecode(LATIN)
    assert [row["changeset"] for row in objects(run("log", name, "--json").stdout)] == [second, first]
    assert [row["id"] for row in objects(run("changesets", "--path", name, "--json").stdout)] == [second, first]
    assert "altered" in run("blame", name).stdout
    diff = run("diff", second)
    assert 'diff --git "a/caf\\351.txt" "b/caf\\351.txt"' in diff.stdout
    [shown] = objects(run("status", second, "--json").stdout)
    assert shown["paths_base64"] == [b64(LATIN)] and not shown["paths"]
    assert run("show", second).exit_code == 0


def test_a_conflict_is_checked_out_and_resolved(api: Api, run: Run, work: Path) -> None:
    land(api, put(LATIN, LINES))
    base = api.tip
    land(api, put(LATIN, edit(5, "head")))
    late = api.submit(base=base, changes=[put(LATIN, edit(5, "late"))])["id"]
    api.world.work()
    [told] = api.get(f"/changesets/{late}")["conflicts"]
    assert b64decode(told["path_base64"]) == LATIN
    run("resolve", late, "--checkout", work)
    place = work / os.fsdecode(LATIN)
    assert b"<<<<<<<" in place.read_bytes()
    state = json.loads((work / ".sluice-resolve.json").read_bytes())
    assert [path.encode(errors="surrogateescape") for path in state["paths"]] == [LATIN]
    place.write_text(edit(5, "both"))
    run("resolve", late, "--from", work)
    api.world.work()
    assert files(api)[LATIN] == edit(5, "both").encode()
    base = api.tip
    land(api, put(LATIN, edit(9, "head")))
    late = api.submit(base=base, changes=[put(LATIN, edit(9, "late"))])["id"]
    api.world.work()
    run("resolve", late, "--theirs", os.fsdecode(LATIN))
    api.world.work()
    assert files(api)[LATIN] == edit(9, "late").encode()
