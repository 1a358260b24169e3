"""Reverting over the API: what becomes of it is what `git revert` makes on an export, and who may do it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from app.admin.export import export
from storage.base.settings import Settings
from tests.support.api import Api, Json
from tests.support.git_repository import GitRepository
from tests.support.principals import grants, principal, secured
from tests.support.world import Files, item

TEXT = b"".join(b"line %d\n" % number for number in range(20))


@pytest.fixture
def root(settings: Settings, unsent: object) -> Api:
    return secured(settings)


def land(api: Api, files: Files, message: str = "Change things") -> str:
    """Land one changeset on the tip, and return its id."""
    [changeset] = api.world.submit(item(api.world.all, files, api.world.tip, message=message))
    api.world.work()
    assert api.get(f"/changesets/{changeset}")["status"] == "landed"
    return changeset


def revert(api: Api, changeset: str, status: int = 202, key: str | None = None) -> Json:
    headers = {"Idempotency-Key": key} if key else {}
    answer = api.http.post(f"/v1/changesets/{changeset}/revert", headers=headers)
    assert answer.status_code == status, answer.data
    return answer.get_json(force=True)


def became(api: Api, changeset: str) -> Json:
    api.world.work()
    return api.get(f"/changesets/{changeset}")


def changed(number: int, text: bytes = TEXT) -> bytes:
    return text.replace(b"line %d\n" % number, b"changed %d\n" % number)


# What is landed first, what is reverted, what lands behind it.
CASES: dict[str, tuple[Files, Files, list[Files]]] = {
    "an edit": ({"f": TEXT}, {"f": changed(3)}, []),
    "an edit, with others in the file since": ({"f": TEXT}, {"f": changed(3)}, [{"f": changed(15, changed(3))}]),
    "an edit of a line that was overwritten": ({"f": TEXT}, {"f": changed(3)}, [{"f": TEXT.replace(b"line 3", b"z")}]),
    "an edit that was taken back": ({"f": TEXT}, {"f": changed(3)}, [{"f": TEXT}]),
    "an added file": ({}, {"d/new": b"x\n"}, []),
    "an added file that was edited": ({}, {"d/new": b"x\n"}, [{"d/new": b"y\n"}]),
    "an added file that was deleted": ({}, {"d/new": b"x\n"}, [{"d/new": None}]),
    "a delete": ({"f": TEXT, "g": b"1"}, {"f": None}, []),
    "a delete of what was made again": ({"f": TEXT}, {"f": None}, [{"f": b"other\n"}]),
    "a mode": ({"f": TEXT}, {"f": "exec:" + TEXT.decode()}, []),
    "a mode, with an edit since": ({"f": TEXT}, {"f": "exec:" + TEXT.decode()}, [{"f": "exec:" + changed(3).decode()}]),
    "a symlink": ({"l": "link:there"}, {"l": "link:elsewhere"}, []),
    "a file that became a symlink": ({"l": b"x\n"}, {"l": "link:elsewhere"}, []),
    "a file that became a directory": ({"d": b"x\n"}, {"d": None, "d/e": b"x\n"}, []),
    "a rename": ({"old": TEXT}, {"old": None, "new": TEXT}, []),
    "a rename, with an edit since": ({"old": TEXT}, {"old": None, "new": TEXT}, [{"new": changed(5)}]),
    "many files": (
        {f"d/{number}": b"%d\n" % number for number in range(30)},
        {f"d/{number}": b"changed\n" if number % 3 else None for number in range(30)}, [{"e": b"x"}],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_becomes_what_git_revert_makes(root: Api, tmp_path: Path, name: str) -> None:
    before, undone, behind = CASES[name]
    land(root, {"README": b"read\n", **before})
    changeset = land(root, undone, "Say hello\n\nAt length.")
    commit = root.get(f"/changesets/{changeset}")["commit"]
    for files in behind:
        land(root, files)
    export(root.world.repo.settings, tmp_path / "export.git")
    clone = GitRepository(tmp_path / "clone")
    clone.git("fetch", "--quiet", str(tmp_path / "export.git"), "next:chain")
    clone.git("checkout", "--quiet", "chain")
    try:
        # Before 2.50, Git's newer strategy finds renames whatever it is told.
        clone.git("revert", "--no-edit", "--strategy=recursive", "-X", "no-renames", commit)
        conflicts = False
    except subprocess.CalledProcessError:
        # Where nothing is left to revert Git stops, and there is no conflict.
        conflicts = bool(clone.git("ls-files", "--unmerged"))
    made = became(root, revert(root, changeset)["id"])
    assert (made["status"] == "conflicted") == conflicts, made
    if not conflicts:
        assert made["status"] == "landed"
        assert root.get("/head")["tip"]["tree"] == clone.git("write-tree")


def test_the_message_is_that_of_git_but_for_the_changesets_id(root: Api) -> None:
    first = land(root, {"f": b"1\n"}, "Say hello\n\nAt length.")
    second = became(root, revert(root, first)["id"])
    assert second["message"] == f'Revert "Say hello"\n\nThis reverts changeset {first}.'
    third = became(root, revert(root, second["id"])["id"])
    assert third["message"].startswith('Reapply "Say hello"\n') and third["status"] == "landed"
    assert root.http.get("/v1/slices/all/files/f").data == b"1\n"
    fourth = became(root, revert(root, third["id"])["id"])
    assert fourth["message"].startswith('Revert "Reapply "Say hello""\n')


def test_with_a_key_a_repeat_gets_the_changeset_of_the_first_request(root: Api) -> None:
    one, other = land(root, {"f": b"1\n"}), land(root, {"g": b"1\n"})
    first = revert(root, one, key="k")["id"]
    assert revert(root, one, key="k")["id"] == first
    became(root, first)
    assert revert(root, one, key="k")["id"] == first
    assert revert(root, other, 422, key="k")["type"].endswith("key-reused")
    assert revert(root, one)["id"] != first


def test_what_is_not_committed_cannot_be_reverted(root: Api) -> None:
    base = root.tip
    land(root, {"f": b"1\n"})
    [conflicted] = root.world.submit(item(root.world.all, {"f": b"2\n"}, bytes.fromhex(base)))
    root.world.work()
    queued = root.put("g", "x")["id"]
    assert "conflicted" in revert(root, conflicted, 409)["detail"]
    assert "queued" in revert(root, queued, 409)["detail"]
    revert(root, "01ARZ3NDEKTSV4RRFFQ69G5FAV", 404)
    same = land(root, {"f": b"1\n"})
    assert "nothing" in revert(root, same, 409)["detail"]


def test_writers_of_its_paths_revert_it_under_their_own_names(root: Api) -> None:
    changeset = land(root, {"open/a": b"1\n"})
    both = land(root, {"open/a": b"2\n", "vault/b": b"2\n"})
    grants(
        root, "user:ada writer open/", "user:ada reader /", "user:reader reader /", "user:part writer open/",
        people={"user:ada": {"name": "Ada", "emails": ["ada@example.org"]}},
    )  # fmt: skip
    ada, reader, part = (principal(root, f"user:{name}") for name in ("ada", "reader", "part"))
    assert revert(reader, changeset, 403)["role"] == "writer"
    assert revert(ada, both, 403)["path"] == "vault/b"
    revert(part, both, 404)
    made = became(root, revert(ada, changeset)["id"])
    assert (made["author"], made["submitter"]) == ({"name": "Ada", "email": "ada@example.org"}, "user:ada")
    assert made["status"] == "conflicted"


def test_paths_that_have_left_the_slice_are_refused(root: Api) -> None:
    root.post("/slices", {"name": "web", "paths": ["web/", "b"]}, 201)
    body = {"changes": [{"op": "put", "path": "b", "content": "x"}], "base": root.tip}
    changeset = root.submit(where="web", **body)["id"]
    root.world.work()
    root.http.patch("/v1/slices/web", json={"paths": ["web/"]})
    assert revert(root, changeset, 409)["detail"] == "b is no longer in its slice"
    root.http.delete("/v1/slices/web")
    revert(root, changeset, 404)
