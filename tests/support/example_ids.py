"""A repository in which the examples of the OpenAPI document mean something: their ids, and the real ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from app.openapi import examples

Json = dict[str, Any]
Ask = Callable[[str, str, Any], Json]
"""Sends a request (method, path, body) that has to succeed, and returns what came back."""


def real_ids(ask: Ask, settle: Callable[[str], None]) -> dict[str, str]:
    """Make what the examples name, and return the real id of each of theirs.

    `settle` has a changeset decided, and landed if it is committed. Who asks may do everything.
    """
    ask("POST", "/v1/slices", {"name": examples.SLICE, "paths": ["web/"]})
    base = ask("GET", "/v1/head", None)["tip"]["commit"]

    def submitted(path: str, content: str, **more: Any) -> str:
        change = {"op": "put", "path": path, "content": content}
        body = {"base": base, "message": "m", "changes": [change], **more}
        return str(ask("POST", f"/v1/slices/{examples.SLICE}/changesets", body)["id"])

    landed = submitted(examples.PATH, "hello\n")
    settle(landed)
    conflicted = submitted(examples.PATH, "good day\n")
    settle(conflicted)
    head, tree = ask("GET", "/v1/head", None), ask("GET", f"/v1/slices/{examples.SLICE}/tree", None)
    landing = ask("GET", f"/v1/changesets/{landed}", None)
    ask("PUT", f"/v1/tags/{examples.TAG}", {"commit": landing["commit"], "message": "A release"})
    stranded = submitted("web/stranded", "x", hold=True)
    ask("POST", f"/v1/changesets/{stranded}/abandon", None)
    followed = {"url": "https://example.invalid/code.git", "ref": "refs/heads/main", "direction": "in"}
    ask("POST", "/v1/mirrors", {"name": examples.MIRROR, "slice": examples.SLICE, **followed})
    return {
        examples.LANDED: landed,
        examples.CONFLICTED: conflicted,
        examples.STRANDED: stranded,
        examples.CLAIM: str(ask("POST", "/v1/claims", {"paths": ["web/"], "intent": "x", "ttl": 3600})["id"]),
        examples.HELD: submitted("web/held", "x", hold=True),
        examples.QUEUED: submitted("web/queued", "x"),
        examples.COMMIT: str(landing["commit"]),
        examples.MAIN: str(head["main"]["commit"]),
        examples.TREE: str(head["main"]["tree"]),
        examples.BLOB: str(tree["items"][0]["id"]),
        examples.WEBHOOK: str(ask("POST", "/v1/webhooks", {"url": "https://example.invalid/example"})["id"]),
        examples.EVENT: f"{landing['seq']}-0",
        examples.TOKEN: str(ask("POST", "/v1/tokens", {"principal": "agent:example"})["id"]),
    }


def with_real(value: Any, ids: dict[str, str]) -> Any:
    """Return a value, such as an example or the whole document, with real ids in it."""
    text = json.dumps(value)
    for example, real in ids.items():
        text = text.replace(example, real)
    return json.loads(text)
