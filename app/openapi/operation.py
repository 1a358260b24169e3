"""The form in which an operation of the API is described. document.py makes OpenAPI of it.

What follows from a route is not written down: its path and method come from the application, who may ask from
app/guard.py, and the answers that any request may get from `EVERYWHERE` in document.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.protocol.loading import LimitedSchema
from app.protocol.queries import QuerySchema

Json = dict[str, Any]
JSON, OCTETS, TEXT, HTML = "application/json", "application/octet-stream", "text/plain", "text/html"

Shape = str | Json
"""The name of a schema in shapes.py or bodies.py, or a schema."""


@dataclass(frozen=True, slots=True)
class Link:
    """What may be asked next: an operation, and where the answer or the request has its parameters."""

    operation: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes back under one status; `shapes` has the schema of each media type, and is empty where no body is."""

    text: str
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    headers: tuple[str, ...] = ()  # names in parameters.py, beside X-Request-Id
    links: Mapping[str, Link] = field(default_factory=dict)
    example: Any = None


@dataclass(frozen=True, slots=True)
class Body:
    """The JSON that an operation takes; each example is submitted by a test."""

    shape: Shape
    examples: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What a route does."""

    id: str  # the operationId; never changed, since generated clients call their functions by it
    summary: str
    text: str = ""
    answers: Mapping[int, Answer]
    problems: tuple[str, ...] = ()  # names in problem_types.py, beside those that every request may meet
    query: tuple[str, ...] = ()  # names in parameters.py, as are the two below
    headers: tuple[str, ...] = ()
    arguments: type[LimitedSchema] = QuerySchema  # what checks its query
    meanings: Mapping[str, str] = field(default_factory=dict)  # of arguments that mean something else than elsewhere
    body: Body | None = None
    path: Mapping[str, str] = field(default_factory=dict)  # examples of what its URL has


@dataclass(frozen=True, slots=True)
class Family:
    """The operations of a family of routes, by endpoint."""

    name: str
    text: str
    operations: Mapping[str, Operation]


def answer(text: str, shape: Shape, *headers: str, links: Mapping[str, Link] | None = None) -> Answer:
    """Return an answer in JSON."""
    return Answer(text, {JSON: shape}, headers, links or {})


def nothing(text: str, *headers: str) -> Answer:
    """Return an answer without a body."""
    return Answer(text, {}, headers)


def page(
    shape: Shape,
    text: str = "A page of the list",
    more: Mapping[str, Json] | None = None,
    optional: Mapping[str, Json] | None = None,
) -> Answer:
    """Return the answer of a list: `items`, and `next`, the cursor of the page behind it."""
    beside = dict(more or {})
    listed = {
        "type": "object",
        "required": ["items", "next", *beside],
        "properties": {
            "items": {"type": "array", "items": schema(shape)},
            "next": CURSOR,
            **beside,
            **(optional or {}),
        },
    }
    return Answer(text, {JSON: listed})


CURSOR: Json = {"type": ["string", "null"], "description": "The `cursor` of the next page; null at the end."}


def schema(shape: Shape) -> Json:
    """Return the schema of a shape."""
    return {"$ref": f"#/components/schemas/{shape}"} if isinstance(shape, str) else shape


def thing(required: Mapping[str, Shape], optional: Mapping[str, Shape] | None = None, text: str = "") -> Json:
    """Return the schema of an object, to which fields may be added some day."""
    optional = optional or {}
    made: Json = {
        "type": "object",
        "required": list(required),
        "properties": {name: schema(shape) for name, shape in {**required, **optional}.items()},
    }
    if text:
        made["description"] = text
    return made


def many(shape: Shape) -> Json:
    """Return the schema of a list."""
    return {"type": "array", "items": schema(shape)}


def or_null(shape: Shape) -> Json:
    """Return the schema of something that may be null."""
    made = schema(shape)
    if isinstance(made.get("type"), str) and "enum" not in made:
        return {**made, "type": [made["type"], "null"]}
    return {"oneOf": [made, {"type": "null"}]}
