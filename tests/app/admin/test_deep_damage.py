"""`verify --deep` of what comes of resolutions and rebases: Git makes the same, whatever files and directories swap."""

from __future__ import annotations

import random
from typing import Any

import pytest

from app.admin.deep import deep
from storage.git.objects import Kind, object_id
from tests.support.api import Api, Json
from tests.support.collisions import landed, put, status


def gone(path: str, **more: Any) -> Json:
    return {"op": "delete", "path": path, **more}


def difference(api: Api) -> str:
    return deep(api.world.repo.settings).difference


@pytest.mark.parametrize("again", ["again\n", "at first\n"])
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("resolution", [{"delete": True}, {"take": "ours"}, {"take": "theirs"}, {"content": "3"}])
def test_a_resolution_may_name_a_file_where_a_directory_is_by_then(
    api: Api, resolution: Json, order: int, again: str
) -> None:
    base = landed(api, **{"d/m": "at first\n", "d/n": "n\n"})
    swap = [gone("d/m"), gone("d/n")]
    first = api.submit(base=base, changes=[*swap, put("d", "1")])
    second = api.submit(base=base, changes=[*swap, put("d", "2")][::order])
    api.submit(base=first["id"], changes=[gone("d"), put("d/m", again)])
    api.world.work()
    assert status(api, second) == "conflicted"
    api.post(f"/changesets/{second['id']}/resolve", {"paths": {"d": resolution}}, 202)
    api.world.work()
    assert difference(api) == ""


PATHS = ["d", "d/m", "d/n", "d/m/x", "e", "e/f"]


class Swapper:
    """A writer who makes files of directories and back, and resolves or rebases what collides."""

    def __init__(self, api: Api, seed: int) -> None:
        self.api, self.chance = api, random.Random(seed)
        self.bases: list[str | None] = [api.tip]
        self.conflicted: list[str] = []

    def submit(self) -> None:
        base = self.chance.choice([self.api.tip, self.api.tip, *self.bases[-4:]])
        known = sorted(self.files())
        changes = {path: self.change(path, known) for path in self.chance.sample(PATHS, self.chance.randint(1, 4))}
        if self.chance.random() < 0.4:  # whatever is there goes, and one file stands in its place
            changes = {path: gone(path) for path in known} | {(new := self.chance.choice(PATHS)): put(new, self.text())}
        kept = {path for path, each in changes.items() if each["op"] != "delete"}
        for path in list(kept):
            if any(path.startswith(other + "/") for other in kept):
                changes[path] = gone(path)
        if base is None:
            changes = {path: each | {"base": self.seen(path)} for path, each in changes.items()}
        made = self.api.submit(**({"base": base} if base else {}), changes=list(changes.values()))
        self.bases.append(self.chance.choice([made["id"], made["id"], self.api.tip, None]))
        self.conflicted.append(made["id"])

    def change(self, path: str, known: list[str]) -> Json:
        if self.chance.random() < 0.4:
            return gone(path)
        if self.chance.random() < 0.15 and path in known:
            return {"op": "mode", "path": path, "mode": self.chance.choice(["100644", "100755"])}
        more = {"strategy": self.chance.choice(["ours", "theirs", "exact"])} if self.chance.random() < 0.1 else {}
        return put(path, self.text()) | more

    def text(self) -> str:
        return self.chance.choice("123") + "\n"

    def seen(self, path: str) -> str | None:
        oids = [object_id(Kind.BLOB, f"{each}\n".encode()).hex() for each in "123"]
        return self.chance.choice([None, *oids])

    def files(self) -> dict[str, bytes]:
        return self.api.world.files()

    def answer(self) -> None:
        """Resolve or rebase some that are in conflict; each may be refused."""
        for each in self.conflicted:
            found = self.api.get(f"/changesets/{each}")
            if found["status"] != "conflicted" or "closed_by" in found or self.chance.random() < 0.3:
                continue
            verb, body = "rebase", None
            if self.chance.random() < 0.8:
                verb, body = "resolve", {"paths": {one["path"]: self.resolution() for one in found["conflicts"]}}
            answer = self.api.http.post(f"/v1/changesets/{each}/{verb}", json=body)
            assert answer.status_code in {202, 409, 422}, answer.data
            if answer.status_code == 202:
                self.conflicted.append(answer.get_json(force=True)["id"])
        self.conflicted = self.conflicted[-12:]

    def resolution(self) -> Json:
        return self.chance.choice([{"delete": True}, {"take": "ours"}, {"take": "theirs"}, {"content": self.text()}])


@pytest.mark.parametrize("seed", range(4))
def test_resolved_swaps_of_files_and_directories_are_as_in_git(api: Api, seed: int) -> None:
    landed(api, **{"d/m": "1\n", "d/n": "2\n", "e": "3\n"})
    writer = Swapper(api, seed)
    for _ in range(12):
        for _ in range(writer.chance.randint(1, 6)):
            writer.submit()
        if writer.chance.random() < 0.7:
            api.world.work()
        writer.answer()
        if writer.chance.random() < 0.5:
            api.world.work()
    api.world.work()
    found = deep(api.world.repo.settings)
    assert found.difference == ""
    assert found.committed > 15 and found.conflicted > 5 and found.merged > 10 and found.unchecked < 10, found
