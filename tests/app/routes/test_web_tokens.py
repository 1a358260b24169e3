"""JSON Web Tokens of an issuer: only the right one gets in, as the principal that the policy says."""

from __future__ import annotations

import base64
import hmac
import json
import threading
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import jwt
import pytest
from structlog.testing import capture_logs

from app.access import issuer_keys
from app.access.authentication import Access
from app.access.issuer_keys import AGAIN_AFTER, FRESH, IssuerKeys
from app.access.web_tokens import LEEWAY, WebTokens
from storage.base.settings import Settings
from storage.coordination import Node
from tests.support.api import Api, Json
from tests.support.issuer import CLAIMS, Issuer, jwk, public_pem, serving
from tests.support.principals import ROOT_TOKEN, fresh, grants, secured

ROBOT = "ci:github/acme/web"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with serving(Issuer()) as issuer:
        yield issuer


def identity(issuer: Issuer, **claims: str) -> Json:
    wanted = claims or {name: CLAIMS[name] for name in ("repository_id", "repository_owner_id")}
    return {"issuer": issuer.url, "claims": wanted, "principal": ROBOT}


@pytest.fixture
def root(settings: Settings, issuer: Issuer, unsent: object) -> Api:
    root = secured(settings, jwt_issuers=issuer.setting)
    grants(root, f"{ROBOT} writer docs/", identities=[identity(issuer)])
    root.post("/slices", {"name": "docs", "paths": ["docs/"]}, 201)
    return root


class Clock:
    """The time of an API's keys."""

    now = 0.0

    def __init__(self, root: Api, issuer: Issuer) -> None:
        access: Access = root.http.application.extensions["sluice"].access
        issuers = access._repo.settings.issuers
        access._web = WebTokens(issuers, lambda url: IssuerKeys(url, clock=lambda: self.now))


def status(root: Api, token: str, **headers: str) -> int:
    return root.as_(token).http.get("/v1/me", headers=headers).status_code


def test_the_right_one_gets_in_as_its_principal(root: Api, issuer: Issuer) -> None:
    robot = root.as_(issuer.token())
    me = robot.get("/me")
    assert (me["principal"], me["everything"], me["token"]["id"]) == (ROBOT, False, f"{issuer.url}#job-1")
    assert me["token"]["by"] == issuer.url and [grant["path"] for grant in me["grants"]] == ["docs/"]
    basic = base64.b64encode(f"git:{issuer.token()}".encode()).decode()
    assert root.as_(None).http.get("/v1/me", headers={"Authorization": f"Basic {basic}"}).status_code == 200


def test_what_it_does_names_it_in_the_audit(root: Api, issuer: Issuer) -> None:
    change = {"op": "put", "path": "docs/a", "content": "x"}
    made = root.as_(issuer.token()).submit(where="docs", base=root.tip, changes=[change])["id"]
    root.world.work()
    told = root.get("/audit", changeset=made)["items"]
    assert [row["action"] for row in told] == ["changeset.submit", "changeset.commit", "changeset.land"]
    assert (told[0]["actor"], told[0]["token_id"]) == (ROBOT, f"{issuer.url}#job-1")
    nameless = root.as_(issuer.token(jti=None)).get("/me")["token"]["id"]
    assert nameless.startswith(f"{issuer.url}#sha256:")


def test_rights_count_again_when_its_changeset_is_decided(root: Api, issuer: Issuer) -> None:
    change = {"op": "put", "path": "docs/a", "content": "x"}
    made = root.as_(issuer.token()).submit(where="docs", base=root.tip, changes=[change])["id"]
    grants(root, f"{ROBOT} reader docs/", identities=[identity(issuer)])
    root.world.work()
    assert root.get(f"/changesets/{made}")["reason"] == "not-allowed"


def unsigned(issuer: Issuer) -> str:
    return jwt.encode(jwt.decode(issuer.token(), options={"verify_signature": False}), "", algorithm="none")


def signed_with_the_public_key(issuer: Issuer) -> str:
    _, payload, _ = issuer.token().split(".")
    header = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "typ": "JWT", "kid": "first"}).encode()).rstrip(b"=")
    message = header + b"." + payload.encode()
    code = hmac.digest(public_pem("first"), message, sha256().name)
    return (message + b"." + base64.urlsafe_b64encode(code).rstrip(b"=")).decode()


def with_another_payload(issuer: Issuer) -> str:
    header, _, signature = issuer.token().split(".")
    return ".".join([header, issuer.token(sub="other").split(".")[1], signature])


WRONG: dict[str, Any] = {
    "expired": lambda issuer: issuer.token(lifetime=-LEEWAY - 1),
    "wrong audience": lambda issuer: issuer.token(aud="https://other.example"),
    "wrong issuer": lambda issuer: issuer.token(iss="https://other.example"),
    "no issuer": lambda issuer: issuer.token(iss=None),
    "no expiry": lambda issuer: issuer.token(exp=None),
    "no audience": lambda issuer: issuer.token(aud=None),
    "not yet": lambda issuer: issuer.token(nbf=4_000_000_000),
    "alg none": unsigned,
    "HS256 with the public key": signed_with_the_public_key,
    "another algorithm": lambda issuer: issuer.token(algorithm="RS512"),
    "unknown kid": lambda issuer: issuer.token(kid="unknown"),
    "another's key": lambda issuer: issuer.token(kid="second"),
    "another payload": with_another_payload,
    "another repository": lambda issuer: issuer.token(repository_id="75"),
    "a claim of another kind": lambda issuer: issuer.token(repository_id=["74"]),
    "no claim": lambda issuer: issuer.token(repository_owner_id=None),
    "no token": lambda issuer: "a.b.c",
    "large": lambda issuer: issuer.token(padding="x" * 20_000),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_one_is_a_401_that_does_not_say_why(root: Api, issuer: Issuer, name: str) -> None:
    token = WRONG[name](issuer)
    with capture_logs() as logs:
        answer = root.as_(token).http.get("/v1/me")
    assert answer.status_code == 401 and answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.content_type == "application/problem+json"
    assert answer.get_json(force=True)["detail"] == "the token is not valid"
    [line] = [line for line in logs if line["event"] == "access_refused"]
    assert line["reason"].startswith(("a JSON Web Token: ", "no identity", "the token")) and token not in str(logs)
    assert status(root, issuer.token()) == 200


def test_a_header_that_is_not_ascii_is_a_401(root: Api) -> None:
    for header in ("Bearer \xe9.\xe8.\xe7", "Bearer \xff", "Basic \xe9"):
        assert root.as_(None).http.get("/v1/me", headers={"Authorization": header}).status_code == 401


def test_without_issuers_no_web_token_gets_in(settings: Settings, issuer: Issuer, unsent: object) -> None:
    root = secured(settings)
    grants(root, identities=[identity(issuer)])
    assert status(root, issuer.token()) == 401 and issuer.asked == 0


def test_when_keys_are_rotated_the_new_one_counts_within_a_minute_and_the_old_one_ends(
    root: Api, issuer: Issuer
) -> None:
    clock = Clock(root, issuer)
    old, new = issuer.token(), issuer.token(kid="second")
    assert (status(root, old), status(root, new)) == (200, 401)
    issuer.keys = [jwk("second")]
    clock.now += AGAIN_AFTER - 1
    assert (status(root, new), issuer.asked) == (401, 1)
    clock.now += 1
    assert (status(root, new), status(root, old), issuer.asked) == (200, 401, 2)


def test_a_withdrawn_key_ends_though_nobody_comes_with_a_new_one(root: Api, issuer: Issuer) -> None:
    clock = Clock(root, issuer)
    old = issuer.token()
    assert status(root, old) == 200
    issuer.keys = [jwk("second")]
    clock.now += FRESH
    assert status(root, old) == 401


def test_while_the_issuer_is_away_it_cannot_be_known(
    root: Api, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer.status = 500
    answer = root.as_(issuer.token()).http.get("/v1/me")
    assert answer.status_code == 503 and int(answer.headers["Retry-After"]) >= 1
    assert status(root, ROOT_TOKEN) == 200
    monkeypatch.setattr(issuer_keys, "PATIENCE", 0.05)
    issuer.status, issuer.waits = 200, threading.Event()
    Clock(root, issuer)
    assert status(root, issuer.token()) == 503


def test_another_key_type_gets_in_too(root: Api, issuer: Issuer) -> None:
    issuer.keys = [jwk("first"), jwk("curve")]
    assert status(root, issuer.token(kid="curve", algorithm="ES256")) == 200


def test_the_first_identity_that_fits_counts(root: Api, issuer: Issuer) -> None:
    rows = [
        {**identity(issuer, sub="no"), "principal": "ci:no"},
        {**identity(issuer, sub=CLAIMS["sub"]), "principal": "ci:sub"},
        identity(issuer),
    ]
    grants(root, identities=rows)
    assert root.as_(issuer.token()).get("/me")["principal"] == "ci:sub"
    assert root.as_(issuer.token(sub="other")).get("/me")["principal"] == ROBOT
    assert [row["principal"] for row in root.get("/policy")["identities"]] == ["ci:no", "ci:sub", ROBOT]


def test_what_it_waits_for_ends_with_it_or_with_its_identity(
    root: Api, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    access: Access = root.http.application.extensions["sluice"].access
    who = access.caller(f"Bearer {issuer.token()}")
    assert not access.has_ended(who) and not access.has_other_rights(who)
    with monkeypatch.context() as patch:
        patch.setattr("app.access.web_tokens.time.time", lambda: 40e9)
        assert access.has_ended(who) and access.has_other_rights(who)
    grants(root, f"{ROBOT} reader docs/", identities=[identity(issuer)])
    assert access.has_other_rights(who) and not access.has_ended(who)
    grants(root, f"{ROBOT} writer docs/", identities=[{**identity(issuer), "principal": "ci:other"}])
    assert access.has_ended(who) and access.has_other_rights(who)
    grants(root, f"{ROBOT} writer docs/")
    assert access.has_ended(who) and status(root, issuer.token()) == 401


def test_a_stream_ends_when_the_policy_gives_its_token_no_principal_any_more(
    root: Api, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.service.event_streams.KEEP_ALIVE", 0.0)
    stream = root.as_(issuer.token()).http.get("/v1/events", buffered=False)
    pieces = iter(stream.response)
    next(pieces)
    grants(root, f"{ROBOT} writer docs/")
    assert list(pieces)  # it ends
    stream.close()


def test_it_makes_no_tokens_that_outlive_it(root: Api, issuer: Issuer) -> None:
    for role in ("writer", "admin"):
        grants(root, f"{ROBOT} {role} /", identities=[identity(issuer)])
        answer = root.as_(issuer.token()).http.post("/v1/tokens", json={"principal": ROBOT})
        assert answer.status_code == 403
    assert "outlive" in answer.get_json(force=True)["detail"] and root.get("/tokens")["items"] == []


@pytest.mark.parametrize(
    ("rows", "field"),
    [
        ({}, "identities"),
        ([1], "identities[0]"),
        ([{"issuer": "x", "claims": {}, "principal": ROBOT}], "identities[0].claims"),
        ([{"issuer": "x", "claims": {"a": 1}, "principal": ROBOT}], "identities[0].claims.a"),
        ([{"issuer": "x", "claims": {"a": ""}, "principal": ROBOT}], "identities[0].claims.a"),
        ([{"issuer": "", "claims": {"a": "b"}, "principal": ROBOT}], "identities[0].issuer"),
        ([{"issuer": "x", "claims": {"a": "b"}, "principal": "root"}], "identities[0].principal"),
        ([{"issuer": "x", "claims": {"a": "b"}}], "identities[0].principal"),
    ],
)
def test_a_wrong_identity_names_its_field(root: Api, rows: Any, field: str) -> None:
    body = {"grants": [{"to": "user:admin", "role": "admin", "path": "/"}], "identities": rows}
    answer = root.http.put("/v1/policy", json=body, headers={"If-Match": "*"})
    assert answer.status_code == 422 and answer.get_json(force=True)["errors"][0]["field"] == field


def test_a_dry_run_says_whose_tokens_become_whom(root: Api, issuer: Issuer) -> None:
    body = {"grants": [{"to": "user:admin", "role": "admin", "path": "/"}], "identities": []}
    answer = root.http.put("/v1/policy?dry_run=true", json=body).get_json(force=True)
    [loses] = [change["loses"] for change in answer["changes"] if change["principal"] == ROBOT]
    assert loses[0].startswith(f"tokens of {issuer.url} with repository_id=74") or "writer" in loses[0]


def test_a_policy_with_identities_waits_until_every_node_reads_it(root: Api, issuer: Issuer) -> None:
    root.world.repo.nodes.say(Node("commits@old", ("commits",), 1, reads=3))
    other = root.another().as_(ROOT_TOKEN)
    body = {"grants": [{"to": "user:admin", "role": "admin", "path": "/"}]}
    sent = {**body, "identities": [identity(issuer, sub="x")]}
    answer = other.http.put("/v1/policy", json=sent, headers={"If-Match": "*"})
    assert answer.status_code == 503 and "older version" in answer.get_json(force=True)["detail"]
    assert other.http.put("/v1/policy", json=body, headers={"If-Match": "*"}).status_code == 200
    fresh(root)
    assert root.get("/policy")["identities"] == []
