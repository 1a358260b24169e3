"""An API with a root token, and clients of it for principals with rights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from storage.access.tokens import RANDOM_DIGITS, hash_of, secret_of
from storage.base.settings import Settings
from tests.support.api import Api, Json
from tests.support.world import World

ROOT_TOKEN = secret_of("R" * RANDOM_DIGITS)


def secured(settings: Settings, world: World | None = None, **changed: Any) -> Api:
    """Return a client that sends the root token, of an API that asks for one; of a new repository, or of a `world`."""
    chosen = replace(settings, root_token_sha256=hash_of(ROOT_TOKEN), **changed)
    return Api(chosen, world).as_(ROOT_TOKEN)


def grants(root: Api, *given: str, **more: Any) -> Json:
    """Set a policy of these grants, each as "principal role path", beside an admin."""
    rows = [dict(zip(("to", "role", "path"), each.split(), strict=True)) for each in ("user:admin admin /", *given)]
    answer = root.http.put("/v1/policy", json={"grants": rows, **more}, headers={"If-Match": "*"})
    assert answer.status_code == 200, answer.data
    fresh(root)
    return answer.get_json(force=True)


def principal(root: Api, name: str, **limits: Any) -> Api:
    """Return a client that sends a new token of a principal."""
    made = root.post("/tokens", {"principal": name, **limits}, 201).get_json(force=True)
    fresh(root)
    return root.as_(made["token"])


def fresh(api: Api) -> None:
    """Have the API look at tokens and policy at its next request, instead of within its half second."""
    api.http.application.extensions["sluice"].access.expire()
