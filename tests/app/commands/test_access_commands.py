"""`sluice whoami`, `sluice policy check`, `sluice token`: what they print, and what is said of a refused token."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.console import exit_codes
from app.stack import state
from app.stack.environment import save_environment
from app.stack.state import ROOT_TOKEN
from storage.base.settings import Settings
from tests.support.command_line import ID, Fake, objects, serve, sluice

OTHER = "01JG8Y6Z3M4N5P6Q7R8S9T0V2X"
POLICY = {"version": 3, "grants": [{"to": "user:ada", "role": "admin", "path": "/"}]}
TOKEN = {"id": ID, "principal": "user:ada", "name": "", "role": None, "paths": [], "expires": None, "by": "root",
         "made_by": []}  # fmt: skip


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLUICE_API_PATIENCE", "0")
    for name in ("SLUICE_TOKEN", "SLUICE_TOKEN_FILE", "SLUICE_API_URL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "policy.json").write_text(json.dumps(POLICY))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    with serve(Fake()) as fake:
        monkeypatch.setenv("SLUICE_API_URL", fake.url)
        yield fake


def test_one_sees_what_a_limited_token_leaves(fake: Fake) -> None:
    grants = [{"to": "user:ada", "role": "maintainer", "path": "/"}]
    rights = [{"role": "writer", "path": "docs/", "until": "2027-01-01T00:00:00+00:00"}]
    token = {**TOKEN, "role": "writer", "paths": ["docs/"]}
    me = {"principal": "user:ada", "everything": False, "grants": grants, "rights": rights, "token": token}
    fake.answers = [("GET /v1/me", 200, me)]
    assert sluice("whoami").stdout.splitlines() == [
        "user:ada",
        "  maintainer on /",
        "  by a token that is limited to writer, docs/, which leaves:",
        "    writer on docs/ until 2027-01-01T00:00:00+00:00",
    ]
    fake.answers = [("GET /v1/me", 200, {**me, "rights": []})]
    assert sluice("whoami").stdout.splitlines()[-1] == "    nothing"


def test_one_sees_ones_shares_and_the_limits_of_all(fake: Fake) -> None:
    quotas = [{"name": "queued", "value": 100, "used": 3, "remaining": 97},
              {"name": "bodies_bytes", "value": None, "used": 5, "remaining": None}]  # fmt: skip
    limits = [{"name": "max_page", "value": 1000, "unit": "items", "about": "The longest page."}]
    fake.answers = [("GET /v1/limits", 200, {"principal": "user:ada", "quotas": quotas, "limits": limits})]
    assert sluice("limits").stdout.splitlines() == [
        "user:ada",
        "  queued 3 of 100 used",
        "  bodies_bytes 5 used, no limit",
        "max_page 1000 items",
    ]
    rows = objects(sluice("limits", "--json").stdout)
    assert rows == [{"kind": "quota", **quota} for quota in quotas] + [{"kind": "limit", **limits[0]}]
    fake.answers = [("GET /v1/limits", 200, {"principal": "root", "quotas": [], "limits": []})]
    assert sluice("limits").stdout.splitlines() == ["root", "  has no limits of its own"]


def test_one_without_any_grant_is_told_who_gives_one(fake: Fake) -> None:
    me = {"principal": "user:ada", "everything": False, "grants": [], "rights": [], "token": TOKEN}
    fake.answers = [("GET /v1/me", 200, me)]
    name, told = sluice("whoami").stdout.splitlines()
    assert name == "user:ada" and "may do nothing" in told and "sluice policy set" in told


OUTDATED = "warning: FILE has version 3, and the policy has version 5"


@pytest.mark.parametrize(("present", "said"), [(3, ""), (5, OUTDATED)])
def test_check_compares_the_version(fake: Fake, present: int, said: str) -> None:
    answer: dict[str, Any] = {"version": present, "changes": [], "warnings": []}
    fake.answers = [(r"PUT /v1/policy\?dry_run=true", 200, answer)]
    told = sluice("policy", "check", "policy.json")
    assert told.exit_code == 0 and ("version" in told.stderr) == bool(said) and said in told.stderr
    [document] = objects(sluice("policy", "check", "policy.json", "--json").stdout)
    assert (document["version"], document["file_version"]) == (present, 3)


def test_paths_that_want_a_slash_are_told(fake: Fake) -> None:
    warning = {"field": "grants[0].path", "message": "docs is a directory: only docs/ holds what is below it"}
    fake.answers = [
        (r"PUT /v1/policy\?dry_run=true", 200, {"version": 3, "changes": [], "warnings": [warning]}),
        ("POST /v1/tokens", 201, {**TOKEN, "token": "slc_x", "warnings": [{**warning, "field": "paths[0]"}]}),
    ]
    assert f"warning: grants[0].path: {warning['message']}" in sluice("policy", "check", "policy.json").stderr
    made = sluice("token", "create", "user:ada", "--path", "docs")
    assert f"warning: {warning['message']}" in made.stderr and made.stdout == "slc_x\n"


def test_what_a_token_made_is_revoked_with_it(fake: Fake) -> None:
    fake.answers = [(rf"DELETE /v1/tokens/{ID}\?with_made=true", 200, {"revoked": [ID, OTHER]})]
    assert sluice("token", "revoke", ID, "--with-made").stderr.splitlines() == [f"revoked {ID}", f"revoked {OTHER}"]
    [document] = objects(sluice("token", "revoke", ID, "--with-made", "--json").stdout)
    assert document == {"id": ID, "revoked": True, "all": [ID, OTHER]}
    fake.answers = [("GET /v1/tokens", 200, {"items": [{**TOKEN, "made_by": [OTHER]}], "next": None})]
    assert f"made by {OTHER}" in sluice("token", "list").stdout


def test_where_no_token_is_sent_it_is_said_what_to_set(fake: Fake) -> None:
    fake.otherwise = (401, {"title": "Who asks is not known", "status": 401, "detail": "a token is needed"})
    told = sluice("whoami")
    assert told.exit_code == exit_codes.REFUSED
    hint = told.stderr.partition("hint: ")[2]
    told_of = ("no token was sent", "SLUICE_TOKEN,", "SLUICE_TOKEN_FILE", ROOT_TOKEN, ".sluice")
    assert all(each in hint for each in told_of)


def test_where_one_is_sent_it_is_said_which(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.otherwise = (401, {"title": "Who asks is not known", "status": 401, "detail": "the token is not valid"})
    (tmp_path / "mine").write_text("slc_mine")
    monkeypatch.setenv("SLUICE_TOKEN_FILE", "mine")
    assert "the file mine (SLUICE_TOKEN_FILE)" in sluice("whoami").stderr
    monkeypatch.setenv("SLUICE_TOKEN", "slc_env")
    told = sluice("whoami").stderr
    assert "SLUICE_TOKEN has the token that was sent" in told and "slc_" not in told


def test_who_may_not_is_told_how_to_find_out(fake: Fake) -> None:
    fake.otherwise = (403, {"title": "It is not allowed", "status": 403, "path": "/", "role": "admin"})
    hint = sluice("policy", "show").stderr.partition("hint: ")[2]
    assert "sluice whoami" in hint and "sluice policy set" in hint


def test_the_stack_of_this_folder_is_found_with_its_token(tmp_path: Path) -> None:
    me = {"principal": "root", "everything": True, "grants": [], "rights": [], "token": None}
    with serve(Fake([("GET /v1/me", 200, me)])) as fake:
        folder = tmp_path / ".sluice"
        with state.lock(folder):
            save_environment(folder, Settings(api_url=fake.url, s3_access_key="a", s3_secret_key="b"))
            (folder / ROOT_TOKEN).write_text("slc_root\n")
            assert sluice("whoami").stdout.startswith("root\n")
            fake.otherwise = (401, {"title": "Who asks is not known", "status": 401})
            assert f".sluice/{ROOT_TOKEN} was sent" in sluice("token", "list").stderr
