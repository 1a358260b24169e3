"""The OpenAPI 3.1 document: made of the routes of the application, what is said of each, and the schemas that validate.

It tells nothing of a deployment: limits are named by their settings, with the defaults. So everybody may read it, and a
client that is generated from it works with every deployment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow.fields import Field, Raw

from app.guard import Needs
from app.openapi import bodies, parameters, values
from app.openapi.operation import JSON, Answer, Family, Json, Operation, schema
from app.openapi.operations import (
    access,
    changesets,
    claims,
    conflicts,
    history,
    mirrors,
    reads,
    service,
    slices,
    webhooks,
)
from app.openapi.problem_types import TYPES
from app.openapi.shapes import SHAPES
from app.protocol.problems import MEDIA_TYPE
from storage.access.policy import Right
from storage.base.settings import Settings

API_VERSION = "1"
FAMILIES: tuple[Family, ...] = (
    service.FAMILY, access.FAMILY, slices.FAMILY, changesets.FAMILY, conflicts.FAMILY, claims.FAMILY, reads.FAMILY,
    history.FAMILY, mirrors.FAMILY, webhooks.FAMILY,
)  # fmt: skip
METHODS = ("get", "post", "put", "patch", "delete")

# What any request may meet, whatever it asks for: of HTTP, of limits, and of servers that are away.
EVERYWHERE = (
    "malformed", "bad-request", "request-timeout", "request-entity-too-large", "request-uri-too-long",
    "expectation-failed", "request-header-fields-too-large", "too-many", "internal", "unavailable",
)  # fmt: skip
# Refusals that most operations have, and which stand in the document once: the types that each status has there.
_SHARED: dict[int, list[str]] = {
    status: [name for name in TYPES if name in EVERYWHERE and TYPES[name].status == status]
    for status in sorted({TYPES[name].status for name in EVERYWHERE})
} | {401: ["unauthorized"], 403: ["forbidden"], 404: ["not-found"], 409: ["conflict"], 422: ["invalid"]}
_SECURITY: list[Json] = [{"bearer": []}, {"basic": []}]
_OF_STATUS = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}
_OF_ALL = ("X-Request-Id", "RateLimit-Policy", "RateLimit")
_ARGUMENT = re.compile(r"<(?:\w+:)?(\w+)>")
_ABOUT = """\
Sluice lands changes from many writers into one large shared code base.

Requests have a token: `Authorization: Bearer slc_…`, or Basic with the token as password. Where a deployment has no
token at all, everybody may do everything. What one may not read is a 404.

Errors are problem documents; `/docs/problems` says of each type when it comes and what to do. 429 and 503 have
`Retry-After`; `RateLimit` says how one stands with one's requests. Lists answer `items` and `next`, the `cursor` of the
page behind them. Fields may be added to answers.
"""


class Route:
    """A route of the application: what is asked, and the endpoint that answers."""

    def __init__(self, endpoint: str, rule: str, methods: Iterable[str]) -> None:
        self.endpoint = endpoint
        self.path = _ARGUMENT.sub(lambda found: f"{{{_in_path(found[1]).name}}}", rule)
        self.arguments = _ARGUMENT.findall(rule)
        [self.method] = [method for method in METHODS if method.upper() in methods]


def build(routes: Iterable[Route], rules: Mapping[str, Right | Needs]) -> Json:
    """Return the document; `rules` says who may ask for what.

    Raises ValueError where a route is not described, or a description has no route, or a shape is not known.
    """
    routes = list(routes)
    plugin = MarshmallowPlugin()
    described = {name: (family, each) for family in FAMILIES for name, each in family.operations.items()}
    if differing := {route.endpoint for route in routes} ^ described.keys():
        raise ValueError(f"app/openapi/operations and the routes differ: {sorted(differing)}")
    spec = APISpec(
        title="Sluice",
        version=API_VERSION,
        openapi_version="3.1.0",
        plugins=[plugin],
        info={"description": _ABOUT, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        servers=[{"url": "/"}],
        security=_SECURITY,
        tags=[{"name": family.name, "description": family.text} for family in FAMILIES],
    )
    assert plugin.converter is not None, "a plugin gets one from its APISpec"
    plugin.converter.add_attribute_function(lambda _, field, **kwargs: _of_body(field))
    _add_components(spec)
    for route in sorted(routes, key=lambda route: (list(described).index(route.endpoint), route.path)):
        family, operation = described[route.endpoint]
        spec.path(
            path=route.path, operations={route.method: _operation(route, operation, family, rules[route.endpoint])}
        )
    made = spec.to_dict()
    if lost := _references(made) - {f"#/components/{kind}/{name}" for kind in made["components"]
                                    for name in made["components"][kind]}:  # fmt: skip
        raise ValueError(f"nothing has the names {sorted(lost)}")
    return made


def _of_body(field: Field[Any]) -> Json:
    """Return what a field of a body takes. Raises ValueError where nobody has said so."""
    if not isinstance(field, Raw):
        return values.of_field(field)
    kinds, name = type(field.parent).__mro__, str(field.name)
    found = next((bodies.RAW[kind, name] for kind in kinds if (kind, name) in bodies.RAW), None)
    if found is None:
        raise ValueError(f"app/openapi/bodies.py does not say what {kinds[0].__name__}.{name} takes")
    return found


def _add_components(spec: APISpec) -> None:
    components, settings = spec.components, Settings()
    for name, kind in bodies.SCHEMAS.items():
        text = {"description": bodies.TEXTS[name]} if name in bodies.TEXTS else {}
        components.schema(name, text, schema=kind(settings))
    for name, shape in SHAPES.items():
        components.schema(name, component=shape)
    components.security_scheme("bearer", {"type": "http", "scheme": "bearer", "description": "A token of Sluice"})
    components.security_scheme(
        "basic", {"type": "http", "scheme": "basic", "description": "Any name, and the token as password"}
    )
    for status, types in _SHARED.items():
        components.response(f"Refused{status}", _refusal(status, types))
    for name, header in parameters.OF_ANSWERS.items():
        components.header(name, {"description": header.text, "schema": header.shape,
                                 **({"required": True} if name == "Retry-After" else {})})  # fmt: skip


def _operation(route: Route, operation: Operation, family: Family, needs: Right | Needs) -> Json:
    made: Json = {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [family.name],
        "parameters": list(_parameters(route, operation)),
        "responses": _responses(operation, needs),
    }
    if operation.text:
        made["description"] = operation.text
    if operation.body:
        examples = {name: {"value": value} for name, value in operation.body.examples.items()}
        content = {JSON: {"schema": schema(operation.body.shape), "examples": examples}}
        made["requestBody"] = {"required": True, "content": content}
    if needs is Needs.NOBODY:
        made["security"] = []
    elif needs is Needs.METRICS:
        made["security"] = [*_SECURITY, {}]
    return made


def _in_path(argument: str) -> parameters.Parameter:
    return parameters.IN_PATH.get(argument) or parameters.Parameter(argument, values.TEXT, "")


def _parameters(route: Route, operation: Operation) -> Iterable[Json]:
    for argument in route.arguments:
        name, shape, text, example = _in_path(argument)
        example = operation.path.get(name, example)
        yield _parameter("path", name, shape, text, example, required=True)
    query = operation.arguments(Settings())
    for name in operation.query:
        text = operation.meanings.get(name) or parameters.IN_QUERY[name]
        required = name in parameters.REQUIRED_IN.get(operation.id, ())
        shape = {key: value for key, value in _of_query(query.fields[name]).items() if key != "description"}
        yield _parameter("query", name, shape, text, parameters.EXAMPLES.get(name, "") if required else "", required)
    for name in operation.headers:
        _, shape, text, example = parameters.HEADERS[name]
        yield _parameter("header", name, shape, text, example)


def _of_query(field: Field[Any]) -> Json:
    """Return what an argument takes: in a URL, true and false are words."""
    shape = values.of_field(field)
    return values.FLAG if shape.get("enum") == ["true", "false"] else shape


def _parameter(where: str, name: str, shape: Json, text: str, example: str = "", required: bool = False) -> Json:
    made: Json = {"in": where, "name": name, "required": required, "description": text, "schema": shape}
    return {**made, "example": example} if example else made


def _responses(operation: Operation, needs: Right | Needs) -> dict[str, Json]:
    names = [*EVERYWHERE, *operation.problems]
    if needs is not Needs.NOBODY:
        names.append("unauthorized")
    if isinstance(needs, Right) or needs is Needs.METRICS:
        names.append("forbidden")
    made = {str(status): _answer(answer) for status, answer in operation.answers.items()}
    refusals: dict[int, list[str]] = {}
    for name in sorted(set(names), key=list(TYPES).index):
        refusals.setdefault(TYPES[name].status, []).append(name)
    for status, types in refusals.items():
        refusal = _refusal(status, types)
        own = made.get(str(status))
        if own is None:
            shared = types == _SHARED.get(status)
            made[str(status)] = {"$ref": f"#/components/responses/Refused{status}"} if shared else refusal
        else:  # what is not a problem may have this status too
            own["description"] += f"; or {refusal['description']}"
            own["content"] = {**own["content"], **refusal["content"]}
            own["headers"] = {**own["headers"], **refusal["headers"]}
    return dict(sorted(made.items()))


def _refusal(status: int, types: Iterable[str]) -> Json:
    text = "; ".join(f"[{name}](/docs/problems#{name}): {TYPES[name].title}" for name in types)
    return _answer(Answer(text, {MEDIA_TYPE: "Problem"}, _OF_STATUS.get(status, ())))


def _answer(answer: Answer) -> Json:
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in (*_OF_ALL, *answer.headers)}
    made: Json = {"description": answer.text, "headers": headers}
    if answer.shapes:
        made["content"] = {kind: {"schema": schema(shape)} for kind, shape in answer.shapes.items()}
    if answer.links:
        made["links"] = {
            name: {"operationId": link.operation, "parameters": dict(link.parameters)}
            for name, link in answer.links.items()
        }
    return made


def _references(value: Any) -> set[str]:
    """Return all `$ref`s in a document."""
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(_references, value.values()))
    return set().union(*map(_references, value)) if isinstance(value, list) else set()
