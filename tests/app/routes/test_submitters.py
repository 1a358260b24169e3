"""Every commit says who submitted it, in a trailer that Git finds, nobody else may write, and `verify` compares."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from app.admin.deep.verification import deep
from app.admin.export import export
from app.admin.verify import verify
from storage.base.ids import oid_of
from storage.base.settings import Settings
from storage.git.trailers import CHANGESET_ID, CHANGESET_SUBMITTER, trailers, with_trailer
from storage.log.entry import Commits, decode
from storage.log.records import Submitter
from tests.support.api import Api, Json
from tests.support.principals import grants, principal, secured
from tests.support.world import World, item

SIGNED = "Fix it\n\nWhy.\n\nSigned-off-by: A <a@b>"
FORGED = "Fix it\n\nChangeset-Submitter: user:admin\nSigned-off-by: A <a@b>"


@pytest.fixture
def root(settings: Settings, unsent: object) -> Api:
    root = secured(settings)
    grants(root, "agent:a writer /", "agent:b maintainer /")
    return root


def put(path: str, content: str = "1") -> Json:
    return {"op": "put", "path": path, "content": content}


def named(world: World, changeset: str) -> list[str]:
    """Return the submitters that the trailers of a changeset's commit name."""
    outcome = world.repo.outcome(changeset)
    assert outcome and outcome.commit
    message = world.repo.objects.commit(oid_of(outcome.commit)).message
    return [value for name, value in trailers(message) if name.lower() == CHANGESET_SUBMITTER.lower()]


def marks(world: World) -> list[bool]:
    entries = [decode(data) for _, data in world.repo.log.read_from(1)]
    return [entry.submitters for entry in entries if isinstance(entry, Commits)]


def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have batches committed as by a version that knew nothing of submitters in commits."""
    monkeypatch.setattr("storage.commit.link.without_submitter", lambda message: message)
    monkeypatch.setattr(
        "storage.commit.link.with_trailer", lambda text, name, value, *_: with_trailer(text, name, value)
    )
    monkeypatch.setattr("storage.commit.batch.Commits", lambda **fields: Commits(**fields | {"submitters": False}))


def differences(world: World) -> list[str]:
    """Return what verify finds, without and with --deep."""
    found = deep(world.repo.settings).difference
    return [*verify(world.repo).differences, *([found] if found else [])]


def test_git_finds_the_submitter_of_a_landed_commit(root: Api, tmp_path: Path) -> None:
    agent = principal(root, "agent:a")
    plain = agent.submit(base=root.tip, changes=[put("a")], message="Fix it")
    signed = agent.submit(base=root.tip, changes=[put("b")], message=SIGNED)
    own = root.submit(base=root.tip, changes=[put("c")], message="Fix it")
    root.world.work()
    export(root.world.repo.settings, tmp_path / "e.git")

    def git(*arguments: str, given: str = "") -> str:
        return subprocess.run(
            ["git", *arguments], cwd=tmp_path / "e.git", input=given, capture_output=True, text=True, check=True
        ).stdout

    form = f"%(trailers:key={CHANGESET_ID},valueonly,separator=%x20) %(trailers:key={CHANGESET_SUBMITTER},valueonly)"
    lines = [line for line in git("log", "next", f"--format={form}").splitlines() if line.strip()]
    assert sorted(lines) == sorted([f"{plain['id']} agent:a", f"{signed['id']} agent:a", f"{own['id']} root"])
    message = git("log", "-1", "--format=%B", f"--grep={signed['id']}", "next")
    assert message.strip() == f"{SIGNED}\nChangeset-Id: {signed['id']}\nChangeset-Submitter: agent:a"
    assert git("interpret-trailers", "--parse", given=message).splitlines()[-1] == "Changeset-Submitter: agent:a"
    assert differences(root.world) == [] and all(marks(root.world))
    assert agent.get(f"/changesets/{signed['id']}")["message"] == SIGNED


@pytest.mark.parametrize("message", [FORGED, "Changeset-Submitter: x", "Fix it\n\n changeset-SUBMITTER : root\n"])
def test_a_message_that_names_a_submitter_is_refused_everywhere_by_name(root: Api, message: str) -> None:
    agent = principal(root, "agent:a")
    agent.submit(base=root.tip, changes=[put("f", "1")])
    found = agent.submit(base=root.tip, changes=[put("f", "2")])
    root.world.work()
    body = {"base": root.tip, "message": message, "changes": [put("a")]}
    says = "has a line that begins with Changeset-Submitter:, which is for Sluice to write"
    for path in ("/slices/all/changesets", "/slices/all/check"):
        [error] = agent.post(path, body, 422).get_json(force=True)["errors"]
        assert error["field"] == "message" and says in str(error)
    resolution = {"paths": {"f": {"take": "theirs"}}, "message": message}
    [error] = agent.post(f"/changesets/{found['id']}/resolve", resolution, 422).get_json(force=True)["errors"]
    assert error["field"] == "message" and says in str(error)


def test_a_rebased_or_resolved_changeset_names_who_asked_for_that(root: Api) -> None:
    first, second = principal(root, "agent:a"), principal(root, "agent:b")
    held = first.submit(base=root.tip, changes=[put("h")], message=SIGNED, hold=True)
    first.submit(base=root.tip, changes=[put("f", "1")])
    found = first.submit(base=root.tip, changes=[put("f", "2")], message=SIGNED)
    root.world.work()
    rebased = second.post(f"/changesets/{held['id']}/rebase", None, 202).get_json()
    second.post(f"/changesets/{rebased['id']}/release", None, 200)
    resolved = second.post(f"/changesets/{found['id']}/resolve", {"paths": {"f": {"take": "theirs"}}}, 202).get_json()
    root.world.work()
    for made in (rebased, resolved):
        shown = second.get(f"/changesets/{made['id']}")
        assert named(root.world, made["id"]) == [shown["submitter"]] == ["agent:b"] and shown["message"] == SIGNED
    assert differences(root.world) == []


def test_without_tokens_no_commit_names_a_submitter(settings: Settings, unsent: object) -> None:
    api = Api(settings)
    made = api.submit(base=api.tip, changes=[put("a")], message="Fix it")
    api.world.work()
    outcome = api.world.repo.outcome(made["id"])
    assert outcome and outcome.commit
    assert api.world.repo.objects.commit(oid_of(outcome.commit)).message == f"Fix it\n\nChangeset-Id: {made['id']}\n"
    assert differences(api.world) == []


def forgeries(**of: Any) -> Any:
    return pytest.mark.parametrize("forge", of.values(), ids=of.keys())


@forgeries(
    another=lambda more: [(name, "user:admin") for name, _ in more],
    nobody=lambda more: [],
    one_more=lambda more: [*more, ("changeset-submitter", "user:admin")],
    one_more_line=lambda more: [(name, f"{value}\n and user:admin") for name, value in more],
)
def test_a_commit_that_names_another_submitter_is_found(root: Api, monkeypatch: pytest.MonkeyPatch, forge: Any) -> None:
    agent = principal(root, "agent:a")
    monkeypatch.setattr(
        "storage.commit.link.with_trailer", lambda *text, **_: with_trailer(*text[:3], *forge(text[3:]))
    )
    made = agent.submit(base=root.tip, changes=[put("a")])
    root.world.work()
    found = differences(root.world)
    assert len(found) == 2 and all(made["id"] in each and "Changeset-Submitter: agent:a'" in each for each in found), (
        found
    )


def test_a_commit_of_nobody_that_names_a_submitter_is_found(root: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.commit.link.without_submitter", lambda message: message)
    made = root.world.put({"a": b"1"}, message=FORGED)
    root.world.work()
    found = differences(root.world)
    assert len(found) == 2 and all(made in each and "user:admin" in each for each in found), found


def test_commits_of_older_versions_are_right_without_it_and_with_what_their_writers_wrote(
    root: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, by = principal(root, "agent:a"), Submitter(principal="agent:a")
    forged = structs.replace(item(root.world.all, {"f": b"1"}, root.world.tip, message=FORGED), by=by)
    late = structs.replace(item(root.world.all, {"g": b"1"}, root.world.tip, message=FORGED, hold=True), by=by)
    with monkeypatch.context() as before:
        as_before(before)
        plain = agent.submit(base=root.tip, changes=[put("a")])
        [old, held] = root.world.submit(forged, late)
        root.world.work()
    assert named(root.world, plain["id"]) == [] and named(root.world, old) == ["user:admin"]
    root.post(f"/changesets/{held}/release", None, 200)
    nobodys = root.world.put({"n": b"1"}, message=FORGED)
    root.world.work()
    assert named(root.world, held) == ["agent:a"], "what it says of itself is left out, though it was accepted before"
    assert named(root.world, nobodys) == []
    assert marks(root.world)[0] is False and marks(root.world)[-1] is True
    assert differences(root.world) == []
