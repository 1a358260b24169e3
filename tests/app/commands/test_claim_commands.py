"""`sluice claim`, `claims` and `unclaim`, and what `submit`, `status` and `watch` say of claims and of the queue."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.console import exit_codes
from tests.support.api import Api
from tests.support.collisions import Run, runner
from tests.support.command_line import ID, Fake, objects, serve, sluice
from tests.support.waiting import await_true


@pytest.fixture
def run(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    with runner(api, monkeypatch) as run:
        yield run


def test_claims_are_made_listed_renewed_and_ended(run: Run) -> None:
    [made] = objects(run("claim", "docs/", "a.md", "--intent", "New\n chapter", "--ttl", "30m", "--json").stdout)
    assert (made["paths"], made["intent"]) == (["docs/", "a.md"], "New\n chapter")
    assert run("claims").stdout == f"{made['id']} unknown docs/, a.md until {made['expires']}: New chapter\n"
    assert objects(run("claims", "docs/x", "--json").stdout) == [made]
    assert run("claims", "src/").stdout == run("claims", "--principal", "agent:a").stdout == ""
    [renewed] = objects(run("claim", "--renew", made["id"], "--ttl", "2h", "--json").stdout)
    assert renewed["id"] == made["id"] and renewed["expires"] > made["expires"]
    assert run("unclaim", made["id"]).stderr == f"ended {made['id']}\n"
    answer = run("unclaim", made["id"], ID, code=exit_codes.REFUSED)
    assert answer.stderr.count("error: ") == 2 and answer.stdout == ""


@pytest.mark.parametrize(
    "line",
    [
        "claim", "claim docs/", "claim --intent x", "claim a --intent x --ttl 30", "claim a --intent x --ttl 0m",
        f"claim --renew {ID}", f"claim docs/ --renew {ID} --ttl 1h", "claims docs/ --principal agent:a", "unclaim",
    ],
)  # fmt: skip
def test_a_line_that_asks_for_no_claim_is_refused(line: str) -> None:
    assert sluice(*line.split(), "--url", "http://127.0.0.1:1").exit_code == exit_codes.USAGE


def test_who_submits_is_warned_of_claims_and_submits_all_the_same(api: Api, run: Run, tmp_path: Path) -> None:
    [made] = objects(run("claim", "docs/", "--intent", "New chapter", "--json").stdout)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "x").write_text("1\n")
    base = api.get("/head")["tip"]["commit"]
    answer = run("submit", "all", tmp_path, "-m", "m", "--base", base)
    said = f"warning: docs/ claimed by unknown until {made['expires']} ({made['id']}): New chapter"
    assert said in answer.stderr.splitlines() and "queued" in answer.stdout


def test_status_says_how_a_queued_changeset_gets_on(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {"id": ID, "slice": "01S", "status": "queued", "position": 3, "eta": {"seconds": 12.4}}
    passed = {"count": 2, "changesets": [], "complete": True}
    with serve(Fake([("GET .*", 200, shown)])) as fake:
        monkeypatch.setenv("SLUICE_API_URL", fake.url)
        assert sluice("status", ID).stdout == f"{ID} queued, 3 before it in its slice, about 12 s to go\n"
        fake.answers = [("GET .*", 200, shown | {"passed_by": passed, "eta": None})]
        assert sluice("status", ID).stdout == f"{ID} queued, 3 before it in its slice, passed by 2 that came later\n"


def test_watch_shows_claims_as_they_are_made(api: Api, run: Run) -> None:
    repo = api.world.repo
    channel = repo.advisory_claims.channel

    def claim() -> None:
        await_true(lambda: repo.redis.pubsub_numsub(channel)[0][1] > 0)
        repo.advisory_claims.make("agent:a", [b"docs/"], "New chapter", 600)

    other = threading.Thread(target=claim)
    other.start()
    answer = run("watch", "-n", "1")
    other.join()
    assert answer.stdout.startswith("claimed    ") and " agent:a docs/ until " in answer.stdout
