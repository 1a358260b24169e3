"""Messages over HTTP: what Git reads in a commit is what its writer wrote, and one trailer of Sluice's."""

from __future__ import annotations

import pytest

from app.admin.verify import verify
from tests.support.api import Api, Json
from tests.support.collisions import collide_on, put

SCISSORS = "# ------------------------ >8 ------------------------"
SIGNED = "Fix it\n\nCo-authored-by: B <b@c>\nSigned-off-by: A <a@b>"


def messages(api: Api) -> dict[str, str]:
    return {each["changeset"]: each["message"] for each in api.get("/slices/all/commits")["items"]}


def with_id(changeset: Json, message: str = SIGNED) -> str:
    return f"{message}\nChangeset-Id: {changeset['id']}\n"


def test_a_writers_trailers_stay_trailers_through_rebase_and_resolution(api: Api) -> None:
    plain = api.submit(base=api.tip, changes=[put("a", "1")], message=SIGNED)
    held = api.submit(base=api.tip, changes=[put("b", "1")], message=SIGNED + "\n", hold=True)
    rebased = api.post(f"/changesets/{held['id']}/rebase", None, 202).get_json()
    api.post(f"/changesets/{rebased['id']}/release", None, 200)
    found = collide_on(api)
    body = {"paths": {"f": {"take": "theirs"}}, "message": SIGNED + "\n\n"}
    resolved = api.post(f"/changesets/{found['id']}/resolve", body, 202).get_json()
    api.world.work()
    made = messages(api)
    assert [made[each["id"]] for each in (plain, rebased, resolved)] == [*map(with_id, (plain, rebased, resolved))]
    assert verify(api.world.repo).differences == []


@pytest.mark.parametrize("message", ["", " \n", f"{SCISSORS}\nx", "Fix it\n\nchangeset-id: mine", "a\0b"])
def test_a_message_that_no_commit_can_have_is_refused_everywhere_by_name(api: Api, message: str) -> None:
    found = collide_on(api)
    body = {"base": api.tip, "message": message, "changes": [put("a", "1")]}
    for path in ("/slices/all/changesets", "/slices/all/check"):
        assert api.post(path, body, 422).get_json(force=True)["errors"][0]["field"] == "message"
    bulk = api.post("/changesets", {"changesets": [body | {"slice": "all"}]}, 422).get_json(force=True)
    assert bulk["outcomes"][0]["problem"]["errors"][0]["field"] == "changesets[0].message"
    resolution = {"paths": {"f": {"take": "theirs"}}, "message": message}
    refused = api.post(f"/changesets/{found['id']}/resolve", resolution, 422).get_json(force=True)
    assert refused["errors"][0]["field"] == "message"
