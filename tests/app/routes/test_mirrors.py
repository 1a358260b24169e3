"""Mirrors over the API: who may have them, what is refused, how they stand, and where that is shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from storage.base.settings import Settings
from storage.coordination import Node
from storage.mirrors.records import Stopped
from storage.operations.git import mirrors
from storage.queue import MirrorProgress
from tests.support.api import Api, Json
from tests.support.principals import grants, principal, secured

URL = "https://git.example/team/code.git"
NEW = {"name": "host", "url": URL, "ref": "refs/heads/main"}


@pytest.fixture
def root(settings: Settings, unsent: object) -> Api:
    return secured(settings, mirror_folder="/nowhere", max_mirrors=3)


def repo_of(api: Api) -> Any:
    return api.http.application.extensions["sluice"].repo


def create(api: Api, status: int = 201, **wanted: Any) -> Json:
    return api.post("/mirrors", {**NEW, **wanted}, status).get_json(force=True)


def report(api: Api, name: str, status: int = 200, **seen: Any) -> Json:
    answer = api.http.put(f"/v1/mirrors/{name}/report", json=seen)
    assert answer.status_code == status, answer.data
    return answer.get_json(force=True)


def test_a_mirror_is_made_shown_stopped_resumed_and_deleted(root: Api) -> None:
    made = create(root)
    assert (made["state"], made["direction"], made["slice"], made["stopped"]) == ("unknown", "out", None, None)
    assert root.get("/mirrors/host") == made and root.get("/mirrors")["items"] == [made]
    stopped = root.post("/mirrors/host/stop", {"detail": "it is moved"}, 200).get_json(force=True)
    assert (stopped["stopped"], stopped["detail"], stopped["state"]) == ("asked", "it is moved", "stopped")
    again = root.post("/mirrors/host/stop", {"reason": "diverged"}, 200).get_json(force=True)
    assert again["stopped"] == "asked", "the first reason stays"
    resumed = root.post("/mirrors/host/resume", {}, 200).get_json(force=True)
    assert (resumed["stopped"], resumed["detail"], resumed["stopped_at"]) == (None, None, None)
    assert root.http.delete("/v1/mirrors/host").status_code == 204
    root.get("/mirrors/host", 404)
    actions = [act["action"] for act in root.get("/audit", actor="root")["items"] if "mirror" in act["action"]]
    assert sorted(actions) == ["mirror.create", "mirror.delete", "mirror.resume", "mirror.stop"]


@pytest.mark.parametrize(
    ("wanted", "field", "why"),
    [
        ({"url": "https://user:hunter2@git.example/code"}, "url", "user or password"),
        ({"url": "http://git.example/code"}, "url", "https://"),
        ({"url": "https://10.0.0.1/code"}, "url", "private address"),
        ({"url": "file:///srv/code.git"}, "url", "mirror_private_targets"),
        ({"url": "ssh://git@git.example/code"}, "url", "mirror_ssh_command"),
        ({"url": "ext::sh"}, "url", "URL"),
        ({"url": 1}, "url", "text"),
        ({"name": "Up"}, "name", "lower-case"),
        ({"name": "../x"}, "name", "lower-case"),
        ({"ref": "main"}, "ref", "whole name"),
        ({"ref": "refs/tags/v1"}, "ref", "whole name"),
        ({"direction": "both"}, "direction", "out, in"),
        ({"direction": "in"}, "slice", "is missing"),
        ({"direction": "in", "slice": "all", "start": "x"}, "start", "40 hexadecimal"),
        ({"start": "1" * 40}, "start", "commits are taken"),
        ({"more": 1}, "more", "not a field"),
    ],
)
def test_what_cannot_be_a_mirror_is_refused_by_its_field(root: Api, wanted: Json, field: str, why: str) -> None:
    problem = create(root, 422, **wanted)
    assert [error["field"] for error in problem["errors"]] == [field]
    assert why in problem["errors"][0]["message"]
    assert "hunter2" not in str(problem), "a password is not repeated"


def test_names_are_given_once_and_the_number_is_limited(root: Api) -> None:
    create(root)
    create(root, 409)
    create(root, name="b")
    create(root, name="c")
    assert "max_mirrors" in create(root, 409, name="d")["detail"]
    create(root, 404, name="e", direction="in", slice="nowhere")


def test_without_a_folder_there_are_no_mirrors(settings: Settings, unsent: object) -> None:
    api = Api(settings)
    assert "mirror_folder" in create(api, 409)["detail"]
    assert api.get("/mirrors")["items"] == []


def test_settings_allow_other_urls(settings: Settings, unsent: object) -> None:
    api = Api(replace(settings, mirror_folder="/x", mirror_private_targets=True, mirror_ssh_command="ssh"))
    create(api, name="a", url="file:///srv/code.git")
    create(api, name="b", url="ssh://git@10.0.0.1/code.git")
    create(api, 422, name="c", url="ssh://git:hunter2@10.0.0.1/code.git")


def test_only_admins_have_mirrors_but_who_follows_one_tells_of_it(root: Api) -> None:
    create(root)
    create(root, name="source", direction="in", slice="all")
    grants(root, "user:admin admin /", "user:writer maintainer /", "mirror:source writer /", "mirror:host writer /")
    admin, writer = principal(root, "user:admin"), principal(root, "user:writer")
    source, host = principal(root, "mirror:source"), principal(root, "mirror:host")
    assert [each["name"] for each in admin.get("/mirrors")["items"]] == ["host", "source"]
    for other in (writer, source, host):
        other.get("/mirrors", 403)
        create(other, 403, name="x")
        assert other.http.delete("/v1/mirrors/source").status_code == 403
        other.post("/mirrors/source/resume", {}, 403)
    for other in (writer, host):
        other.get("/mirrors/source", 404)
        report(other, "source", 404, behind=1)
        other.post("/mirrors/source/stop", {}, 404)
    host.get("/mirrors/host", 404)  # what lands is pushed there, and nobody follows it
    seen = report(source, "source", remote="1" * 40, taken="2" * 40, behind=3)
    assert (seen["state"], seen["remote"], seen["local"], seen["behind"]["commits"]) == (
        "behind", "1" * 40, "2" * 40, 3,
    )  # fmt: skip
    assert (
        source.post("/mirrors/source/stop", {"reason": "conflict", "detail": "x"}, 200).get_json(force=True)["stopped"]
        == "conflict"
    )


def test_what_a_follower_says_is_checked_and_shown(root: Api) -> None:
    create(root)
    create(root, name="source", direction="in", slice="all")
    report(root, "host", 409, behind=0)
    for wrong in ({}, {"behind": -1}, {"behind": "1"}, {"behind": True}, {"behind": 0, "remote": "x"}):
        report(root, "source", 422, **wrong)
    report(root, "source", remote="1" * 40, taken="1" * 40, behind=0)
    failed = report(root, "source", behind=0, error="connection", detail="refused")
    assert (failed["state"], failed["tries"], failed["error"], failed["remote"]) == (
        "failing", 1, "connection", "1" * 40,
    )  # fmt: skip
    assert report(root, "source", behind=0)["state"] == "current"


def test_a_follower_that_is_gone_shows_as_lag(root: Api) -> None:
    create(root, name="source", direction="in", slice="all")
    report(root, "source", remote="1" * 40, taken="1" * 40, behind=0)
    repo_of(root).mirrors.save("source", MirrorProgress(remote="1" * 40, looked=1.0, even_at=1.0))
    shown = root.get("/mirrors/source")
    assert shown["state"] == "silent" and shown["behind"]["seconds"] > 300
    assert "behind for" in root.http.get("/v1/health").get_json()["checks"]["mirrors"]["detail"]


def test_a_mirror_that_stopped_or_lags_is_shown_to_operators_and_nothing_is_taken_out_of_service(root: Api) -> None:
    repo = repo_of(root)
    create(root)
    create(root, name="late")
    mirrors.stop(repo, "host", Stopped.DIVERGED, "it has other commits")
    head = repo.view.head()
    repo.mirrors.save("late", MirrorProgress(behind=2, merged=head.merged, applied=head.applied, even_at=1.0))
    ready = root.as_(None).http.get("/readyz")
    assert ready.status_code == 200 and ready.get_json()["ready"] is True
    assert ready.get_json()["degraded"] == ["mirrors stopped: 1 (diverged)", "mirrors behind: 1"]
    assert "host" not in ready.get_data(as_text=True), "anybody may ask"
    for work in ("commits,upkeep", "merges", "mirrors", "beat"):
        repo.nodes.say(Node(f"{work}@host", tuple(work.split(",")), 1))
    health = root.get("/health")
    check = health["checks"]["mirrors"]
    assert health["healthy"] and check["ok"] and check["detail"].startswith("host: stopped (diverged), late: behind")
    assert check["mirrors"]["late"]["behind"]["commits"] == 2
    metrics = root.http.get("/metrics").get_data(as_text=True).splitlines()
    assert 'sluice_mirror_stopped{mirror="host"} 1.0' in metrics
    assert 'sluice_mirror_stopped{mirror="late"} 0.0' in metrics
    assert 'sluice_mirror_lag_commits{mirror="late"} 2.0' in metrics
    assert [line for line in metrics if line.startswith('sluice_mirror_lag_seconds{mirror="late"}')]


def test_that_nobody_pushes_can_be_alerted_on_once_there_is_a_mirror(root: Api) -> None:
    def at_work() -> list[str]:
        lines = root.http.get("/metrics").get_data(as_text=True).splitlines()
        return [line for line in lines if line.startswith('sluice_nodes{work="mirrors"}')]

    create(root, name="source", direction="in", slice="all")
    assert at_work() == []
    create(root)
    assert at_work() == ['sluice_nodes{work="mirrors"} 0.0']


def test_lag_counts_what_landed_since_the_server_had_everything(root: Api) -> None:
    repo = repo_of(root)
    create(root)
    head = repo.view.head()
    even = MirrorProgress(merged=head.merged, applied=head.applied, even_seq=head.applied, even_at=1.0)
    repo.mirrors.save("host", even)
    assert root.get("/mirrors/host")["behind"] == {"commits": 0, "seconds": 0.0}
    root.put("a", "1")
    root.world.work()
    root.put("b", "1")
    root.world.work()
    shown = root.get("/mirrors/host")
    [first] = repo.view.merges_behind([head.applied + 1])
    assert shown["behind"]["commits"] == 2 and shown["state"] == "behind"
    assert 0 <= shown["behind"]["seconds"] < 1_700_000_000, "since the first of them landed"
    assert first and first.time
