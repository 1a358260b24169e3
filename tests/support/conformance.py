"""Whether answers are what the OpenAPI document says; and the document without room for what it does not say."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from flask import Flask, Response, request
from jsonschema import Draft202012Validator

from app.guard import RULES
from app.openapi.document import FAMILIES, Route, build

Json = dict[str, Any]


def closed(document: Json) -> Json:
    """Return a document whose answers have the fields that it names and no others.

    Clients are told to ignore what they do not know; a test of this server is not.
    """
    made = deepcopy(document)
    for kind in ("schemas", "responses"):
        _close(made["components"][kind])
    _close(made["paths"])
    return made


def _close(value: Any) -> None:
    if isinstance(value, dict):
        if value.get("type") == "object" and "properties" in value and "additionalProperties" not in value:
            value["additionalProperties"] = False
        for each in value.values():
            _close(each)
    elif isinstance(value, list):
        for each in value:
            _close(each)


# What is known of the document of applications with the same routes: each test makes a few.
_KNOWN: dict[frozenset[str], tuple[Json, Json, dict[str, Draft202012Validator]]] = {}


def _described(app: Flask) -> tuple[Json, Json, dict[str, Draft202012Validator]]:
    """Return the closed document, its operations by endpoint, and a place for validators of its schemas.

    Of a route that is not described nothing is said here: tests/app/openapi/test_document.py fails for it.
    """
    described = {endpoint: each for family in FAMILIES for endpoint, each in family.operations.items()}
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint in described]
    routes = frozenset(f"{rule.endpoint} {rule.rule}" for rule in rules)
    if routes not in _KNOWN:
        document = closed(build([Route(rule.endpoint, rule.rule, rule.methods or ()) for rule in rules], RULES))
        by_id = {each["operationId"]: each for methods in document["paths"].values() for each in methods.values()}
        _KNOWN[routes] = document, {endpoint: by_id[each.id] for endpoint, each in described.items()}, {}
    return _KNOWN[routes]


class Watch:
    """Looks at each answer of an application as it is sent, and remembers what the document does not say."""

    def __init__(self, app: Flask) -> None:
        self.wrong: list[str] = []
        self._document, self._operations, self._validators = _described(app)
        app.after_request(self._look)

    def _look(self, response: Response) -> Response:
        if request.endpoint in self._operations and request.method not in {"HEAD", "OPTIONS"}:
            for wrong in self._differences(response):
                shown = "" if response.is_streamed else response.get_data(as_text=True)[:500]
                self.wrong.append(f"{request.method} {request.path} -> {response.status_code}: {wrong}\n{shown}")
        return response

    def _differences(self, response: Response) -> list[str]:
        said = self._operations[str(request.endpoint)]["responses"].get(str(response.status_code))
        if said is None:
            return ["this status is not described"]
        if "$ref" in said:
            said = self._document["components"]["responses"][said["$ref"].rpartition("/")[2]]
        wrong = []
        if response.status_code in {429, 503} and "Retry-After" not in response.headers:
            wrong.append("it has no Retry-After")
        names = {"X-Request-Id", *said.get("headers", {})}
        ours = {
            name
            for name, _ in response.headers
            if name.startswith(("X-Git", "X-Sluice", "RateLimit")) or name in {"ETag", "Retry-After"}
        }
        wrong += [f"the header {name} is not described" for name in sorted(ours - names)]
        content = said.get("content", {})
        if not content:
            return wrong + ([] if response.status_code in {204, 304} else ["it has a body"])
        if response.mimetype not in content:
            return [*wrong, f"{response.mimetype} is not described"]
        if response.is_streamed or not response.mimetype.endswith("json"):
            return wrong
        schema = json.dumps(content[response.mimetype].get("schema", {}))
        if schema not in self._validators:
            whole = {**json.loads(schema), "components": self._document["components"]}
            self._validators[schema] = Draft202012Validator(whole)
        shown = json.loads(response.get_data())
        return wrong + [f"{error.json_path}: {error.message}" for error in self._validators[schema].iter_errors(shown)]
