"""The rules about rights, each with a forged history that it must find fault with, and the same without the fault."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from storage.access.policy import Grant, Policy, Role
from tests.harness.checker import by_rule
from tests.harness.evidence import Evidence
from tests.harness.history import Asked, Edit, History, IssuedToken, SetPolicy, Submission
from tests.harness.logged import lines_about
from tests.harness.rights.badge import ROOM_OF, ROOMS, SETTLES, Badge
from tests.harness.rights.guests import ROOM_SLICES
from tests.harness.rights.judge import RIGHTS_RULES, DecidedBy, Limit, LoggedRights
from tests.harness.rights.registrar import Registrar
from tests.harness.wire import Answer

GUEST, TOKEN, ID = "agent:g0", "01K0M8XJ5E3Q4T7N9V2B6C8D0F", "01K0M8XJ5E3Q4T7N9V2B6C8D1G"
REQUEST = "01K0M8XJ5E3Q4T7N9V2B6C8D3J"
ROOM = ROOM_OF[ROOMS[0]]
PATH = ROOM + "g0-1.txt"
# The first policy is sent at 10 and acknowledged at 11; the second, which gives nothing, at 20 and 21.
WRITER = Policy(version=1, grants=(Grant(to=GUEST, role=Role.WRITER, path=ROOM),))
ASKED = Asked(GUEST, TOKEN, 15.0, 16.0, "POST /v1/slices/x/changesets", 202, "write", (PATH,))
UNLIMITED = Limit()
DECIDED = DecidedBy(6, ID, "committed", None, GUEST, TOKEN, (PATH,))


def found(
    *asked: Asked,
    decided: tuple[DecidedBy, ...] = (),
    limit: Limit = UNLIMITED,
    revoked: float | None = None,
    owner: str = GUEST,
) -> dict[str, list[str]]:
    """Return what the rules about rights find in a history of these requests and a log of these decisions."""
    history = History()
    history.policies = {"one": SetPolicy("one", 10.0, 11.0), "two": SetPolicy("two", 20.0, 21.0)}
    history.tokens = {TOKEN: IssuedToken(TOKEN, GUEST, "", made=12.0, revoked=revoked)}
    submission = Submission("g0-1", "g0", {PATH: Edit(("a line",))}, ids={ID: 15.0})
    history.submissions = {"g0-1": submission}
    history.asked = list(asked)
    logged = LoggedRights(
        [(5, "one", WRITER), (9, "two", Policy(version=2))],
        {TOKEN: replace(limit, principal=owner)},
        {TOKEN} if revoked else set(),
        list(decided),
    )
    return rules(history, Evidence(final={ID: Answer(404)}, rights=logged))


def rules(history: History, evidence: Evidence) -> dict[str, list[str]]:
    return by_rule(RIGHTS_RULES, history, evidence)


def test_what_was_allowed_is_no_violation() -> None:
    asked = [ASKED, replace(ASKED, status=403, began=25.0, ended=26.0), replace(ASKED, action="", told=ROOMS[:1])]
    assert found(*asked, decided=(DECIDED, replace(DECIDED, seq=10, status="rejected", reason="not-allowed"))) == {}


@pytest.mark.parametrize(
    ("decided", "limit"),
    [
        (replace(DECIDED, seq=10), Limit()),  # behind the second policy
        (replace(DECIDED, seq=5), Limit()),  # before the first
        (replace(DECIDED, principal="agent:g1"), Limit()),
        (replace(DECIDED, principal=None), Limit()),
        (replace(DECIDED, paths=(PATH, "own/x")), Limit()),
        (replace(DECIDED, token="01K0M8XJ5E3Q4T7N9V2B6C8D2H"), Limit()),  # which nobody issued
        (DECIDED, Limit(role=Role.READER)),
        (DECIDED, Limit(paths=("own/",))),
        (replace(DECIDED, status="rejected", reason="not-allowed"), Limit()),  # though it was
    ],
)
def test_what_is_committed_or_not_without_a_right_is_found(decided: DecidedBy, limit: Limit) -> None:
    assert found(decided=(decided,), limit=limit).keys() == {"committed-by-right"}


@pytest.mark.parametrize(
    "asked",
    [
        replace(ASKED, began=22.1, ended=23.0),  # a second after the second policy was acknowledged
        replace(ASKED, began=1.0, ended=9.9),  # before the first was sent
        replace(ASKED, paths=(PATH, "own/x")),
        replace(ASKED, action="admin", paths=("/",), status=200),
        replace(ASKED, action="read", paths=("/",), status=200),
        replace(ASKED, action="maintain", paths=(), changesets=(ID,), status=200),
        replace(ASKED, principal="agent:g1", action="own", paths=(), changesets=(ID,), status=200),
    ],
)
def test_what_is_done_without_a_right_is_found(asked: Asked) -> None:
    assert found(asked).keys() == {"done-by-right"}


def test_one_may_take_back_ones_own_as_a_writer_and_a_moment_is_left_to_old_policies() -> None:
    own = replace(ASKED, action="own", paths=(), changesets=(ID,), status=200)
    assert found(own, replace(ASKED, began=21.0 + SETTLES, ended=23.0), replace(ASKED, began=9.0, ended=10.0)) == {}


@pytest.mark.parametrize(
    "told",
    [{"told": (ROOMS[1],)}, {"told_ids": (ID,), "began": 23.0, "ended": 24.0}, {"told": ROOMS[:1], "began": 23.0}],
)
def test_what_is_told_without_a_right_is_found(told: dict[str, object]) -> None:
    asked = replace(ASKED, action="", paths=(), status=404)
    assert found(replace(asked, **({"ended": 24.0} | told))).keys() == {"told-by-right"}  # type: ignore[arg-type]


def test_an_answer_a_second_after_a_revocation_is_found() -> None:
    head = replace(ASKED, request="GET /v1/head", status=200, action="", paths=())
    assert found(head, revoked=15.0 - SETTLES) == {}
    assert found(replace(head, status=401), revoked=13.0) == {}
    assert found(head, revoked=13.9).keys() == {"revoked-is-over"}


@pytest.mark.parametrize("status", [401, 403])
def test_who_may_and_is_refused_is_found(status: int) -> None:
    assert found(replace(ASKED, status=status)).keys() == {"who-may-is-let-in"}
    assert found(replace(ASKED, status=status, began=12.5, ended=12.6), limit=Limit(role=Role.READER)) == {}


def test_a_violation_tells_of_which_submission_it_is_and_what_else_its_principal_was_answered() -> None:
    asked = replace(
        ASKED, began=23.0, ended=23.5, request=f"GET /v1/changesets/{ID}/conflicts", status=200, action="read",
        paths=(), changesets=(ID,), said='{"items":[],"next":null}', known_as=REQUEST,
    )  # fmt: skip
    other = replace(ASKED, began=24.0, ended=24.2, request="GET /v1/me", status=503, action="", paths=(), known_as="x")
    late, anothers = replace(other, began=25.0, ended=25.1), replace(other, principal="agent:g1")
    [text] = found(asked, other, late, anothers)["done-by-right"]
    assert f'; request {REQUEST} was answered: {{"items":[],"next":null}}; {ID} is g0-1, and is unknown at' in text
    assert text.endswith(f"; 24.00 GET /v1/me ({TOKEN}, x): 503")


def test_a_token_that_the_log_has_as_anothers_is_found() -> None:
    [text] = found(owner="agent:g1")["what-was-set-is-kept"]
    assert text == f"the token {TOKEN} was given to {GUEST}, and the log has it as that of agent:g1"


def test_a_token_that_was_made_for_another_is_found() -> None:
    history, over = History(), threading.Event()

    def wire(*_: object) -> Answer:
        made = {"id": TOKEN, "principal": "agent:w1", "token": "secret", "role": None, "paths": []}
        return Answer(201, json.dumps(made).encode())

    badge = Badge(wire, history, GUEST, ROOM_SLICES)  # type: ignore[arg-type]
    Registrar("seed", wire, history, [], [badge], over, over)._replace_token(badge)
    [refusal] = history.refusals
    assert (refusal.request, refusal.status) == (f"POST /v1/tokens for {GUEST}", 201)
    assert refusal.document["principal"] == "agent:w1" and "secret" not in str(refusal.document)


def test_the_lines_of_the_logs_about_a_violation_are_found(tmp_path: Path) -> None:
    lines = [f'{{"request": "{REQUEST}", "event": "a"}}', f'{{"ids": ["{TOKEN}", "{ID}"]}}', '{"event": "other"}']
    (tmp_path / "api.log").write_text("\n".join(lines))
    (tmp_path / "worker.log.1").write_text(f"{ID}0 is another\n{ID} is this one\n" + f"{ID}\n" * 300)
    found = list(lines_about(tmp_path, [f"a request {REQUEST}", f"of {ID}/conflicts"]))
    assert found[:3] == [f"api.log: {lines[0]}", f"api.log: {lines[1]}", f"worker.log.1: {ID} is this one"]
    assert len(found) == 200
    assert list(lines_about(tmp_path, ["nothing"])) == []


def test_what_was_acknowledged_and_is_lost_is_found() -> None:
    history = History()
    history.policies = {"one": SetPolicy("one", 1.0, 2.0), "unknown": SetPolicy("unknown", 3.0)}
    history.tokens = {TOKEN: IssuedToken(TOKEN, GUEST, "", made=1.0, revoked=2.0)}
    assert len(rules(history, Evidence())["what-was-set-is-kept"]) == 3


def test_a_badge_writes_down_what_an_answer_tells_and_what_it_needed() -> None:
    history = History()

    class Told:
        """An API that tells too much."""

        def as_(self, token: str | None) -> Told:
            return self

        def __call__(self, method: str, path: str, body: object = None, key: str | None = None) -> Answer:
            return Answer(200, f'{{"items": ["{ROOMS[1]}", "{ROOMS[0]}", "{ID}"], "next": "{TOKEN}"}}'.encode())

    badge = Badge(Told(), history, GUEST, ROOM_SLICES)  # type: ignore[arg-type]
    badge.take(IssuedToken(TOKEN, GUEST, "secret"))
    badge("GET", f"/v1/slices/{ROOMS[0]}/tree")
    badge("POST", f"/v1/changesets/{ID}/abandon")
    first, second = history.asked
    assert (first.action, first.paths, first.told, first.told_ids) == ("read", (ROOM,), (ROOMS[1],), (ID,))
    assert (second.action, second.changesets, second.told_ids) == ("own", (ID,), ())
