"""The schemas of answers. Fields may be added to them some day, so clients ignore those that they do not know."""

from __future__ import annotations

from typing import Any

from app.openapi.operation import CURSOR, Json, Shape, many, or_null, schema, thing
from app.openapi.values import (
    ACTION,
    BASE64,
    COUNT,
    EVENT,
    FLAG,
    MODE,
    OID,
    PRINCIPAL,
    SECONDS,
    SHOWN_TIME,
    TEXT,
    ULID,
)  # fmt: skip
from storage.access.policy import Authors, Role
from storage.git.threeway import ConflictClass
from storage.log.records import Status
from storage.mirrors.records import Direction, Stopped
from storage.webhooks.records import Disabled

_WARNINGS: Json = {
    **many(thing({"field": TEXT, "message": TEXT})),
    "description": "Paths that most likely say something else than was meant",
}
_FIELDS: Json = many(thing({"field": TEXT, "message": TEXT}))
_OMITTED: Json = {"type": "string", "enum": ["not-stored", "too-large", "binary"]}
_STATUS_CODE: Json = {"type": "integer", "minimum": 100, "maximum": 599}
_WOULD: Json = {"type": "string", "enum": ["commit", "conflict", "reject", "wait"]}
_CHECK = {
    **thing({"ok": FLAG, "detail": TEXT}, text="A check, with what it has measured"),
    "additionalProperties": True,
}


def _outcome(name: str) -> Json:
    return thing({"status": _STATUS_CODE}, {name.lower(): name, "problem": "Problem"})


# A path may be no text: then its bytes, instead.
_PATH: dict[str, Shape] = {"path": TEXT, "path_base64": BASE64}


def _conflict(**more: Any) -> Json:
    required: dict[str, Any] = {"class": "ConflictClass"}
    required |= {name: or_null("Version") for name in ("base", "head", "submitted")}
    optional: dict[str, Any] = {
        **_PATH,
        "blocker": {**TEXT, "description": "The file in the way, where it is at another path"},
        "moved": {**TEXT, "description": "Where the head has the file, if that is another path"},
        "blocker_base64": BASE64, "moved_base64": BASE64,
    }  # fmt: skip
    return thing(required, optional | more, "A path that both sides changed")


_AUTHOR: Json = thing({"name": TEXT, "email": TEXT})
_LABELS: Json = {"type": "object", "additionalProperties": TEXT}
# By what a person knows a changeset, where an answer is about something else.
_SHORT: dict[str, Json] = {
    "author": _AUTHOR, "submitter": TEXT, "message": TEXT, "labels": _LABELS, "submitted": SHOWN_TIME,
}  # fmt: skip
_OF_TOUCH: dict[str, Shape] = {
    "changeset": ULID, "slice": ULID, "status": "Status", "author": _AUTHOR, "time": SHOWN_TIME, "message": TEXT,
    "submitter": TEXT, "labels": _LABELS,
}  # fmt: skip
_KIND_OF_TOUCH: Shape = {
    "type": "string",
    "enum": ["chain", "imported"],
    "description": "Of a changeset, or of an imported history",
}
# Of an imported commit also who committed it, and when.
_SAID_BESIDE: dict[str, Shape] = {"message_cut": FLAG, "committer": _AUTHOR, "committed": SHOWN_TIME}
_CHANGED: dict[str, Shape] = {
    "change": {"type": "string", "enum": ["added", "modified", "deleted"]},
    "old": or_null("Version"), "new": or_null("Version"),
}  # fmt: skip
_WEBHOOK: dict[str, Shape] = {
    "id": ULID, "url": TEXT, "name": TEXT, "owner": TEXT,
    **dict.fromkeys(("events", "slices", "paths", "within"), or_null(many(TEXT))),
    "role": or_null("Role"), "enabled": FLAG,
    "disabled": {"type": ["string", "null"], "enum": [*(each.value for each in Disabled), None]},
    "disabled_at": or_null(SHOWN_TIME), "created_at": SHOWN_TIME, "rotation": COUNT,
    "old_secret_until": or_null(SHOWN_TIME),
}  # fmt: skip

_BEHIND: Json = thing({"commits": COUNT, "seconds": SECONDS})
_MIRROR: dict[str, Shape] = {
    "name": TEXT, "url": TEXT, "ref": TEXT, "direction": {"type": "string", "enum": [each.value for each in Direction]},
    "slice": or_null(ULID), "start": or_null(OID),
    "stopped": {"type": ["string", "null"], "enum": [*(each.value for each in Stopped), None]},
    "detail": or_null(TEXT), "stopped_at": or_null(SHOWN_TIME), "created_at": SHOWN_TIME,
    "state": {"type": "string", "enum": ["stopped", "unknown", "silent", "failing", "behind", "current"]},
    "behind": _BEHIND, "remote": or_null(OID), "local": or_null(OID), "other_tags": COUNT,
    "refused_tags": COUNT, "refused_tags_detail": or_null(TEXT), "tries": COUNT,
    "error": or_null(TEXT), "error_detail": or_null(TEXT), "looked_at": or_null(SHOWN_TIME),
    "pushed_at": or_null(SHOWN_TIME), "next_try_at": or_null(SHOWN_TIME),
}  # fmt: skip

SHAPES: dict[str, Json] = {
    "Role": {"type": "string", "enum": [role.value for role in Role]},
    "Status": {"type": "string", "enum": [status.value for status in Status]},
    "ConflictClass": {"type": "string", "enum": [each.value for each in ConflictClass]},
    "Problem": {
        "type": "object",
        "description": "RFC 9457. `/docs/problems` says of each type when it comes and what to do.",
        "required": ["type", "title", "status"],
        "properties": {
            "type": {"type": "string", "pattern": "^urn:sluice:problem:[a-z-]+$"},
            "title": TEXT,
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": TEXT,
            "errors": {**_FIELDS, "description": "Which fields are wrong, at most 50"},
            "path": {**TEXT, "description": "forbidden: where the right is missing"},
            "role": schema("Role"),
            "reason": {**TEXT, "description": "conflict: the reason with which it would be rejected"},
            "slice": {"description": "conflict: the other slice's id, or the slice as it is now",
                      "anyOf": [ULID, schema("Slice")]},
            "changeset": {**ULID, "description": "conflict: the changeset that is to take its place"},
            "closed_by": {**TEXT, "description": "conflict: what closed it"},
            "conflicts": {**many("Conflict"), "description": "conflict: what conflicts on the tip"},
            "conflict_count": COUNT,
            "limit": {**TEXT, "description": "too-many: the quota that is reached"},
            "value": {"type": ["number", "null"], "description": "too-many: its value"},
            "version": {**COUNT, "description": "precondition-failed: the version that is there"},
            "id": {**or_null(OID), "description": "conflict, precondition-failed: what the tag names"},
            "request": {**ULID, "description": "internal: the id under which the log has the fault"},
        },
    },
    "Index": thing({
        "name": TEXT, "api": TEXT, "docs": TEXT, "openapi": TEXT, "problems": TEXT,
        "git": {"type": ["string", "null"], "description": "What the addresses of Git repositories begin with"},
        "operations": {"type": "object", "additionalProperties": thing({"method": TEXT, "href": TEXT})},
    }),
    "ServiceVersion": thing({"version": TEXT, "api": TEXT, "formats": many(COUNT)}),
    "Token": thing({
        "id": ULID, "principal": PRINCIPAL, "name": TEXT, "role": or_null("Role"), "paths": many(TEXT),
        "expires": or_null(SHOWN_TIME), "by": TEXT, "made_by": many(TEXT),
    }),
    "TokenUsed": thing({
        "id": {**TEXT, "description": "That of a token of Sluice, or what tells a JSON Web Token from others"},
        "principal": PRINCIPAL, "name": TEXT, "role": or_null("Role"), "paths": many(TEXT),
        "expires": or_null(SHOWN_TIME), "by": TEXT, "made_by": many(TEXT),
    }),
    "IssuedToken": thing(
        {
            "id": ULID, "principal": PRINCIPAL, "name": TEXT, "role": or_null("Role"), "paths": many(TEXT),
            "expires": or_null(SHOWN_TIME), "by": TEXT, "made_by": many(TEXT),
            "token": {**TEXT, "description": "The secret, which no other answer has"},
        },
        {"warnings": _WARNINGS},
    ),
    "RevokedTokens": thing({"revoked": many(ULID)}),
    "Limits": thing({
        "principal": TEXT,
        "quotas": many(thing({
            "name": TEXT, "value": or_null(SECONDS), "used": SECONDS, "remaining": or_null(SECONDS),
        })),
        "limits": many(thing({"name": TEXT, "value": {}, "unit": TEXT, "about": TEXT})),
    }),
    "GrantHeld": thing({"to": TEXT, "role": "Role", "path": TEXT}, {"until": SHOWN_TIME}),
    "RightHeld": thing({"role": "Role", "path": TEXT}, {"until": SHOWN_TIME}, "What a token leaves of a grant"),
    "Me": thing({
        "principal": TEXT, "everything": FLAG, "grants": many("GrantHeld"), "rights": many("RightHeld"),
        "token": or_null("TokenUsed"),
    }),
    "Policy": thing({
        "version": COUNT, "authors": {"type": "string", "enum": [each.value for each in Authors]},
        "groups": {"type": "object", "additionalProperties": many(PRINCIPAL)}, "grants": many("GrantHeld"),
        "people": {"type": "object", "additionalProperties": thing({"name": TEXT, "emails": many(TEXT)})},
        "quotas": {"type": "object", "additionalProperties": thing({}, {
            "requests_per_second": SECONDS, "bodies_bytes": COUNT, "queued": COUNT,
        })},
        "identities": many(thing({
            "issuer": TEXT, "claims": {"type": "object", "additionalProperties": TEXT}, "principal": PRINCIPAL,
        })),
    }),
    "Act": thing(
        {
            "_document_id": {**or_null(TEXT), "description": "Its place in the log; null where no entry says it yet"},
            "created_at": or_null(SHOWN_TIME), "action": ACTION, "actor": or_null(TEXT), "actor_ip": or_null(TEXT),
            "token_id": or_null(TEXT), "request_id": or_null(TEXT),
        },
        {
            "token": {**ULID, "description": "The id of the token that was made or revoked"},
            "hashed_token": BASE64, "expires": SHOWN_TIME, "changeset": ULID, "slice": ULID, "name": TEXT,
            "paths": many(TEXT), "version": COUNT, "submitter": TEXT, "commit": OID, "reason": TEXT, "resolves": ULID,
            "closed_by": TEXT, "changesets": COUNT, "principal": TEXT, "role": schema("Role"), "webhook": ULID,
            "packs": COUNT, "object": OID, "was": OID,
        },
        "What was done, and what it is about",
    ),
    "PolicyChanges": thing({
        "version": COUNT,
        "changes": many(thing({"principal": TEXT, "gains": many(TEXT), "loses": many(TEXT)})),
        "warnings": _WARNINGS,
    }),
    "Slice": thing({"id": ULID, "name": TEXT, "paths": many(TEXT), "version": COUNT}),
    "SliceOutcome": _outcome("Slice"),
    "SliceOutcomes": thing({"outcomes": many("SliceOutcome")}),
    "Version": thing({"mode": or_null(TEXT), "id": OID}, text="`mode` is null where nobody knows it"),
    "Conflict": _conflict(),
    "Changeset": thing(
        {"id": ULID, "slice": ULID, "status": "Status"},
        {
            "position": {**or_null(COUNT), "description": "While queued: how many of its slice are ahead of it"},
            "commit": OID,
            "seq": {**COUNT, "description": "The entry of the log"},
            **_SHORT,
            "message_cut": {**FLAG, "description": "The message is its first line; it has more"},
            "base": {**TEXT, "description": "The id of a commit or of a changeset"},
            "paths": many(TEXT),
            "paths_base64": many(BASE64),
            "path_count": COUNT,
            "decided": SHOWN_TIME,
            "landed": SHOWN_TIME,
            "merged_count": {**COUNT, "description": "How many paths were merged"},
            "followed_count": {**COUNT, "description": "How many changes were made where their file had moved to"},
            "resolves": {**ULID, "description": "The changeset that it replaces"},
            "reason": {**TEXT, "description": "Why it was rejected"},
            "detail": TEXT,
            "first": ULID,
            "conflicts": many("Conflict"),
            "conflict_count": COUNT,
            "closed_by": TEXT,
            "eta": {**or_null("Eta"), "description": "While queued: when it is decided, as far as that is known"},
            "passed_by": "PassedBy",
            "priority": {"type": "integer"},
            "claims": {**many("Claim"), "description": "Where it was accepted: others' claims on its paths"},
        },
        "Fields that do not apply are left out",
    ),
    "ChangesetStates": thing({"items": {"type": "array", "items": {
        "anyOf": [schema("Changeset"), schema("UnknownChangeset")],
    }}}),
    "UnknownChangeset": thing({"id": ULID, "status": {"type": "string", "enum": ["unknown"]}},
                              text="There is none, or the caller may not know of it"),
    "ChangesetOutcome": _outcome("Changeset"),
    "ChangesetOutcomes": thing({"outcomes": many("ChangesetOutcome")}, {"claims": many("Claim")}),
    "Eta": thing({"seconds": SECONDS}, {"decided": SECONDS, "over": SECONDS}, "By the measured rate of its slice"),
    "PassedBy": thing({"count": COUNT, "changesets": many(ULID), "complete": FLAG},
                      text="Which later ones of its slice were decided before it, for readers of `/`"),
    "Claim": thing({"id": ULID, "principal": TEXT, "paths": many(TEXT), "intent": TEXT, "expires": SHOWN_TIME}),
    "CheckResult": thing(
        {"would": _WOULD, "tip": OID},
        {
            "merged": many(TEXT), "merged_base64": many(BASE64),
            "followed": many(thing({}, {**_PATH, "to": TEXT, "to_base64": BASE64})), "conflicts": many("Conflict"),
            "conflict_count": COUNT, "reason": TEXT, "detail": TEXT,
        },
    ),
    "FileDiff": thing(
        {
            "status": {"type": "string", "enum": ["added", "modified", "deleted", "renamed"]},
            "old": or_null("Version"), "new": or_null("Version"), "binary": FLAG,
            "additions": or_null(COUNT), "deletions": or_null(COUNT), "patch": or_null(TEXT),
        },
        {
            **_PATH, "from": {**TEXT, "description": "Of a move: the path before"}, "from_base64": BASE64,
            "patch_base64": BASE64, "omitted": _OMITTED,
        },
    ),
    "Lines": thing({"start": COUNT}, {"lines": many(TEXT), "lines_base64": many(BASE64)}),
    "Hunk": thing(dict.fromkeys(("base", "ours", "theirs"), "Lines")),
    "ExplainedConflict": _conflict(
        hunks={"type": ["array", "null"], "items": schema("Hunk")},
        marked=or_null(TEXT), marked_base64=BASE64, omitted=_OMITTED,
    ),
    "Activity": thing({
        "slices": many(thing({"id": ULID, "name": TEXT})), "queued": many("AtWork"),
        "committed": many("AtWork"), "lock": or_null(thing({"owner": TEXT, "seconds": {"type": "number"}})),
        "claims": many("Claim"), "complete": FLAG,
    }, _PATH),
    "AtWork": thing({"id": ULID, "slice": ULID}, {"slice_name": TEXT, **_SHORT}),
    "SliceCommit": thing({
        "changeset": ULID, "commit": OID, "seq": COUNT, "status": "Status",
        "author": thing({"name": TEXT, "email": TEXT}), "time": SHOWN_TIME, "message": TEXT,
    }, {"submitter": TEXT, "labels": _LABELS, "submitted": SHOWN_TIME}),
    "HeadCommit": thing({"commit": OID, "seq": COUNT}, {"tree": OID}),
    "Head": thing({"main": "HeadCommit", "tip": "HeadCommit", "applied": COUNT}, {"pending": COUNT}),
    "GlobalCommit": thing(
        {"commit": OID, "parents": many(OID), "seq": COUNT, "through": COUNT}, {"tree": OID, "changesets": COUNT}
    ),
    "ChangedPath": thing(_CHANGED, _PATH),
    "Commit": thing(
        {"items": many("ChangedPath"), "next": CURSOR, "commit": OID,
         "kind": {"type": "string", "enum": ["chain", "global", "imported", "first"]}, "parents": many(OID)},
        {"tree": OID, **_OF_TOUCH, "committer": _AUTHOR, "committed": SHOWN_TIME},
        "A page of what it changed, and the commit as far as the caller may know of it",
    ),
    "PathCommit": thing({"commit": OID, "kind": _KIND_OF_TOUCH, **_CHANGED}, {**_OF_TOUCH, **_SAID_BESIDE}),
    "BlamedLines": thing(
        {"start": COUNT, "lines": COUNT, "commit": OID, "kind": _KIND_OF_TOUCH}, {**_OF_TOUCH, **_SAID_BESIDE}
    ),
    "Blame": thing({
        "items": many("BlamedLines"),
        "older": {**many(thing({"start": COUNT, "lines": COUNT, "source": COUNT, "before": OID})),
                  "description": "Lines that are older still; `source`: the first of them at the commit `before`"},
        "before": {**or_null(OID), "description": "That of the first lines of `older`"},
        "limit": {
            "type": ["string", "null"], "enum": ["blame_versions", "blame_bytes", "blame_commits", "history_age", None],
        },
    }, {"content": TEXT, "content_base64": BASE64}),
    "MergedChangeset": thing({"changeset": ULID, "commit": OID, "slice": ULID}, _SHORT),
    "File": thing({
        "mode": MODE, "type": {"type": "string", "enum": ["blob", "commit"]}, "id": OID, "size": or_null(COUNT),
    }, _PATH, text="`path_base64` is there instead of `path` where that is not UTF-8"),
    "FileContent": thing(
        {"mode": MODE, "id": OID}, {**_PATH, "size": COUNT, "content": TEXT, "content_base64": BASE64}
    ),
    "FileContents": thing({
        "commit": OID, "files": many("FileContent"), "missing": many(TEXT), "next": or_null(TEXT),
    }, {"missing_base64": many(BASE64)}),
    "MergeRequested": thing({"requested": FLAG, "pending": COUNT}),
    "Alive": thing({"alive": FLAG}),
    "Ready": thing({
        "ready": FLAG, "checks": {"type": "object", "additionalProperties": _CHECK},
        "degraded": {**many(TEXT), "description": "What is wrong though this process can serve"},
    }),
    "Health": thing({"healthy": FLAG, "checks": {"type": "object", "additionalProperties": _CHECK}}),
    "Mirror": thing(_MIRROR, text="A branch of another Git server, and how it stands"),
    "Webhook": thing(_WEBHOOK, text="A filter that is null is none"),
    "IssuedWebhook": thing({**_WEBHOOK, "secret": {**TEXT, "description": "It begins with `whsec_`"}}),
    "WebhookProgress": thing({
        **_WEBHOOK,
        "tries": {**COUNT, "description": "How often the next event was tried"},
        "next_try_at": or_null(SHOWN_TIME), "error": or_null(TEXT),
        "behind": {**or_null(COUNT), "description": "Entries of the log that it was not told yet"},
    }),
    "Tag": thing({
        "name": TEXT, "id": {**OID, "description": "Of its tag object, or of its commit where it is a lightweight tag"},
        "commit": or_null(OID), "annotated": FLAG, "message": or_null(TEXT), "tagger": or_null(_AUTHOR),
        "time": or_null(SHOWN_TIME),
    }),
    "WantedDelivery": thing({"id": TEXT}),
    "Delivery": thing({
        "id": TEXT, "type": TEXT, "event": or_null(EVENT), "time": SHOWN_TIME, "attempt": COUNT,
        "status": or_null(_STATUS_CODE), "error": or_null(TEXT), "seconds": SECONDS, "answer": TEXT,
        "next_try_at": or_null(SHOWN_TIME), "by_hand": FLAG,
    }),
}  # fmt: skip
