"""The types of problems: when each comes, and what its reader does; docs/problems.md is made of them."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping
from html import escape
from typing import NamedTuple

from app.protocol.problems import TYPE_PREFIX


class ProblemType(NamedTuple):
    """One type; its name is the last part of the problem's `type`."""

    status: int
    title: str
    when: str
    remedy: str


TYPES: Mapping[str, ProblemType] = {
    "malformed": ProblemType(
        400, "The request cannot be read",
        "The body is not JSON in UTF-8, has a name twice in an object, or the URL is not UTF-8.",
        "Correct what `detail` names, which says at which byte. A repeat of the same request gets the same answer.",
    ),
    "bad-request": ProblemType(
        400, "Bad Request",
        "The request is not HTTP as RFC 9112 has it, or its framing is ambiguous.",
        "Use a library for HTTP; look at what stands between it and Sluice.",
    ),
    "unauthorized": ProblemType(
        401, "Who asks is not known",
        "There is no token, it is not valid, it has expired, or it was revoked.",
        "Send a valid one: `Authorization: Bearer slc_…`. A new one is made by `sluice token create`.",
    ),
    "forbidden": ProblemType(
        403, "It is not allowed",
        "The caller may see what it is about, and lacks the role `role` at `path`.",
        "Ask an admin for a grant (`sluice policy`), or send a token that is not limited.",
    ),
    "not-found": ProblemType(
        404, "Not found",
        "There is no such thing, or the caller may not read it: the two cannot be told apart.",
        "Check the id or name. `GET /v1/me` shows what one may read.",
    ),
    "method-not-allowed": ProblemType(
        405, "Method Not Allowed",
        "The resource does not have this method.",
        "The header `Allow` lists those that it has.",
    ),
    "not-acceptable": ProblemType(
        406, "Not Acceptable",
        "`Accept` excludes every form that the resource has.",
        "Accept `application/json`, or `application/x-ndjson` for a tree.",
    ),
    "request-timeout": ProblemType(
        408, "Request Timeout",
        "The request arrives more slowly than `min_rate`, over `header_timeout` or `body_timeout`.",
        "Repeat it, with the same `Idempotency-Key`; send less at once over a slow connection.",
    ),
    "conflict": ProblemType(
        409, "It contradicts what is there",
        "A name is taken, a slice has another version, a changeset is not in a state for this, or its changes conflict"
        " with the tip. Members beside `detail` say with what: `slice`, `changeset`, `closed_by`, `conflicts`.",
        "Read again what it names, and decide by that. A repeat of the same request gets the same answer.",
    ),
    "no-root-token": ProblemType(
        409, "There is no root token yet",
        "The first token, or the first policy, would end access without a token, and nobody could undo it.",
        "Set `root_token_sha256` first ([access.md](access.md)).",
    ),
    "precondition-failed": ProblemType(
        412, "It has changed meanwhile",
        "`If-Match` names another version of the policy than the one that is there, which is `version`; or another "
        "object than the one that the tag names, which is `id`.",
        "Read the policy again, make the change to that one, and send its `ETag`.",
    ),
    "too-large": ProblemType(
        413, "It is too large",
        "The contents that a rebase or a resolution needs have more than `max_body_bytes` together.",
        "Submit the changes as several changesets.",
    ),
    "request-entity-too-large": ProblemType(
        413, "Request Entity Too Large",
        "The body is larger than `max_body_bytes`.",
        "Send several smaller requests.",
    ),
    "request-uri-too-long": ProblemType(
        414, "Request-URI Too Long",
        "The first line of the request is longer than `max_head_bytes`.",
        "Shorten the URL: a cursor comes from an answer and fits.",
    ),
    "expectation-failed": ProblemType(
        417, "Expectation Failed",
        "The header `Expect` asks for something else than `100-continue`.",
        "Leave it out.",
    ),
    "invalid": ProblemType(
        422, "The request is not valid",
        "Fields of the body, of the query or of the URL have values that they cannot have; `errors` names each of them"
        " with a message. A limit is named by its setting.",
        "Correct these fields. A repeat of the same request gets the same answer.",
    ),
    "key-reused": ProblemType(
        422, "The idempotency key is taken",
        "The `Idempotency-Key` was used for another request.",
        "Use a new key for a new request, and the same one only to repeat a request.",
    ),
    "precondition-required": ProblemType(
        428, "The version that was read is needed",
        "A policy is replaced without `If-Match`.",
        "Send the `ETag` of the policy that was read, or `*` to replace any.",
    ),
    "too-many": ProblemType(
        429, "Too much is waiting",
        "A limit is reached that bounds what waits, streams or is on its way; `detail` names it.",
        "Repeat the request after `Retry-After` seconds, with the same `Idempotency-Key`.",
    ),
    "request-header-fields-too-large": ProblemType(
        431, "Request Header Fields Too Large",
        "The headers have more than `max_head_bytes` together.",
        "Send fewer or shorter headers.",
    ),
    "internal": ProblemType(
        500, "A fault of Sluice",
        "Something happened that the code does not expect, or stored bytes are wrong.",
        "Report it with `request`, under which the log has it. A submission may have been accepted: repeat it with the"
        " same `Idempotency-Key`.",
    ),
    "unavailable": ProblemType(
        503, "Not available at the moment",
        "Something that Sluice needs does not answer, is full, or is not up to date; `detail` says what.",
        "Repeat the request after `Retry-After` seconds. A submission may have been accepted: use the same"
        " `Idempotency-Key`.",
    ),
}  # fmt: skip

_BEGINNING = f"""# Problems

Every error of the API is a problem document ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)). Its `type` is
`{TYPE_PREFIX}` with one of the names below, which never change their meaning; `detail` is for people, and may change.
The API shows this page at `/docs/problems`. It is made by `python -m app.openapi.problem_types > docs/problems.md`.
"""


def in_markdown() -> str:
    """Return docs/problems.md."""
    parts = [_BEGINNING]
    for name, kind in TYPES.items():
        lines = (f"{kind.status}, “{kind.title}”.", f"**When.** {kind.when}", f"**What to do.** {kind.remedy}")
        wrapped = (textwrap.fill(line, 160, break_on_hyphens=False) for line in lines)
        parts.append(f"## {name}\n" + "\n\n".join(wrapped) + "\n")
    return "\n".join(parts)


def in_html() -> str:
    """Return the same as a page, with an anchor for each name."""
    sections = [
        f'<h2 id="{name}">{name}</h2><p>{kind.status}, “{escape(kind.title)}”.</p>'
        f"<p><b>When.</b> {_html(kind.when)}</p><p><b>What to do.</b> {_html(kind.remedy)}</p>"
        for name, kind in TYPES.items()
    ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Problems of Sluice</title>'
        f"<h1>Problems</h1><p>The <code>type</code> of a problem document is <code>{TYPE_PREFIX}</code> with one of "
        f"these names.</p>{''.join(sections)}</html>\n"
    )


def _html(text: str) -> str:
    """Return a text with its code in elements."""
    parts = escape(text.replace("[access.md](access.md)", "docs/access.md")).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))


# python -m app.openapi.problem_types > docs/problems.md
if __name__ == "__main__":
    sys.stdout.write(in_markdown())
