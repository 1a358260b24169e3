"""Resolutions, rebases and abandonments at random, against a small model of what docs/api.md says of them."""

from __future__ import annotations

import random

import pytest

from app.admin.deep import deep
from app.admin.verify import verify
from storage.commit.batch import commit_batch
from tasks.upkeep import run as run_upkeep
from tests.support.api import Api, Json
from tests.support.collisions import LINES, edit, landed, put
from tests.support.redis_rows import flush

TAKEN = ("committed", "landed", "conflicted")


class Explorer:
    """Does what writers may do, in any order, and keeps what it was told."""

    def __init__(self, api: Api, seed: int, patch: pytest.MonkeyPatch) -> None:
        self.api, self.chance, self.patch = api, random.Random(seed), patch
        self.ids: list[str] = []
        self.closed: dict[str, str] = {}  # as it was told
        self.keys: dict[str, tuple[str, str, str]] = {}  # what was asked for under a key: verb, changeset and answer
        self.bases = [api.tip]

    def show(self, changeset: str) -> Json:
        found = self.api.get(f"/changesets/{changeset}")
        if "closed_by" in found:
            assert self.closed.setdefault(changeset, found["closed_by"]) == found["closed_by"], "told otherwise before"
        return found

    def waiting(self, changeset: str) -> list[str]:
        """Return the undecided successors of a changeset."""
        shown = [self.show(each) for each in self.ids]
        return [
            each["id"] for each in shown if each.get("resolves") == changeset and each["status"] in ("held", "queued")
        ]

    def submit(self) -> None:
        line = self.chance.choice([3, 3, 9, 15])
        body = {"base": self.chance.choice(self.bases[-3:]), "hold": self.chance.random() < 0.2}
        text = edit(line, f"writer {len(self.ids)}")
        self.ids.append(self.api.submit(**body, changes=[put("f", text)])["id"])

    def succeed(self) -> None:
        """Ask for a successor of any changeset, and compare the answer with what it should be."""
        if not self.ids:
            return
        old, verb = self.chance.choice(self.ids[-12:]), self.chance.choice(["resolve", "resolve", "rebase"])
        key = self.chance.choice([None, f"k{self.chance.randrange(1000)}"])
        shown, waiting = self.show(old), self.waiting(old)
        paths = {"f": {"take": self.chance.choice(["ours", "theirs"])}}
        answer = self.api.http.post(
            f"/v1/changesets/{old}/{verb}",
            json={"paths": paths} if verb == "resolve" else None,
            headers={"Idempotency-Key": key} if key else {},
        )
        made = answer.get_json(force=True)
        if answer.status_code == 202:
            if made["id"] in self.ids:
                assert self.show(made["id"])["resolves"] == old, "a repeat"
                return
            assert not waiting and "closed_by" not in shown
            assert shown["status"] == "conflicted" or (verb == "rebase" and self.is_rebasable(shown))
            self.ids.append(made["id"])
        elif answer.status_code == 409 and "closed_by" in made:
            assert made["closed_by"] == shown["closed_by"]
        elif answer.status_code == 409 and "changeset" in made:
            assert made["changeset"] in waiting or (key is None and made["changeset"] in self.ids)
        else:
            assert answer.status_code == 409 or (key is not None and answer.status_code == 422), made
            assert shown["status"] != "conflicted" or verb == "rebase" or answer.status_code == 422, made

    def is_rebasable(self, shown: Json) -> bool:
        return shown["status"] in ("held", "abandoned") or shown.get("reason") == "base-not-landed"

    def abandon(self) -> None:
        if self.ids:
            old = self.chance.choice(self.ids[-8:])
            answer = self.api.http.post(f"/v1/changesets/{old}/abandon")
            assert answer.status_code in (200, 409)
            if answer.status_code == 200 and answer.get_json()["status"] == "conflicted":
                assert self.show(old)["closed_by"]

    def release(self) -> None:
        for each in self.ids[-8:]:
            if self.show(each)["status"] == "held" and self.chance.random() < 0.5:
                self.api.post(f"/changesets/{each}/release", None, 200)

    def work(self) -> None:
        commit_batch(self.api.world.repo)
        self.bases.append(self.api.tip)

    def land(self) -> None:
        self.api.world.work()
        self.bases.append(self.api.tip)

    def forget(self) -> None:
        flush(self.api.world)
        run_upkeep(self.api.world.repo)

    def accept_blindly(self) -> None:
        """Take successors that Redis knows nothing of, as when it was lost in between."""
        found = [
            each for each in self.ids[-12:] if self.show(each)["status"] == "conflicted" and each not in self.closed
        ]
        if not found:
            return
        old = self.chance.choice(found)
        with self.patch.context() as patch:
            patch.setattr("app.routes.lifecycle.successor_of", lambda repo, changeset: None)
            for side in ("ours", "theirs"):
                headers = {"Idempotency-Key": f"b{len(self.ids)}{side}"}
                body = {"paths": {"f": {"take": side}}}
                made = self.api.http.post(f"/v1/changesets/{old}/resolve", json=body, headers=headers)
                assert made.status_code == 202, made.data
                self.ids.append(made.get_json(force=True)["id"])

    def run(self, steps: int) -> None:
        actions = {
            self.submit: 5, self.succeed: 9, self.abandon: 2, self.release: 1, self.work: 3, self.land: 2,
            self.forget: 1, self.accept_blindly: 1,
        }  # fmt: skip
        for _ in range(steps):
            [action] = self.chance.choices(list(actions), list(actions.values()))
            action()
        self.land()


@pytest.mark.parametrize("seed", range(3))
def test_every_conflict_is_closed_once_by_what_took_its_place(
    api: Api, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    landed(api, f=LINES)
    explorer = Explorer(api, seed, monkeypatch)
    explorer.run(120)
    shown = {each: explorer.show(each) for each in explorer.ids}
    open_now = {each["id"] for each in api.get("/conflicts", limit=1000)["items"]}
    for each, found in shown.items():
        if found["status"] != "conflicted":
            continue
        taken = [one["id"] for one in shown.values() if one.get("resolves") == each and one["status"] in TAKEN]
        assert taken == ([found["closed_by"]] if found.get("closed_by") in shown else [])
        assert (each in open_now) is ("closed_by" not in found)
    assert not verify(api.world.repo).differences and not deep(api.world.repo.settings).difference
