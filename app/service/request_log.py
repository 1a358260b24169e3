"""The log line of a request that changes something, with the changesets that it is about.

A request that was answered with 202 is found in the log by its id (`X-Request-Id`) and by the id of each changeset;
the batch that decided them has the same ids in `batch_committed`.
"""

from collections.abc import Iterable

from flask import Flask, Response, g, request

from storage.base.logging_setup import in_lines, log

_READS = ("GET", "HEAD", "OPTIONS")
_LONGEST_PATH = 300


def about(changesets: Iterable[str]) -> None:
    """Add changesets to the log line of the present request."""
    g.setdefault("changesets", []).extend(changesets)


def register(app: Flask) -> None:
    """Have one line for each such request that was done; app/protocol/problems.py has those of refusals."""
    app.after_request(_say)


def _say(response: Response) -> Response:
    if request.method not in _READS and response.status_code < 400:
        ids: list[str] = g.get("changesets", [])
        first, *more = list(in_lines(ids)) or [[]]
        fields = {"ids": first, "changesets": len(ids)} if ids else {}
        path = request.path[:_LONGEST_PATH]
        log.info("request_done", method=request.method, path=path, status=response.status_code, **fields)
        for part in more:
            log.info("request_done_too", ids=part)
    return response
