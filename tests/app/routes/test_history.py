"""What the API tells of archived history is what it told before."""

from __future__ import annotations

from typing import Any

import pytest

from storage.backends.bucket import Bucket
from storage.operations import history
from tests.support.api import Api, walk
from tests.support.compaction import aged_world, compacted
from tests.support.redis_rows import drop_shared
from tests.support.world import item

pytestmark = pytest.mark.usefixtures("unsent")

STATUSES = ("landed", "committed", "conflicted", "rejected", "abandoned")


class Past:
    """A repository with some history: two slices, every outcome, several global commits."""

    def __init__(self, api: Api) -> None:
        self.api = api
        api.world = aged_world(api.world)
        api.post("/slices", {"name": "docs", "paths": ["docs/"]}, 201)
        self.commits: list[str] = []
        self.ids: list[str] = []
        for number in range(4):
            base = api.tip
            self._put("docs", base, f"docs/{number}", "1")
            self._put("all", base, "same", f"a{number}\n")
            self.conflicted = self._put("all", base, "same", f"b{number}\n")
            self.other = self._put("all", base, "same", f"c{number}\n")
            gone = self._put("docs", base, "docs/never", "1")
            api.post(f"/changesets/{gone}/abandon", {}, 200)
            self._put("docs", gone, "docs/more", "1")
            self.closed = self._put("all", base, "same", f"d{number}\n")
            api.world.work()
            api.post(f"/changesets/{self.closed}/abandon", {}, 200)
            self.commits.append(api.tip)
        api.world.work()

    def _put(self, where: str, base: str, path: str, content: str) -> str:
        made = self.api.submit(where=where, base=base, changes=[{"op": "put", "path": path, "content": content}])
        self.ids.append(made["id"])
        return str(made["id"])

    def everything(self) -> dict[str, Any]:
        """Return all that the API has of this history, lists by the smallest pages."""
        api = self.api
        told: dict[str, Any] = {each: api.get(f"/changesets/{each}") for each in self.ids}
        for where in ("all", "docs"):
            told[f"{where} commits"] = list(walk(api, f"/slices/{where}/commits"))
            for status in STATUSES:
                told[f"{where} {status}"] = list(walk(api, f"/slices/{where}/changesets", status=status))
        told["global"] = list(walk(api, "/commits"))
        for each in told["global"]:
            told[f"merged {each['commit']}"] = list(walk(api, f"/commits/{each['commit']}/changesets"))
        told["open"] = list(walk(api, "/conflicts"))
        told["open on"] = list(walk(api, "/conflicts", path="same"))
        told["conflicts"] = api.get(f"/changesets/{self.conflicted}/conflicts")
        told["diff"] = api.get(f"/changesets/{self.conflicted}/diff")
        told["trees"] = [list(walk(api, "/slices/all/tree", commit=commit)) for commit in self.commits]
        told["files"] = [api.http.get(f"/v1/slices/all/files/same?commit={commit}").data for commit in self.commits]
        return told


@pytest.fixture
def past(api: Api) -> Past:
    return Past(api)


def archive(past: Past) -> None:
    """Have everything archived, and the packs deleted that it was in."""
    world = past.api.world
    compacted(world)
    compacted(world.reopened(gc_grace=-1000.0))
    drop_shared(world)
    head = world.repo.view.head()
    assert head.archived == head.through


@pytest.mark.parametrize("most", [1, 3, history.MAX_READ])
def test_everything_is_told_as_before(past: Past, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before = past.everything()
    assert [len(before[f"all {status}"]) for status in STATUSES] == [4, 0, 12, 0, 0]
    assert len(before["open"]) == 8 and len(before["global"]) > 4
    archive(past)
    monkeypatch.setattr(history, "MAX_READ", most)
    after = past.everything()
    assert {name: after[name] for name in before} == before


def test_a_page_of_a_list_with_few_items_ends_where_it_has_read_enough(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(past)
    monkeypatch.setattr(history, "MAX_READ", 2)
    page = past.api.get("/slices/docs/changesets", status="conflicted")
    assert page["items"] == [] and page["next"]
    read: list[int] = []
    monkeypatch.setattr(history, "read_entries", lambda repo, seqs: read.append(len(seqs)) or iter(()))
    past.api.get("/slices/docs/changesets", status="conflicted", cursor=page["next"])
    assert read == [2]


def test_an_archived_conflict_is_resolved_and_another_is_merged_again(past: Past) -> None:
    archive(past)
    api = past.api
    body = {"paths": {"same": {"content": "both\n"}}}
    resolved = api.post(f"/changesets/{past.conflicted}/resolve", body, 202).get_json()
    assert [
        each["path"] for each in api.post(f"/changesets/{past.other}/rebase", {}, 409).get_json(force=True)["conflicts"]
    ] == ["same"]
    api.world.work()
    assert api.get(f"/changesets/{resolved['id']}")["status"] == "landed"
    assert api.get(f"/changesets/{past.conflicted}")["closed_by"] == resolved["id"]
    compacted(api.world)
    assert api.get(f"/changesets/{past.conflicted}")["closed_by"] == resolved["id"]
    assert past.conflicted not in [each["id"] for each in walk(api, "/conflicts")]


def test_an_archived_changeset_is_a_base_and_its_blob_can_be_put_again(past: Past) -> None:
    archive(past)
    api = past.api
    first = past.ids[0]
    [old] = [each for each in api.get("/slices/docs/tree", commit=past.commits[0])["items"] if each["path"] == "docs/0"]
    made = api.submit(
        where="docs",
        base=first,
        changes=[{"op": "put", "path": "docs/again", "id": old["id"]}],
    )
    api.submit(422, base="0" * 26, changes=[{"op": "delete", "path": "docs/0"}])
    api.world.work()
    assert api.get(f"/changesets/{made['id']}")["status"] == "landed"
    assert api.http.get("/v1/slices/all/files/docs/again").data == b"1"


def test_an_unknown_id_from_before_the_mark_is_unknown(past: Past) -> None:
    archive(past)
    past.api.get("/changesets/" + "0" * 26, 404)


def test_a_page_of_archived_commits_reads_what_it_needs_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.world = aged_world(api.world)
    for batch in range(6):
        world = api.world
        world.submit(*[item(world.all, {f"d{batch}/f{i}": b"%d\n" % i}, world.tip) for i in range(100)])
        world.work()
    compacted(api.world)
    drop_shared(api.world)
    fresh, read = api.another(), []
    real = Bucket._get

    def get(bucket: Bucket, name: str, **span: int) -> bytes:
        read.append(name)
        return real(bucket, name, **span)

    monkeypatch.setattr(Bucket, "_get", get)
    assert len(fresh.get("/slices/all/commits", limit=600)["items"]) == 600
    assert len(read) < 50, "twelve entries, their tables, and the packs of six hundred commits"
    assert max(read.count(name) for name in read) < 8
