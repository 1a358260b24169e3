"""The schemas of answers. Fields may be added to them some day, so clients ignore those that they do not know."""

from __future__ import annotations

from typing import Any

from app.openapi.operation import Json, many, or_null, schema, thing
from app.openapi.values import BASE64, COUNT, FLAG, MODE, OID, PRINCIPAL, SECONDS, SHOWN_TIME, TEXT, ULID
from storage.access.policy import Authors, Role
from storage.git.threeway import ConflictClass
from storage.log.records import Status

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


def _conflict(**more: Any) -> Json:
    required: dict[str, Any] = {"path": TEXT, "class": "ConflictClass"}
    required |= {name: or_null("Version") for name in ("base", "head", "submitted")}
    optional = {"blocker": {**TEXT, "description": "The file in the way, where it is at another path"}, **more}
    return thing(required, optional, "A path that both sides changed")


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
            "request": {**ULID, "description": "internal: the id under which the log has the fault"},
        },
    },
    "Index": thing({
        "name": TEXT, "api": TEXT, "docs": TEXT, "openapi": TEXT, "problems": TEXT,
        "operations": {"type": "object", "additionalProperties": thing({"method": TEXT, "href": TEXT})},
    }),
    "ServiceVersion": thing({"version": TEXT, "api": TEXT, "formats": many(COUNT)}),
    "Token": thing({
        "id": ULID, "principal": PRINCIPAL, "name": TEXT, "role": or_null("Role"), "paths": many(TEXT),
        "expires": or_null(SHOWN_TIME), "by": TEXT, "made_by": many(ULID),
    }),
    "IssuedToken": thing(
        {
            "id": ULID, "principal": PRINCIPAL, "name": TEXT, "role": or_null("Role"), "paths": many(TEXT),
            "expires": or_null(SHOWN_TIME), "by": TEXT, "made_by": many(ULID),
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
        "token": or_null("Token"),
    }),
    "Policy": thing({
        "version": COUNT, "authors": {"type": "string", "enum": [each.value for each in Authors]},
        "groups": {"type": "object", "additionalProperties": many(PRINCIPAL)}, "grants": many("GrantHeld"),
        "people": {"type": "object", "additionalProperties": thing({"name": TEXT, "emails": many(TEXT)})},
        "quotas": {"type": "object", "additionalProperties": {"type": "object"}},
    }),
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
            "submitter": TEXT,
            "merged_count": {**COUNT, "description": "How many paths were merged"},
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
    "ChangesetOutcome": _outcome("Changeset"),
    "ChangesetOutcomes": thing({"outcomes": many("ChangesetOutcome")}, {"claims": many("Claim")}),
    "Eta": thing({"seconds": SECONDS}, {"decided": SECONDS, "over": SECONDS}, "By the measured rate of its slice"),
    "PassedBy": thing({"count": COUNT, "changesets": many(ULID), "complete": FLAG},
                      text="Which later ones of its slice were decided before it, for readers of `/`"),
    "Claim": thing({"id": ULID, "principal": TEXT, "paths": many(TEXT), "intent": TEXT, "expires": SHOWN_TIME}),
    "CheckResult": thing(
        {"would": _WOULD, "tip": OID},
        {"merged": many(TEXT), "conflicts": many("Conflict"), "conflict_count": COUNT, "reason": TEXT, "detail": TEXT},
    ),
    "FileDiff": thing(
        {
            "path": TEXT, "status": {"type": "string", "enum": ["added", "modified", "deleted"]},
            "old": or_null("Version"), "new": or_null("Version"), "binary": FLAG,
            "additions": or_null(COUNT), "deletions": or_null(COUNT), "patch": or_null(TEXT),
        },
        {"patch_base64": BASE64, "omitted": _OMITTED},
    ),
    "Lines": thing({"start": COUNT}, {"lines": many(TEXT), "lines_base64": many(BASE64)}),
    "Hunk": thing(dict.fromkeys(("base", "ours", "theirs"), "Lines")),
    "ExplainedConflict": _conflict(
        hunks={"type": ["array", "null"], "items": schema("Hunk")},
        marked=or_null(TEXT), marked_base64=BASE64, omitted=_OMITTED,
    ),
    "Activity": thing({
        "path": TEXT, "slices": many(thing({"id": ULID, "name": TEXT})), "queued": many(ULID),
        "committed": many(ULID), "lock": or_null(thing({"owner": TEXT, "seconds": {"type": "number"}})),
        "claims": many("Claim"), "complete": FLAG,
    }),
    "SliceCommit": thing({
        "changeset": ULID, "commit": OID, "seq": COUNT, "status": "Status",
        "author": thing({"name": TEXT, "email": TEXT}), "time": SHOWN_TIME, "message": TEXT,
    }),
    "HeadCommit": thing({"commit": OID, "seq": COUNT}, {"tree": OID}),
    "Head": thing({"main": "HeadCommit", "tip": "HeadCommit", "applied": COUNT}, {"pending": COUNT}),
    "GlobalCommit": thing(
        {"commit": OID, "parents": many(OID), "seq": COUNT, "through": COUNT}, {"tree": OID, "changesets": COUNT}
    ),
    "MergedChangeset": thing({"changeset": ULID, "commit": OID, "slice": ULID}),
    "File": thing({
        "path": TEXT, "mode": MODE, "type": {"type": "string", "enum": ["blob", "commit"]}, "id": OID,
        "size": or_null(COUNT),
    }),
    "FileContent": thing(
        {"path": TEXT, "mode": MODE, "id": OID}, {"size": COUNT, "content": TEXT, "content_base64": BASE64}
    ),
    "FileContents": thing({
        "commit": OID, "files": many("FileContent"), "missing": many(TEXT), "next": or_null(TEXT),
    }),
    "MergeRequested": thing({"requested": FLAG, "pending": COUNT}),
    "Alive": thing({"alive": FLAG}),
    "Ready": thing({"ready": FLAG, "checks": {"type": "object", "additionalProperties": _CHECK}}),
    "Health": thing({"healthy": FLAG, "checks": {"type": "object", "additionalProperties": _CHECK}}),
}  # fmt: skip
