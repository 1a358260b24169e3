"""What the API has: an index, versions, its OpenAPI document, and the pages that show it."""

from __future__ import annotations

from functools import cached_property
from hashlib import sha256
from typing import Any, NamedTuple, cast

from flask import Blueprint, Flask, Response, current_app, json, jsonify, request

from app import __version__
from app.guard import RULES
from app.openapi.document import API_VERSION, METHODS, Route, build
from app.openapi.page import PAGE, POLICY, page_file
from app.openapi.problem_types import in_html
from app.protocol.problems import not_found
from app.service.services import services
from storage.log.entry import FORMATS

routes = Blueprint("index", __name__)

_HTML = "text/html; charset=utf-8"


class Described:
    """The document of one application, made when it is first asked for: a start need not wait for it."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    @cached_property
    def document(self) -> dict[str, Any]:
        """The document. Raises ValueError where a route is not described."""
        rules = self._app.url_map.iter_rules()
        return build([Route(rule.endpoint, rule.rule, rule.methods or ()) for rule in rules], RULES)

    @cached_property
    def sent(self) -> _Sent:
        """The document as it is sent."""
        content = json.dumps(self.document).encode()
        return _Sent(content, sha256(content).hexdigest()[:32])


class _Sent(NamedTuple):
    content: bytes
    tag: str


def described() -> Described:
    """Return the document of the application that answers the present request."""
    known = current_app.extensions
    if "sluice-openapi" not in known:
        known["sluice-openapi"] = Described(current_app._get_current_object())  # type: ignore[attr-defined]
    return cast(Described, known["sluice-openapi"])


def git_base(url: str) -> str | None:
    """Return what the address of a repository begins with, given that of the gateway; None where there is none."""
    return url.rstrip("/") + "/git/" if url else None


@routes.get("/v1")
def root() -> Response:
    """List what the API has."""
    operations = {
        each["operationId"]: {"method": method.upper(), "href": path}
        for path, methods in described().document["paths"].items()
        for method, each in methods.items()
        if method in METHODS
    }
    shown = {
        "name": "Sluice",
        "api": API_VERSION,
        "docs": "/docs",
        "openapi": "/v1/openapi.json",
        "problems": "/docs/problems",
        "git": git_base(services().settings.git_url),
        "operations": operations,
    }
    return jsonify(shown)


@routes.get("/v1/version")
def version() -> Response:
    """Show the versions of Sluice, of the API, and of the log's entries that this process reads."""
    return jsonify({"version": __version__, "api": API_VERSION, "formats": list(FORMATS)})


@routes.get("/v1/openapi.json")
def openapi() -> Response:
    """Return the OpenAPI document."""
    made = described().sent
    return _unless_known(made.content, "application/json", made.tag)


@routes.get("/docs")
def docs() -> Response:
    """Show the OpenAPI document as a page."""
    return _page(PAGE)


@routes.get("/docs/problems")
def problems() -> Response:
    """Show the types of problems as a page."""
    return _page(in_html())


@routes.get("/docs/<file>")
def docs_file(file: str) -> Response:
    """Return a file of the page."""
    found = page_file(file)
    if found is None:
        raise not_found("file", file)
    return _unless_known(found.content, found.kind, found.tag)


def _page(text: str) -> Response:
    response = Response(text, content_type=_HTML)
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def _unless_known(content: bytes, kind: str, tag: str) -> Response:
    """Answer with bytes, or that the client has them already; it is to ask each time, since an upgrade changes them."""
    response = Response(content_type=kind)
    response.set_etag(tag)
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Content-Type-Options"] = "nosniff"
    if request.if_none_match.contains_weak(tag):
        response.status_code = 304
    else:
        response.set_data(content)
    return response
