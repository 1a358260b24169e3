"""Errors as RFC 9457 problem documents, and how each application turns exceptions into them.

Every text that a user sees is written here: the text of an exception from a library goes to the log only.
"""

from collections.abc import Callable, Mapping, Sequence
from http.client import responses
from typing import Any

from flask import Flask, Response, current_app, g, json, request
from redis.exceptions import RedisError
from werkzeug.exceptions import HTTPException

from storage.backends.bucket import BucketError, BucketUnsafe
from storage.backends.deadline import Spent
from storage.backends.primary import why
from storage.base.errors import Refused, Unavailable
from storage.base.ids import new_ulid
from storage.base.logging_setup import bind, clear, log

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:sluice:problem:"
MAX_ERRORS = 50  # a wrong request may be wrong in ten thousand places; nobody reads more

FieldError = dict[str, str]


class Problem(Refused):
    """The request cannot be answered as it was asked."""

    def __init__(
        self,
        status: int,
        slug: str,
        title: str,
        detail: str = "",
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
        reason: str = "",
    ) -> None:
        super().__init__(detail or title)
        self.status = status
        self.slug = slug
        self.title = title
        self.detail = detail
        self.errors = list(errors[:MAX_ERRORS])
        self.headers = dict(headers or {})
        self.reason = reason or detail  # for the log, where the client is told less
        self.more = dict(more or {})  # members of this problem's own, such as the slice that has a name already

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        document: dict[str, Any] = {"type": TYPE_PREFIX + self.slug, "title": self.title, "status": self.status}
        if self.detail:
            document["detail"] = self.detail
        if self.errors:
            document["errors"] = self.errors
        return {**document, **self.more}


class Invalid(Problem):
    """Fields of the request are wrong; each of `field_errors` names one, and "" is the whole body."""

    def __init__(self, field_errors: Sequence[FieldError]) -> None:
        errors = [{"field": error["field"] or "body", "message": error["message"]} for error in field_errors]
        detail = f"{errors[0]['field']}: {errors[0]['message']}"
        if len(errors) > 1:
            detail += f" (and {len(errors) - 1} more)"
        super().__init__(422, "invalid", "The request is not valid", detail, errors=errors)
        self.field_errors = field_errors


def invalid(field: str, message: str) -> Invalid:
    """One field of the request is wrong."""
    return Invalid([{"field": field, "message": message}])


def malformed(detail: str) -> Problem:
    """The body cannot be read at all."""
    return Problem(400, "malformed", "The request cannot be read", detail)


def unauthorized(detail: str, reason: str = "") -> Problem:
    """It is not known who asks; never a hint whether a principal exists. The `reason` is for the log."""
    headers = {"WWW-Authenticate": 'Bearer realm="sluice", Basic realm="sluice", charset="UTF-8"'}
    return Problem(401, "unauthorized", "Who asks is not known", detail, headers=headers, reason=reason)


def forbidden(detail: str, path: str, role: str) -> Problem:
    """Who asks may see what it is about, and may not do this to it."""
    return Problem(403, "forbidden", "It is not allowed", detail, more={"path": path, "role": role})


def not_found(what: str, name: str) -> Problem:
    """There is no such thing: `not_found("slice", "web")`."""
    return Problem(404, "not-found", "Not found", f"there is no {what} {name!r}")


def conflict(detail: str, **more: Any) -> Problem:
    """It contradicts what is there; `more` names what."""
    return Problem(409, "conflict", "It contradicts what is there", detail, more=more)


def precondition_failed(detail: str, **more: Any) -> Problem:
    """It has another version than the one that If-Match names."""
    return Problem(412, "precondition-failed", "It has changed meanwhile", detail, more=more)


def key_reused() -> Problem:
    """An idempotency key came back with another request."""
    message = "was used for another request"
    errors = [{"field": "Idempotency-Key", "message": message}]
    return Problem(422, "key-reused", "The idempotency key is taken", f"the key {message}", errors=errors)


def too_many(detail: str, retry_after: float, **more: Any) -> Problem:
    """A limit of what may wait is reached; it will pass. `more` names the limit, and its value."""
    return Problem(429, "too-many", "Too much is waiting", detail, headers=_retry(retry_after), more=more)


def http_problem(status: int, detail: str = "") -> Problem:
    """Return the problem that HTTP itself has under a status."""
    title = _HTTP_TITLES.get(status) or responses.get(status, "Error")
    return Problem(status, title.lower().replace(" ", "-"), title, detail or _HTTP_DETAILS.get(status, ""))


def unavailable(detail: str, retry_after: float = 1) -> Problem:
    """Something that Sluice needs does not answer; for a submission it means: repeat it with the same key."""
    return Problem(503, "unavailable", "Not available at the moment", detail, headers=_retry(retry_after))


def internal(request_id: str) -> Problem:
    """A fault of Sluice; the id finds it in the log."""
    detail = f"the fault is logged under the request id {request_id}"
    return Problem(500, "internal", "A fault of Sluice", detail, more={"request": request_id})


def _retry(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, round(seconds)))}


Table = Mapping[type[Exception], Callable[[Any], Problem]]
"""What is made of exceptions: of the classes that one has, the most special in the table decides."""

# What any application may meet.
SERVERS: Table = {
    RedisError: lambda error: unavailable(why(error)),
    Spent: lambda error: unavailable("it took too long (request_budget)"),
    BucketError: lambda error: unavailable("the bucket does not answer"),
    BucketUnsafe: lambda error: unavailable("the bucket does not keep its promises", 60),
    Unavailable: lambda error: unavailable("something that is needed is away or busy"),
}

# Python 3.13 has other names for these; a problem's type is the same whatever Python serves it.
_HTTP_TITLES = {413: "Request Entity Too Large", 414: "Request-URI Too Long"}
_HTTP_DETAILS = {
    400: "the request cannot be read",
    404: "there is no such resource",
    405: "the resource has no such method",
    413: "the body is larger than max_body_bytes",
    415: "the body must be application/json",
}


def problem_of(error: Exception) -> Problem | None:
    """Return the problem that the present application's table makes of `error`; None where it is a fault."""
    if isinstance(error, Problem):
        return error
    table: Table = current_app.extensions["problems"]
    return next((table[kind](error) for kind in type(error).__mro__ if kind in table), None)


def register(app: Flask, table: Table = SERVERS) -> None:
    """Answer every error of `app` with a problem document, by its own `table`, and give every request an id."""
    app.extensions["problems"] = table
    app.before_request(_begin)
    app.after_request(_sign)
    app.teardown_request(lambda _error: clear())
    app.register_error_handler(HTTPException, _answer_http)
    app.register_error_handler(Exception, _answer)


def respond(problem: Problem) -> Response:
    """Return the response with a problem."""
    return Response(
        json.dumps(problem.to_json()), status=problem.status, headers=problem.headers, content_type=MEDIA_TYPE
    )


def request_id() -> str:
    """Return the id of the request that is being answered."""
    if "request_id" not in g:
        g.request_id = new_ulid()
    return str(g.request_id)


def _begin() -> None:
    clear()
    bind(request=request_id())


def _sign(response: Response) -> Response:
    response.headers["X-Request-Id"] = request_id()
    return response


def _answer(error: Exception) -> Response:
    problem = problem_of(error)
    if problem is None:
        log.error("request_failed", method=request.method, path=request.path, exc_info=error)
        problem = internal(request_id())
    elif problem is not error and problem.status >= 500:
        log.warning(
            "request_refused", method=request.method, path=request.path, status=problem.status, error=str(error)
        )
    g.problem = problem  # for the log, when the answer is made
    return respond(problem)


def _answer_http(error: HTTPException) -> Response | HTTPException:
    status = error.code or 500
    if status < 400:
        return error  # a redirect is no problem
    if status >= 500 and status not in {501, 503}:
        return _answer(getattr(error, "original_exception", None) or error)
    problem = http_problem(status)
    # Allow and Retry-After say what to do instead; the body and its type are ours.
    kept = {"allow", "retry-after"}
    problem.headers = {name: value for name, value in error.get_headers() if name.lower() in kept}
    g.problem = problem
    return respond(problem)
