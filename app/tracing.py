"""The spans of requests, where the deployment is traced (tasks/tracing.py)."""

from typing import Any

from flask import Flask, Response, g, has_request_context, request

from tasks.tracing import tracer


def register(app: Flask) -> None:
    """Have a span for each request to `app`, from here to the beginning of its answer."""
    app.before_request(_begin)
    app.after_request(_end)


def traceparent() -> str | None:
    """Return what leads to the present request's span; None where it has none, or is not sampled."""
    here = tracer()
    span: Any = g.get("span") if has_request_context() else None
    return here.traceparent(span) if here and span else None


def _begin() -> None:
    here = tracer()
    if here:
        name = f"{request.method} {request.endpoint or 'none'}"
        route = request.url_rule.rule if request.url_rule else ""
        about = {"http.request.method": request.method, "http.route": route}
        g.span = here.begin_request(name, dict(request.headers), about)


def _end(response: Response) -> Response:
    span: Any = g.get("span")
    if span:
        span.set_attribute("http.response.status_code", response.status_code)
        span.set_attribute("sluice.request", response.headers.get("X-Request-Id", ""))
        span.end()
    return response
