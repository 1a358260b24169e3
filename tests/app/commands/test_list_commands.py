"""`sluice changesets`, `sluice mine` and `sluice submit --label`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.api import Api
from tests.support.collisions import Run, put, runner
from tests.support.command_line import Fake, objects, serve, sluice


@pytest.fixture
def run(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    with runner(api, monkeypatch) as run:
        yield run


def test_a_labelled_submission_is_found_by_its_label(api: Api, run: Run, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("1\n")
    api.put("other", "1")
    api.world.work()
    submit = ("submit", "all", tmp_path, "--base", api.tip, "-m", "First line\n\nmore", "--author", "Ada <ada@x>")
    run(*submit, "--label", "ticket=A=1", "--label", "kind=fix")
    [waiting] = objects(run("changesets", "--label", "ticket=A=1", "--json").stdout)
    assert waiting["labels"] == {"kind": "fix", "ticket": "A=1"} and waiting["status"] == "queued"
    api.world.work()
    line = run("changesets", "--label", "kind=fix", "--since", "1h", "--path", "f").stdout
    assert line == f"{waiting['id']} landed     all Ada: First line [kind=fix] [ticket=A=1]\n"
    assert run("changesets", "--label", "kind=none").stdout == ""
    first, second = objects(run("changesets", "--oldest", "--json").stdout)
    assert second["id"] == waiting["id"] and first["paths"] == ["other"]
    assert len(objects(run("changesets", "-n", "1", "--json").stdout)) == 1


def test_a_priority_is_submitted_and_one_that_is_none_is_a_wrong_usage(api: Api, run: Run, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("1\n")
    submit = ("submit", "all", tmp_path, "--base", api.tip, "-m", "m", "--author", "Ada <ada@x>", "--json")
    run(*submit, "--priority", "101", code=2)
    [made] = objects(run(*submit, "--priority", "7").stdout)
    assert api.get(f"/changesets/{made['id']}")["priority"] == 7


@pytest.mark.parametrize("label", ["x", "=x", "x="])
def test_a_label_without_a_key_or_a_value_is_a_wrong_usage(api: Api, run: Run, tmp_path: Path, label: str) -> None:
    (tmp_path / "f").write_text("1\n")
    submit = ("submit", "all", tmp_path, "--base", api.tip, "-m", "m", "--author", "Ada <ada@x>")
    for line in (("changesets", "--label", label), (*submit, "--label", label)):
        assert "KEY=VALUE" in run(*line, code=2).stderr
    assert api.get("/changesets")["items"] == []


def test_a_time_or_age_that_is_none_is_refused(api: Api, run: Run) -> None:
    api.submit(base=api.tip, changes=[put("f", "1")])
    assert len(objects(run("changesets", "--since", "99999w", "--json").stdout)) == 1
    run("changesets", "--since", "9" * 30 + "d", code=2)
    assert "neither an age" in run("changesets", "--since", "yesterday", code=2).stderr
    assert "since" in run("changesets", "--since", "2026-13-01", code=7).stderr


def test_a_directory_is_refused_where_a_file_is_asked_for(api: Api, run: Run) -> None:
    assert "takes one file" in run("changesets", "--path", "web/", code=2).stderr


def test_nobodys_changesets_are_not_listed_as_mine(api: Api, run: Run) -> None:
    assert "sluice changesets --author" in run("mine", code=2).stderr


def test_mine_are_those_of_my_principal(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"id": "01JG8Y6Z3M4N5P6Q7R8S9T0V1W", "slice": "S", "status": "rejected", "reason": "poison"}
    asked = "/v1/changesets\\?(?=.*&submitter=user%3Aada)(?=.*&status=rejected).*"
    answers = [
        ("GET /v1/me", 200, {"principal": "user:ada"}),
        (f"GET {asked}", 200, {"items": [told, told], "next": None}),
        ("GET /v1/slices/S", 200, {"id": "S", "name": "web"}),
    ]
    with serve(Fake(answers)) as fake:
        monkeypatch.setenv("SLUICE_API_URL", fake.url)
        assert sluice("mine", "--status", "rejected").stdout == f"{told['id']} rejected   web (poison)\n"
        assert json.loads(sluice("mine", "--status", "rejected", "--json").stdout) == told
