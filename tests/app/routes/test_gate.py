"""The gate: every route, asked by nobody, by a stranger, by one with too small a role, and by one who may.

A route that is missing in the table fails. What a stranger is answered is searched for all that it must not know.
`pytest tests/app/routes/test_gate.py -n 0 -s` prints what was asked and answered as a table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from werkzeug.test import TestResponse

from app.guard import RULES, Needs
from storage.base.settings import Settings
from tests.support.api import Api
from tests.support.principals import grants, principal, secured

CONTENT, MESSAGE, PERSON = "hunter2-content", "opens-the-vault", "Vera Vault"
INTENT = "seal-the-vault"
LABELS = {"combination": "11-22-33"}


@dataclass
class Planted:
    """A slice that a stranger must not know of, and what is in it."""

    root: Api
    clients: dict[str, Api]
    ids: dict[str, str] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)  # texts that no stranger may be shown

    def changeset(self, path: str, content: str, base: str, **more: Any) -> str:
        change = {"op": "put", "path": path, "content": content}
        author = {"name": PERSON, "email": "vera@vault.example"}
        said = {"message": MESSAGE, "author": author, "labels": LABELS}
        made = self.root.submit(where="vault", base=base, changes=[change], **said, **more)
        return str(made["id"])


@pytest.fixture
def planted(settings: Settings, unsent: object) -> Planted:
    root = secured(settings, webhook_key="k" * 32, mirror_folder="/nowhere")
    for name in ("vault", "open"):
        root.post("/slices", {"name": name, "paths": [f"{name}/"]}, 201)
    grants(
        root,
        *(f"user:stranger {role} open/" for role in ("maintainer", "impersonate")),
        "user:small reader vault/",
        "user:right maintainer vault/",
        "user:right reader open/",
        "user:top admin /",
    )
    clients = {"nobody": root.as_(None)}
    clients |= {name: principal(root, f"user:{name}") for name in ("stranger", "small", "right", "top")}
    made = Planted(root, clients)
    base = made.ids["first"] = root.tip
    made.ids["landed"] = made.changeset("vault/key", CONTENT, base)
    root.world.work()
    made.ids["conflicted"] = made.changeset("vault/key", CONTENT + "2", base)
    root.world.work()
    made.ids["held"] = made.changeset("vault/held", CONTENT, root.tip, hold=True)
    made.ids["queued"] = made.changeset("vault/queued", CONTENT, root.tip)
    vault = {"paths": ["vault/"], "intent": INTENT}
    made.ids["claim"] = clients["right"].post("/claims", vault, 201).get_json(force=True)["id"]
    made.ids["blob"] = root.get("/slices/vault/tree")["items"][0]["id"]
    made.ids["slice"] = root.get("/slices/vault")["id"]
    made.ids["main"] = root.get("/head")["main"]["commit"]
    made.ids["chain"] = root.get("/slices/vault/commits")["items"][0]["commit"]
    made.ids["tree"] = root.get("/head")["main"]["tree"]
    tag = root.http.put("/v1/tags/vault/1", json={"commit": made.ids["chain"], "message": MESSAGE})
    assert tag.status_code == 201, tag.data
    made.ids["tag"] = tag.get_json()["id"]
    token = root.get("/tokens")["items"][1]
    made.ids["token"] = token["id"]
    asked = {"url": "https://vault.example/", "name": MESSAGE, "slices": ["vault"]}
    made.ids["webhook"] = made.clients["right"].post("/webhooks", asked, 201).get_json(force=True)["id"]
    followed = {"name": "vault-source", "direction": "in", "slice": "vault"}
    root.post("/mirrors", {**MIRROR, **followed}, 201)
    made.ids["event"] = f"{root.get('/changesets/' + made.ids['landed'])['seq']}-0"
    assert root.get(f"/changesets/{made.ids['conflicted']}")["status"] == "conflicted"
    names = ("landed", "conflicted", "held", "queued", "blob", "slice", "tree", "claim", "webhook", "tag")
    hidden = [made.ids[name] for name in names]
    made.hidden = [*hidden, "vault", CONTENT, MESSAGE, PERSON, INTENT, "user:small", "user:right"]
    made.hidden += [*LABELS, *LABELS.values()]
    return made


MIRROR = {"url": "https://vault.example/x.git", "ref": "refs/heads/main"}

Body = Callable[[Planted], Any]


@dataclass(frozen=True)
class Case:
    """A request, with the statuses of the four; the last is by `top` where it needs a right on everything."""

    method: str
    url: str  # with {ids}
    statuses: tuple[int, int, int, int]
    body: Body | None = None
    headers: dict[str, str] = field(default_factory=dict)
    by: str = "right"


def changes(op: str = "put", **more: Any) -> Body:
    def made(planted: Planted) -> Any:
        change = {"op": op, "path": "vault/new", "content": "x"}
        return {"base": planted.root.tip, "message": "m", "changes": [change], **more}

    return made


def many(planted: Planted) -> Any:
    return {"changesets": [{**changes()(planted), "slice": "vault"}]}


def a_claim(planted: Planted) -> Any:
    return {"paths": ["vault/new"], "intent": "x"}


def of_all(planted: Planted) -> Any:
    return {"ids": [planted.ids[name] for name in ("landed", "conflicted", "held", "queued")]}


POLICY = {"grants": [{"to": "user:top", "role": "admin", "path": "/"}]}
ANY = {"If-Match": "*"}
OWN = (401, 404, 404, 200)  # a webhook is its owner's
READ, DO, TOP = (401, 404, 200, 200), (401, 404, 403, 200), (401, 403, 403, 200)

CASES: dict[str, Case] = {
    "index.root": Case("GET", "/v1", (200, 200, 200, 200)),
    "index.version": Case("GET", "/v1/version", (401, 200, 200, 200)),
    "index.openapi": Case("GET", "/v1/openapi.json", (200, 200, 200, 200)),
    "index.docs": Case("GET", "/docs", (200, 200, 200, 200)),
    "index.problems": Case("GET", "/docs/problems", (200, 200, 200, 200)),
    "index.docs_file": Case("GET", "/docs/begin.js", (200, 200, 200, 200)),
    "health.alive": Case("GET", "/healthz", (200, 200, 200, 200)),
    "health.ready": Case("GET", "/readyz", (200, 200, 200, 200)),
    "health.metrics": Case("GET", "/metrics", TOP, by="top"),
    "operations.deployment": Case("GET", "/v1/health", (401, 403, 403, 503), by="top"),  # no node runs here
    "operations.merge": Case("POST", "/v1/merges", (401, 403, 403, 202), by="top"),
    "tokens.me": Case("GET", "/v1/me", (401, 200, 200, 200)),
    "tokens.create": Case(
        "POST", "/v1/tokens", (401, 403, 403, 201), lambda planted: {"principal": "user:other"}, by="top"
    ),
    "tokens.listing": Case("GET", "/v1/tokens", (401, 200, 200, 200), by="top"),
    "tokens.revoke": Case("DELETE", "/v1/tokens/{token}", (401, 404, 204, 404), by="top"),  # that of `small`
    "policy.show": Case("GET", "/v1/policy", TOP, by="top"),
    "policy.replace": Case("PUT", "/v1/policy", TOP, lambda planted: POLICY, ANY, by="top"),
    "limits.show": Case("GET", "/v1/limits", (401, 200, 200, 200)),
    "audit.listing": Case("GET", "/v1/audit", TOP, by="top"),
    "slices.create": Case(
        "POST", "/v1/slices", (401, 403, 403, 201), lambda planted: {"name": "inner", "paths": ["vault/inner/"]}
    ),
    "slices.listing": Case("GET", "/v1/slices", (401, 200, 200, 200)),
    "slices.show": Case("GET", "/v1/slices/{slice}", READ),
    "slices.change": Case("PATCH", "/v1/slices/{slice}", DO, lambda planted: {"paths": ["vault/", "vault2"]}, by="top"),
    "slices.remove": Case("DELETE", "/v1/slices/{slice}", (401, 404, 403, 204)),
    "changesets.submit": Case("POST", "/v1/slices/{slice}/changesets", (401, 404, 403, 202), changes()),
    "changesets.submit_many": Case("POST", "/v1/changesets", (401, 422, 422, 202), many),
    "changesets.show": Case("GET", "/v1/changesets/{landed}", READ),
    "changesets.listing": Case("GET", "/v1/slices/{slice}/changesets?status=landed", READ),
    "changeset_lists.listing": Case("GET", "/v1/changesets", (401, 200, 200, 200)),
    "changeset_lists.states": Case("POST", "/v1/changesets/status", (401, 200, 200, 200), of_all),
    "lifecycle.release_one": Case("POST", "/v1/changesets/{held}/release", DO),
    "lifecycle.abandon_one": Case("POST", "/v1/changesets/{queued}/abandon", DO),
    "lifecycle.rebase": Case("POST", "/v1/changesets/{held}/rebase", (401, 404, 403, 202)),
    "lifecycle.resolve": Case(
        "POST",
        "/v1/changesets/{conflicted}/resolve",
        (401, 404, 403, 202),
        lambda planted: {"paths": {"vault/key": {"take": "theirs"}}},
    ),
    "lifecycle.check": Case("POST", "/v1/slices/{slice}/check", DO, changes()),
    "conflicts.listing": Case("GET", "/v1/conflicts", (401, 200, 200, 200)),
    "conflicts.show": Case("GET", "/v1/paths/vault/queued", READ),
    "claims.create": Case("POST", "/v1/claims", (401, 403, 403, 201), a_claim),
    "claims.listing": Case("GET", "/v1/claims?path=vault", (401, 200, 200, 200)),
    "claims.renew": Case("PATCH", "/v1/claims/{claim}", DO, lambda planted: {"ttl": 60}),
    "claims.remove": Case("DELETE", "/v1/claims/{claim}", (401, 404, 403, 204)),
    "explanations.diff": Case("GET", "/v1/changesets/{queued}/diff", READ),
    "explanations.conflicts": Case("GET", "/v1/changesets/{conflicted}/conflicts", READ),
    "explanations.side": Case("GET", "/v1/changesets/{conflicted}/conflicts/head/vault/key", READ),
    "events.stream": Case("GET", "/v1/events?after=0", (401, 200, 200, 200)),
    "reads.commits": Case("GET", "/v1/slices/{slice}/commits", READ),
    "reads.file": Case("GET", "/v1/slices/{slice}/files/vault/key", READ),
    "reads.head": Case("GET", "/v1/head", (401, 200, 200, 200)),
    "reads.global_commits": Case("GET", "/v1/commits", (401, 200, 200, 200)),
    "reads.merged": Case("GET", "/v1/commits/{main}/changesets", (401, 200, 200, 200)),
    "trees.tree": Case("GET", "/v1/slices/{slice}/tree", READ),
    "trees.files": Case("GET", "/v1/slices/{slice}/files", READ),
    "file_contents.contents": Case("POST", "/v1/slices/{slice}/files", READ, lambda planted: {"paths": ["vault/key"]}),
    "commits.show": Case("GET", "/v1/commits/{chain}", (401, 200, 200, 200)),
    "commits.history": Case("GET", "/v1/history?path=vault/key", READ),
    "commits.lines": Case("GET", "/v1/blame?path=vault/key", READ),
    "commits.comparison": Case("GET", "/v1/compare/{first}...main", (401, 200, 200, 200)),
    "reverts.make": Case("POST", "/v1/changesets/{landed}/revert", (401, 404, 403, 202)),
    "tags.listing": Case("GET", "/v1/tags", TOP, by="top"),
    "tags.show": Case("GET", "/v1/tags/vault/1", TOP, by="top"),
    "tags.put": Case(
        "PUT", "/v1/tags/vault/2", (401, 403, 403, 201), lambda planted: {"commit": planted.ids["chain"]}, by="top"
    ),
    "tags.remove": Case("DELETE", "/v1/tags/vault/1", (401, 403, 403, 204), by="top"),
    "mirrors.create": Case(
        "POST", "/v1/mirrors", (401, 403, 403, 201), lambda planted: {**MIRROR, "name": "other"}, by="top"
    ),
    "mirrors.listing": Case("GET", "/v1/mirrors", TOP, by="top"),
    "mirrors.show": Case("GET", "/v1/mirrors/vault-source", (401, 404, 404, 200), by="top"),
    "mirrors.stop": Case("POST", "/v1/mirrors/vault-source/stop", (401, 404, 404, 200), lambda planted: {}, by="top"),
    "mirrors.resume": Case("POST", "/v1/mirrors/vault-source/resume", TOP, by="top"),
    "mirrors.report": Case(
        "PUT", "/v1/mirrors/vault-source/report", (401, 404, 404, 200), lambda planted: {"behind": 0}, by="top"
    ),
    "mirrors.remove": Case("DELETE", "/v1/mirrors/vault-source", (401, 403, 403, 204), by="top"),
    "webhooks.create": Case(
        "POST",
        "/v1/webhooks",
        (401, 404, 201, 201),
        lambda planted: {"url": "https://hooks.example/", "slices": [planted.ids["slice"]]},
    ),
    "webhooks.listing": Case("GET", "/v1/webhooks", (401, 200, 200, 200)),
    "webhooks.show": Case("GET", "/v1/webhooks/{webhook}", OWN),
    "webhooks.change": Case("PATCH", "/v1/webhooks/{webhook}", OWN, lambda planted: {"enabled": False}),
    "webhooks.remove": Case("DELETE", "/v1/webhooks/{webhook}", (401, 404, 404, 204)),
    "webhooks.rotate": Case("POST", "/v1/webhooks/{webhook}/rotate", OWN),
    "webhooks.ping": Case("POST", "/v1/webhooks/{webhook}/ping", (401, 404, 404, 202)),
    "webhooks.deliveries": Case("GET", "/v1/webhooks/{webhook}/deliveries", OWN),
    "webhooks.redeliver": Case("POST", "/v1/webhooks/{webhook}/deliveries/{event}/redeliver", (401, 404, 404, 202)),
}


def test_every_route_is_in_the_table() -> None:
    assert CASES.keys() == RULES.keys()


def ask(planted: Planted, case: Case, who: str) -> TestResponse:
    body = case.body(planted) if case.body else None
    settings = {"json": body} if body is not None else {}
    url = case.url.format(**planted.ids)
    return planted.clients[who].http.open(url, method=case.method, headers=case.headers, buffered=False, **settings)


def text(answer: TestResponse) -> str:
    """Everything that an answer says; of a stream, its beginning."""
    head = "".join(f"{name}: {value}\n" for name, value in answer.headers if name != "X-Request-Id")
    if answer.mimetype != "text/event-stream":
        return head + answer.get_data().decode("latin-1")
    pieces = []
    for piece in answer.response:
        pieces.append(piece.decode() if isinstance(piece, bytes) else str(piece))
        if ": keep-alive" in pieces[-1] or len(pieces) > 30:
            break
    answer.close()
    return head + "".join(pieces)


Answered = list[tuple[str, Case, tuple[int, ...]]]


@pytest.fixture(scope="module")
def answered_rows(request: pytest.FixtureRequest) -> Iterator[Answered]:
    """What was asked and answered; printed at the end with -s."""
    rows: Answered = []
    yield rows
    terminal = request.config.pluginmanager.getplugin("terminalreporter")
    if terminal is None or request.config.getoption("capture") != "no":
        return
    names = ("nobody", "stranger", "too small", "right")
    terminal.write_line("")
    terminal.write_line(f"{'route':25} {'request':57}" + "".join(f"{name:>10}" for name in names))
    wrong = 0
    for endpoint, case, statuses in sorted(rows, key=lambda row: row[0]):
        shown = "".join(
            f"{status:>10}" if status == wanted else f"{f'{status} for {wanted}':>10}"
            for status, wanted in zip(statuses, case.statuses, strict=True)
        )
        wrong += statuses != case.statuses
        terminal.write_line(f"{endpoint:25} {f'{case.method} {case.url}':57}{shown}")
    verdict = f"{wrong} are not as they must be" if wrong else "all as they must be"
    asked = {endpoint for endpoint, *_ in rows}  # once on each S3 server
    terminal.write_line(f"{len(asked)} of {len(RULES)} routes, {len(names)} callers each: {verdict}")


@pytest.mark.parametrize("endpoint", sorted(CASES))
def test_each_is_answered_as_it_may_ask(
    planted: Planted, endpoint: str, answered_rows: Answered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.service.event_streams.KEEP_ALIVE", 0.0)
    case = CASES[endpoint]
    asked = json.dumps(case.body(planted) if case.body else None) + case.url.format(**planted.ids)
    answered = []
    for who in ("nobody", "stranger", "small", case.by):
        answer = ask(planted, case, who)
        answered.append(answer.status_code)
        if who in ("nobody", "stranger") and RULES[endpoint] is not Needs.NOBODY:
            told = text(answer)
            assert [each for each in planted.hidden if each in told and each not in asked] == [], told
        answer.close()
    answered_rows.append((endpoint, case, tuple(answered)))
    assert tuple(answered) == case.statuses


@pytest.mark.parametrize(
    "name", ["landed", "conflicted", "held", "queued", "slice", "blob", "chain", "main", "tree", "tag"]
)
def test_no_id_is_a_right_to_bytes(planted: Planted, name: str) -> None:
    """A stranger gives each id wherever a request takes one: as base, as content, as what it saw, as a commit."""
    stranger, oid = planted.clients["stranger"], planted.ids[name]
    change: dict[str, Any] = {"op": "put", "path": "open/new", "content": "x"}
    bodies = [
        {"base": oid, "message": "m", "changes": [change]},
        {"base": planted.root.tip, "message": "m", "changes": [{"op": "put", "path": "open/new", "id": oid}]},
        {"message": "m", "changes": [{**change, "base": oid}]},
    ]
    for body in bodies:
        answer = stranger.http.post("/v1/slices/open/changesets", json=body)
        told = text(answer)
        if answer.status_code == 202:  # a commit of the chain is no secret: its own paths are all that it gives
            assert name in ("main", "chain") and body is bodies[0], (name, told)
            made = answer.get_json(force=True)["id"]
            told = stranger.http.get(f"/v1/changesets/{made}/diff").get_data(as_text=True)
        assert CONTENT not in told
        assert [each for each in planted.hidden if each in told and each not in json.dumps(body)] == [], told
    for at in (f"/slices/open/tree?commit={oid}", f"/slices/open/files/vault/key?commit={oid}"):
        answer = stranger.http.get("/v1" + at)
        assert answer.status_code in ((200, 404) if name in ("main", "chain") else (404, 422)), at
        told = answer.get_data(as_text=True).replace("'vault/key'", "")  # which it asked for itself
        assert CONTENT not in told and "vault/key" not in told
