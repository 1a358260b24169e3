"""Changesets that change nothing, as when every change in a conflict was dropped: no right at all fits no paths."""

from __future__ import annotations

import pytest

from app.access.caller import Caller
from app.admin.deep.verification import deep
from app.admin.verify import verify
from storage.access.policy import Policy, Right
from storage.access.rights import ALL, Compiled
from storage.base.settings import Settings
from tests.support.api import Api, Json, walk
from tests.support.principals import grants, principal, secured


@pytest.fixture
def root(settings: Settings, unsent: object) -> Api:
    root = secured(settings)
    root.post("/slices", {"name": "docs", "paths": ["docs/"]}, 201)
    root.post("/slices", {"name": "src", "paths": ["src/"]}, 201)
    return root


def put(api: Api, path: str, content: str, base: str) -> str:
    change = {"op": "put", "path": path, "content": content}
    return str(api.submit(where="docs", base=base, changes=[change], message=f"Write {content}")["id"])


def dropping(root: Api, agent: Api, by: Api | None = None) -> str:
    """Return a queued changeset that changes nothing: `by`, or `agent`, took "ours" of the only conflict of `agent`."""
    base = root.tip
    put(agent, "docs/x", f"one on {base}", base)
    conflicted = put(agent, "docs/x", f"two on {base}", base)
    root.world.work()
    assert root.get(f"/changesets/{conflicted}")["status"] == "conflicted"
    answer = (by or agent).post(f"/changesets/{conflicted}/resolve", {"paths": {"docs/x": {"take": "ours"}}}, 202)
    return str(answer.get_json(force=True)["id"])


def listed(api: Api) -> set[str]:
    return {each["id"] for each in walk(api, "/changesets")}


def assert_hidden(api: Api, changeset: str, base: str) -> None:
    """Try everything by which somebody could learn of a changeset, or do something with it."""
    for below in ("", "/diff", "/conflicts"):
        api.get(f"/changesets/{changeset}{below}", 404)
    for verb in ("release", "abandon", "rebase", "revert"):
        api.post(f"/changesets/{changeset}/{verb}", {}, 404)
    api.post(f"/changesets/{changeset}/resolve", {"paths": {"docs/x": {"take": "ours"}}}, 404)
    [row] = api.post("/changesets/status", {"ids": [changeset]}, 200).get_json(force=True)["items"]
    assert row == {"id": changeset, "status": "unknown"}
    assert changeset not in listed(api)
    on_it: Json = {"base": changeset, "changes": [{"op": "put", "path": "src/new", "content": "mine"}]}
    refused = api.submit(422, where="src", **on_it)
    assert refused["errors"][0]["field"] == "base", refused


def test_a_changeset_that_changes_nothing_is_hidden_from_who_may_not_read_its_slice(root: Api) -> None:
    grants(root, "agent:a writer docs/", "agent:guest writer src/", "agent:part maintainer docs/x")
    agent, guest, part = (principal(root, f"agent:{name}") for name in ("a", "guest", "part"))
    elsewhere = principal(root, "agent:a", paths=["src/"])
    changeset = dropping(root, agent)
    for status in ("queued", "landed"):
        for other in (guest, part, elsewhere):
            if other is guest:
                assert_hidden(other, changeset, root.tip)
            other.get(f"/changesets/{changeset}", 404)
            other.get(f"/changesets/{changeset}/conflicts", 404)
            assert changeset not in listed(other)
        assert agent.get(f"/changesets/{changeset}")["status"] == status
        assert agent.get(f"/changesets/{changeset}/diff")["items"] == []
        assert changeset in listed(agent)
        root.world.work()


def test_who_may_read_its_slice_sees_it_and_only_its_submitter_and_maintainers_end_it(root: Api) -> None:
    grants(root, "agent:a writer docs/", "agent:b writer docs/", "agent:m maintainer docs/")
    agent, other, maintainer = (principal(root, f"agent:{name}") for name in ("a", "b", "m"))
    looking = principal(root, "agent:a", role="reader")
    for ends in (agent, maintainer):
        changeset = dropping(root, agent)
        for who in (agent, other, maintainer, looking):
            assert who.get(f"/changesets/{changeset}")["status"] == "queued"
        for who, role in ((other, "maintainer"), (looking, "writer")):
            refused = who.post(f"/changesets/{changeset}/abandon", {}, 403).get_json(force=True)
            assert (refused["path"], refused["role"]) == ("docs/", role)
        ends.post(f"/changesets/{changeset}/abandon", {}, 200)
        assert other.get(f"/changesets/{changeset}")["status"] == "abandoned"
        [conflict] = [each["id"] for each in walk(agent, "/conflicts")]
        agent.post(f"/changesets/{conflict}/abandon", {}, 200)


def test_who_resolves_in_a_part_of_the_slice_sees_and_ends_what_came_of_it(root: Api) -> None:
    """It could not submit to the slice, which it may not read whole, and does not lose sight of what it did."""
    grants(root, "agent:a writer docs/", "agent:part maintainer docs/x", "agent:other maintainer docs/x")
    agent, part, other = (principal(root, f"agent:{name}") for name in ("a", "part", "other"))
    changeset = dropping(root, agent, by=part)
    assert part.get(f"/changesets/{changeset}")["status"] == "queued" and changeset in listed(part)
    other.get(f"/changesets/{changeset}", 404)
    other.post(f"/changesets/{changeset}/abandon", {}, 404)
    grants(root, "agent:a writer docs/", "agent:part reader docs/x")
    refused = part.post(f"/changesets/{changeset}/abandon", {}, 403).get_json(force=True)
    assert (refused["path"], refused["role"]) == ("a path that is not shown", "writer"), "it reads a part of the slice"
    grants(root, "agent:a writer docs/", "agent:part writer docs/x")
    part.post(f"/changesets/{changeset}/abandon", {}, 200)
    assert part.get(f"/changesets/{changeset}")["status"] == "abandoned"
    grants(root, "agent:a writer docs/", "agent:part writer src/")
    part.get(f"/changesets/{changeset}", 404)


def test_what_has_landed_meanwhile_leaves_nothing_of_a_rebase_and_strangers_cannot_let_go_of_it(root: Api) -> None:
    """It is held as the one before was: whoever may release it decides when it lands."""
    grants(root, "agent:a writer docs/", "agent:guest writer src/", "agent:b writer docs/")
    agent, guest, other = (principal(root, f"agent:{name}") for name in ("a", "guest", "b"))
    base = root.tip
    change: Json = {"op": "put", "path": "docs/x", "content": "the same"}
    held = agent.submit(where="docs", base=base, changes=[change], hold=True)["id"]
    put(other, "docs/x", "the same", base)
    root.world.work()
    changeset = agent.post(f"/changesets/{held}/rebase", {}, 202).get_json(force=True)["id"]
    assert root.get(f"/changesets/{changeset}")["paths"] == []
    assert_hidden(guest, changeset, root.tip)
    for who in (agent, other):
        refused = who.post(f"/changesets/{changeset}/release", {}, 403).get_json(force=True)
        assert (refused["path"], refused["role"]) == ("docs/", "maintainer")
    assert root.get(f"/changesets/{changeset}")["status"] == "held"
    agent.post(f"/changesets/{changeset}/rebase", {}, 202)


@pytest.mark.parametrize(
    ("granted", "limits", "status"),
    [
        ("writer docs/", {}, "landed"),
        ("writer docs/x", {}, "landed"),
        ("writer docs/elsewhere", {"paths": ["docs/x", "docs/elsewhere"]}, "landed"),
        ("writer /", {}, "landed"),
        ("reader docs/", {}, "rejected"),
        ("writer src/", {}, "rejected"),
        ("writer docs/elsewhere", {"paths": ["docs/x"]}, "rejected"),
    ],
)
def test_a_batch_drops_it_where_its_submitter_may_write_nothing_in_its_slice_any_more(
    root: Api, granted: str, limits: Json, status: str
) -> None:
    """Else it would close a conflict that is not its own any more, and its message would land."""
    grants(root, "agent:a writer docs/", "agent:b maintainer docs/x")
    agent, part = principal(root, "agent:a"), principal(root, "agent:b", **limits)
    changeset = dropping(root, agent, by=part)
    conflict = root.get(f"/changesets/{changeset}")["resolves"]
    grants(root, "agent:a writer docs/", f"agent:b {granted}")
    root.world.work()
    shown = root.get(f"/changesets/{changeset}")
    assert shown["status"] == status
    assert root.get(f"/changesets/{conflict}").get("closed_by") == (changeset if status == "landed" else None)
    if status == "rejected":
        assert (shown["reason"], shown["detail"]) == ("not-allowed", "agent:b may write nothing in the slice")
    repo = root.world.repo
    assert not verify(repo).differences and deep(repo.settings).difference == ""


def test_what_it_resolves_stays_hidden_when_the_slice_has_other_paths(root: Api) -> None:
    """It repeats the message of that."""
    grants(root, "agent:a writer docs/", "agent:public reader docs/public/", "agent:public writer src/")
    agent, public = principal(root, "agent:a"), principal(root, "agent:public")
    waiting = dropping(root, agent)
    assert root.http.patch("/v1/slices/docs", json={"paths": ["docs/public/"]}).status_code == 200
    for status in ("queued", "landed"):
        assert root.get(f"/changesets/{waiting}")["status"] == status
        assert_hidden(public, waiting, root.tip)
        root.world.work()


def test_its_slice_is_gone_and_only_who_reads_everything_sees_it(root: Api) -> None:
    grants(root, "agent:a writer docs/", "agent:all reader /")
    agent, reader = principal(root, "agent:a"), principal(root, "agent:all")
    changeset = dropping(root, agent)
    assert root.http.delete("/v1/slices/docs").status_code in (200, 204)
    agent.get(f"/changesets/{changeset}", 404)
    assert reader.get(f"/changesets/{changeset}")["id"] == changeset


def test_what_was_submitted_without_a_token_is_hidden_too(settings: Settings, unsent: object) -> None:
    """As long as nobody had a token, nobody is known to be its submitter."""
    before = Api(settings)
    before.post("/slices", {"name": "docs", "paths": ["docs/"]}, 201)
    before.post("/slices", {"name": "src", "paths": ["src/"]}, 201)
    changeset = dropping(before, before)
    root = secured(settings, before.world)
    grants(root, "agent:guest writer src/", "agent:a reader docs/")
    guest, reader = principal(root, "agent:guest"), principal(root, "agent:a")
    for _ in range(2):
        assert_hidden(guest, changeset, root.tip)
        assert reader.get(f"/changesets/{changeset}")["id"] == changeset
        root.world.work()


@pytest.mark.parametrize("right", list(Right))
def test_no_right_fits_no_paths(right: Right) -> None:
    """`all` of nothing is true, and must not be taken for a right."""
    compiled = Compiled(Policy())
    assert not Caller("agent:a", compiled.rights("agent:a")).may(right, [])
    assert Caller("user:root", ALL).may(right, [])
