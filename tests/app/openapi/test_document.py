"""The OpenAPI document has every route and nothing else, and says of requests what the code takes."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from flask import Flask
from jsonschema import Draft202012Validator
from marshmallow.fields import Raw

from app.access.audit import AuditSchema
from app.api import create_app
from app.guard import RULES
from app.openapi import bodies, document, parameters, values
from app.openapi.document import FAMILIES, Route, build
from app.openapi.operation import JSON
from app.protocol import fields
from app.protocol.loading import LimitedSchema
from app.protocol.queries import EncodedQuerySchema, QuerySchema
from app.routes.index import Described
from storage.base.settings import Settings
from tests.support.api import Api

ROUTES = [Route(endpoint, f"/v1/{endpoint}", ["GET"]) for endpoint in RULES]
MADE = build(ROUTES, RULES)
OPERATIONS = {each.id: each for family in FAMILIES for each in family.operations.values()}


def test_a_route_that_is_not_described_is_an_error_as_is_a_description_without_a_route() -> None:
    for routes in (ROUTES[1:], [*ROUTES, Route("new.route", "/v1/new", ["GET"])]):
        with pytest.raises(ValueError, match=r"app/openapi/operations and the routes differ: \['"):
            build(routes, RULES)


def test_every_route_of_the_application_is_in_the_document_that_it_serves(api: Api) -> None:
    served = api.http.get("/v1/openapi.json").get_json()
    assert served == Described(api.http.application).document
    listed = {
        f"{method.upper()} {re.sub('{[^}]*}', '{}', path)}"
        for path, methods in served["paths"].items()
        for method in methods
    }
    routed = {
        f"{method} {re.sub('<[^>]*>', '{}', rule.rule)}"
        for rule in api.http.application.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert listed == routed and len(listed) == len(RULES)


def test_ids_of_operations_are_unique_and_links_lead_to_them() -> None:
    ids = Counter(each.id for family in FAMILIES for each in family.operations.values())
    assert [name for name, count in ids.items() if count > 1] == []
    links = [link for each in OPERATIONS.values() for answer in each.answers.values() for link in answer.links.values()]
    assert links and {link.operation for link in links} <= set(ids)
    served = {each["operationId"]: each for methods in MADE["paths"].values() for each in methods.values()}
    assert served.keys() == ids.keys()


def test_who_needs_no_token_is_said() -> None:
    open_to_all = {
        each["operationId"]
        for methods in MADE["paths"].values()
        for each in methods.values()
        if each.get("security") == []
    }
    assert open_to_all == {
        "getIndex", "getOpenApi", "getDocs", "getDocsFile", "getProblemTypes", "getLiveness", "getReadiness",
    }  # fmt: skip


def test_every_component_is_a_schema() -> None:
    for shape in MADE["components"]["schemas"].values():
        Draft202012Validator.check_schema(shape)


@pytest.mark.parametrize("name", sorted(each.id for each in OPERATIONS.values() if each.body))
def test_each_example_is_what_its_schema_takes(name: str) -> None:
    body = OPERATIONS[name].body
    assert body
    shape = {"$ref": f"#/components/schemas/{body.shape}"} if isinstance(body.shape, str) else body.shape
    validator = Draft202012Validator({**shape, "components": MADE["components"]})
    for example in body.examples.values():
        assert [error.message for error in validator.iter_errors(example)] == []


@pytest.mark.parametrize("name", sorted(bodies.SCHEMAS))
def test_a_schema_has_the_fields_that_the_code_takes(name: str) -> None:
    kind, shape = bodies.SCHEMAS[name], MADE["components"]["schemas"][name]
    taken = kind(Settings()).fields
    assert shape["properties"].keys() == taken.keys() and shape["additionalProperties"] is False
    assert set(shape.get("required", ())) == {each for each, field in taken.items() if field.required}


def test_every_schema_that_checks_a_request_is_in_the_document() -> None:
    known = {*bodies.SCHEMAS.values(), *(each.arguments for each in OPERATIONS.values())}
    known.add(EncodedQuerySchema)  # the same arguments, where `encoding` says how paths are given
    used = {kind for kind in _all_below(LimitedSchema) if kind.__module__.startswith("app.")}
    assert {kind.__name__ for kind in used - known} == set()


def _all_below(kind: type) -> set[type]:
    return {kind, *(each for below in kind.__subclasses__() for each in _all_below(below))} - {LimitedSchema}


def test_a_field_that_nobody_has_described_is_an_error() -> None:
    class New(LimitedSchema):
        checked = fields.Checked(lambda value: value)
        raw = Raw()

    made = New(Settings())
    with pytest.raises(ValueError, match=r"values\.py does not say what .* takes \(checked\)"):
        values.of_field(made.fields["checked"])
    with pytest.raises(ValueError, match=r"bodies\.py does not say what New\.raw takes"):
        document._of_body(made.fields["raw"])


def test_every_argument_of_a_query_has_a_meaning_and_is_used() -> None:
    for schema, meanings in ((QuerySchema, parameters.IN_QUERY), (AuditSchema, parameters.IN_AUDIT)):
        operations = [each for each in OPERATIONS.values() if each.arguments is schema]
        named = {name for each in operations for name in each.query}
        assert named == schema(Settings()).fields.keys() and meanings.keys() <= named
        assert all(name in parameters.IN_QUERY or name in each.meanings for each in operations for name in each.query)


# These look at no query.
INDIFFERENT = {"getMe", "getHead", "getIndex", "getVersion", "getOpenApi", "getDocs", "getDocsFile", "getProblemTypes",
               "getSlice", "getPolicy", "getHealth", "getLiveness", "getReadiness", "getMetrics",
               "getLimits"}  # fmt: skip
OF_LINES = "sizes"  # an argument of the lines of a tree, and not of its pages


def test_each_operation_takes_the_arguments_that_are_described_and_no_others(api: Api) -> None:
    app: Flask = api.http.application
    api.post("/slices", {"name": "web", "paths": ["web/"]}, 201)
    wrong = []
    for path, methods in Described(app).document["paths"].items():
        for method, operation in methods.items():
            if method != "get" or operation["operationId"] in INDIFFERENT:
                continue
            url = path
            for parameter in operation["parameters"]:
                url = url.replace(f"{{{parameter['name']}}}", str(parameter.get("example", "")))
            described = {each["name"] for each in operation["parameters"] if each["in"] == "query"} - {OF_LINES}
            for name in parameters.IN_QUERY | parameters.IN_AUDIT:
                answer = api.http.get(url, query_string={name: "\0"})
                errors = (answer.get_json(force=True) or {}).get("errors", [])
                unknown = {"field": name, "message": "is not a field here"} in errors
                if answer.status_code == 422 and unknown == (name in described):
                    wrong.append(f"{url}: {name}")
    assert wrong == []


def test_the_document_tells_nothing_of_a_deployment(settings: Settings) -> None:
    other: Any = {"max_page": 7, "repository": "hidden", "s3_region": "mars-1"}
    app = create_app(Settings(**{**settings.__dict__, **other, "repository": settings.repository}), check=False)
    try:
        assert Described(app).document == Described(Api(settings).http.application).document
    finally:
        app.extensions["sluice"].stop()


def test_each_body_is_json() -> None:
    for methods in MADE["paths"].values():
        for operation in methods.values():
            if "requestBody" in operation:
                assert list(operation["requestBody"]["content"]) == [JSON]
