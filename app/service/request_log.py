"""The log line of a request that changes something, with the changesets that it is about.

A request that was answered with 202 is found in the log by its id (`X-Request-Id`) and by the id of each changeset;
the batch that decided them has the same ids in `batch_committed`.
"""

from collections.abc import Iterable

from flask import Flask, Response, g, request

from app.access.caller import Caller
from app.access.current import address
from app.protocol.problems import Problem
from storage.base.logging_setup import in_lines, log

_REFUSED = (401, 403)
_READS = ("GET", "HEAD", "OPTIONS")
_LONGEST_PATH = 300


def about(changesets: Iterable[str]) -> None:
    """Add changesets to the log line of the present request."""
    g.setdefault("changesets", []).extend(changesets)


def register(app: Flask) -> None:
    """Have one line for each such request that was done, and for each that its caller had no right to.

    app/protocol/problems.py has those of requests that failed.
    """
    app.after_request(_say)


def refused(status: int, reason: str, parts: int = 1) -> None:
    """Note that somebody was refused: who is not known (401), or has no right to it (403). All refusals come here.

    `parts` says how many parts of one request were refused. No secret is among what is logged.
    """
    log.warning(
        "access_refused", status=status, method=request.method, path=request.path[:_LONGEST_PATH], reason=reason,
        address=address(), parts=parts, **_caller(),
    )  # fmt: skip


def refused_parts(problems: Iterable[Problem | None]) -> None:
    """Note the refusals among the outcomes of a request's parts, by one line for each status."""
    found: dict[int, list[Problem]] = {}
    for problem in problems:
        if problem is not None and problem.status in _REFUSED:
            found.setdefault(problem.status, []).append(problem)
    for status, some in found.items():
        refused(status, some[0].reason, len(some))


def _caller() -> dict[str, str]:
    """Return who sent the present request, as far as that is known."""
    who: Caller | None = g.get("caller")
    if who is None or not who.is_known:
        return {}
    return {"principal": who.principal, "token_id": who.token_id}


def _say(response: Response) -> Response:
    problem: Problem | None = g.get("problem")
    if problem is not None and problem.status in _REFUSED:
        refused(problem.status, problem.reason)
    if request.method not in _READS and response.status_code < 400:
        ids: list[str] = g.get("changesets", [])
        first, *more = list(in_lines(ids)) or [[]]
        fields = {"ids": first, "changesets": len(ids)} if ids else {}
        path = request.path[:_LONGEST_PATH]
        log.info("request_done", method=request.method, path=path, status=response.status_code, **fields, **_caller())
        for part in more:
            log.info("request_done_too", ids=part)
    return response
