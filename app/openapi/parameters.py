"""What a request says beside its body: what its URL has, arguments of its query, headers; and headers of answers."""

from __future__ import annotations

from typing import NamedTuple

from app.openapi import examples
from app.openapi.operation import Json
from app.openapi.values import COUNT, MIRROR_NAME, OID, PATH, TEXT, ULID


class Parameter(NamedTuple):
    """Something with a name."""

    name: str
    shape: Json
    text: str
    example: str = ""


# By the name of the argument in a route; one that is not here keeps its name, and is a text.
IN_PATH = {
    "name": Parameter("slice", {**TEXT, "minLength": 1}, "A slice's name or id; a slash in a name is `%2F`",
                      examples.SLICE),
    "changeset": Parameter("id", ULID, "The id of a changeset", examples.LANDED),
    "commit": Parameter("id", OID, "The id of a commit", examples.MAIN),
    "token_id": Parameter("token_id", ULID, "The id of a token, which is not its secret", examples.TOKEN),
    "claim_id": Parameter("claim_id", ULID, "The id of an advisory claim", examples.CLAIM),
    "webhook_id": Parameter("id", ULID, "The id of a webhook", examples.WEBHOOK),
    "mirror": Parameter("mirror", MIRROR_NAME, "The name of a mirror", examples.MIRROR),
    "delivery": Parameter("delivery", TEXT, "The id of a delivery, or of an event", examples.EVENT),
    "tag": Parameter("tag", {**TEXT, "minLength": 1}, "The name of a tag, without `refs/tags/`", examples.TAG),
    "ends": Parameter("range", {"type": "string", "pattern": "^.+\\.\\.\\..+$"},
                      "Two commits with three dots between them: ids, tags (for readers of `/`), `main`, `next`",
                      "main...next"),
    "path": Parameter("path", PATH, "A file's path, percent-encoded", examples.PATH),
    "side": Parameter("side", {"type": "string", "enum": ["base", "head", "submitted"]}, "Which version", "head"),
    "file": Parameter("file", TEXT, "The name of a file of the page", "swagger-ui.css"),
}  # fmt: skip

# What the arguments of queries mean; their schemas are those that check them (app/protocol/queries.py).
IN_QUERY = {
    "limit": "How many items a page may have. At most `max_page` (1,000 by default); without it `default_page` (100).",
    "cursor": "The `next` of the page before this one.",
    "status": "Only changesets with this status.",
    "path": "Only what is at this path.",
    "wait": "How long to wait for a final status, in seconds; at most `max_wait` (50 by default).",
    "until": "Which status ends the wait.",
    "commit": "The full id of any commit of the chain, or of a global commit. Without it: the global head.",
    "prefix": "Only what is below this directory.",
    "encoding": "With `base64` the path in the URL, or in `path` or `prefix`, is in base64, since it is not UTF-8.",
    "slice": "Only what is of this slice: its name or id.",
    "principal": "Only what is of this principal.",
    "version": "The version of the slice that is deleted; another is a 409.",
    "after": "The id of an event: those behind it are sent.",
    "format": "The format of the archive; `tar` without it.",
    "sizes": "Whether each line has the file's size. Only of the lines, not of pages.",
    "with_made": "With `true` also the tokens that it made, and that these made.",
    "submitter": "Only what this principal submitted.",
    "author": "Only what has the author with this e-mail address.",
    "label": "Only what has this label: its key, a colon, its value.",
    "since": "Only what was submitted at this time or later.",
    "order": "Which come first; the newest without it.",
    "dry_run": "With `true` nothing is set, and the answer says what would change.",
}
# Those of the audit that a list of changesets does not have, or that mean something else there.
IN_AUDIT = {
    "actor": "Only what this principal did.",
    "action": "Only this action, or this kind of actions.",
    "token_id": "Only what was done with this token: its id.",
    "changeset": "All about this changeset, oldest first; not with `after`, `since` and `until`.",
    "since": "Only what was done at this time or later.",
    "until": "Only what was done before this time.",
    "after": "Only what is behind this `_document_id` or `through`; with the order `oldest`.",
}
# Whose schema depends on where it stands.
REQUIRED_IN = {"listChangesetsOfSlice": {"status"}, "getBlame": {"path"}}
# Of those that must be given, where their schema has no choices.
EXAMPLES = {"path": examples.PATH}

HEADERS = {
    "Idempotency-Key": Parameter("Idempotency-Key", {"type": "string", "pattern": "^[ -~]{1,200}$"},
                                 "Makes repeats safe: the same request gets the first one's changeset."),
    "If-Match": Parameter("If-Match", {**TEXT, "minLength": 1},
                          'What is replaced, or `*` for anything: the version of a policy, such as `"3"` (without it '
                          "428, unless it is a dry run); the id that a tag names (without it no tag is moved).", "*"),
    "If-None-Match": Parameter("If-None-Match", TEXT, "The `ETag` that the client has already."),
    "Last-Event-ID": Parameter("Last-Event-ID", TEXT, "The id of the last event that was received."),
}  # fmt: skip

OF_ANSWERS = {
    "X-Request-Id": Parameter("X-Request-Id", ULID, "The request's id, by which the log has it"),
    "Retry-After": Parameter("Retry-After", COUNT, "After how many seconds to try again"),
    "RateLimit-Policy": Parameter("RateLimit-Policy", TEXT, "How many requests its principal may send after a pause"),
    "RateLimit": Parameter("RateLimit", TEXT, "How many of them it may send now"),
    "WWW-Authenticate": Parameter("WWW-Authenticate", TEXT, "How to say who asks"),
    "ETag": Parameter("ETag", TEXT, "What `If-None-Match` takes; of a policy and a tag, what `If-Match` takes"),
    "X-Git-Mode": Parameter("X-Git-Mode", {"type": "string", "pattern": "^[0-7]{6}$"}, "The file's mode, octal"),
    "X-Sluice-Commit": Parameter("X-Sluice-Commit", OID, "The commit that the answer is of"),
    "X-Git-Commit": Parameter("X-Git-Commit", OID, "The older name of X-Sluice-Commit"),
    "Content-Disposition": Parameter("Content-Disposition", TEXT, "A name for the file"),
    "Cache-Control": Parameter("Cache-Control", TEXT, "How long the answer may be kept"),
    "Content-Security-Policy": Parameter("Content-Security-Policy", TEXT, "What the page may load"),
}
