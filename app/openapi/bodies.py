"""The schemas of request bodies: those that check them, and the shapes of what these leave to code.

`Raw` fields of a schema are lists and objects that app/protocol checks by loops of its own: `RAW` says what they take.
"""

from __future__ import annotations

from app.access import documents
from app.openapi.operation import Json, many, or_null, schema
from app.openapi.values import LABEL_KEY, LINE, MIRROR_NAME, OID, PATH_BASE64, PRINCIPAL, TEXT, ULID
from app.protocol import claims, queries, slices, webhooks
from app.protocol.changesets import resolutions, schemas
from app.protocol.git import mirrors
from app.protocol.history import tags
from app.protocol.loading import LimitedSchema
from storage.mirrors.records import Direction
from storage.mirrors.remotes import MAX_REF
from storage.webhooks import targets

SCHEMAS: dict[str, type[LimitedSchema]] = {
    "NewToken": documents.TokenSchema,
    "NewPolicy": documents.PolicySchema,
    "Grant": documents.GrantSchema,
    "Quota": documents.QuotaSchema,
    "Person": documents.PersonSchema,
    "Identity": documents.IdentitySchema,
    "NewSlice": slices.SliceSchema,
    "NewSlices": slices.BulkSlicesSchema,
    "SlicePaths": slices.SlicePathsSchema,
    "NewClaim": claims.ClaimSchema,
    "ClaimRenewal": claims.RenewalSchema,
    "Author": schemas.AuthorSchema,
    "Change": schemas.ChangeSchema,
    "StrategyRule": schemas.RuleSchema,
    "NewChangeset": schemas.ChangesetSchema,
    "NewChangesetItem": schemas.ItemSchema,
    "NewChangesets": schemas.BulkSchema,
    "Resolution": resolutions.ResolutionSchema,
    "Resolutions": resolutions.ResolveSchema,
    "WantedFiles": queries.FilesSchema,
    "WantedChangesets": queries.IdsSchema,
    "NewTag": tags.TagSchema,
    "NewWebhook": webhooks.WebhookSchema,
    "WebhookChange": webhooks.WebhookChangeSchema,
    "NewMirror": mirrors.MirrorSchema,
    "MirrorStop": mirrors.MirrorStopSchema,
    "MirrorReport": mirrors.MirrorReportSchema,
}


def _some(items: Json, text: str = "") -> Json:
    made: Json = {"type": "array", "items": items, "minItems": 1}
    return {**made, "description": text} if text else made


def _named(values: Json) -> Json:
    return {"type": "object", "additionalProperties": values}


_PREFIX: Json = {"type": "string", "minLength": 1, "description": "`/`, a directory that ends with a slash, or a file"}
_PREFIXES = {**_some(_PREFIX, "At most `max_slice_paths` (1,000 by default)."), "uniqueItems": True}

_URL: Json = {
    "type": "string",
    "pattern": "^https?://[!#-;=?-\\[\\]_a-z~]+$",
    "maxLength": targets.MAX_URL,
    "description": "`https://`, in ASCII, without user, password and fragment",
}


def _filter(items: Json, text: str) -> Json:
    return {**_some(items, f"{text}; null: all."), "type": ["array", "null"]}


_OF_WEBHOOKS: dict[str, Json] = {
    "url": _URL,
    "events": {**_filter({"type": "string", "enum": list(webhooks.EVENTS)}, "What it is told of"),
               "maxItems": len(webhooks.EVENTS)},
    "slices": _filter({**TEXT, "minLength": 1}, "Names or ids of the slices of which it is told"),
    "paths": {**_filter(_PREFIX, "What an event has to touch"), "uniqueItems": True},
}  # fmt: skip
_LABELS: Json = {
    "type": "object",
    "propertyNames": LABEL_KEY,
    "additionalProperties": LINE,
    "description": "At most `max_labels` (8 by default).",
}

_OF_MIRRORS: dict[str, Json] = {
    "name": MIRROR_NAME,
    "url": {"type": "string", "pattern": "^(https?|ssh|file)://", "maxLength": targets.MAX_URL,
            "description": "`https://`, without user, password, query and fragment; others by settings"},
    "ref": {"type": "string", "pattern": "^refs/heads/[A-Za-z0-9_]", "maxLength": MAX_REF},
    "direction": {"type": "string", "enum": [each.value for each in Direction],
                  "description": "`out`: what lands is pushed there; `in`: its commits are taken"},
    "slice": {**or_null(TEXT), "description": "Its name or id; null: the whole repository, where it is pushed"},
    "start": {**or_null(OID), "description": "Of one that is taken: the commit whose files are here already"},
}  # fmt: skip

RAW: dict[tuple[type[LimitedSchema], str], Json] = {
    (documents.TokenSchema, "paths"): {**_PREFIXES, "description": "The token gives rights below these alone."},
    (documents.PolicySchema, "version"): {"description": "Has no effect: `If-Match` decides."},
    (documents.PolicySchema, "groups"): _named(many(PRINCIPAL)),
    (documents.PolicySchema, "grants"): _some(schema("Grant")),
    (documents.PolicySchema, "people"): _named(schema("Person")),
    (documents.PolicySchema, "quotas"): _named(schema("Quota")),
    (documents.PolicySchema, "identities"): many("Identity"),
    (documents.IdentitySchema, "claims"): {
        **_named({**LINE, "description": "Its value, as text"}),
        "minProperties": 1,
        "maxProperties": documents.MOST_CLAIMS,
    },
    (documents.GrantSchema, "path"): _PREFIX,
    (documents.PersonSchema, "emails"): {**_some(TEXT), "maxItems": 100},
    (claims.ClaimSchema, "paths"): {**_PREFIXES, "description": "At most `max_claim_paths` (50 by default)."},
    (slices.SliceSchema, "paths"): _PREFIXES,
    (slices.SlicePathsSchema, "paths"): _PREFIXES,
    (slices.BulkSlicesSchema, "slices"): _some(schema("NewSlice"), "At most `max_bulk_slices` (1,000 by default)."),
    (schemas.ChangesetSchema, "author"): schema("Author"),
    (schemas.ChangesetSchema, "changes"): _some(schema("Change"), "At most `max_changes` (10,000 by default)."),
    (schemas.ChangesetSchema, "strategies"): _some(
        schema("StrategyRule"), "The last rule whose pattern matches a path counts."
    ),
    (schemas.ChangesetSchema, "labels"): _LABELS,
    (schemas.BulkSchema, "changesets"): _some(
        schema("NewChangesetItem"), "At most `max_bulk_changesets` (1,000 by default)."
    ),
    (resolutions.ResolveSchema, "paths"): {
        **_named(schema("Resolution")),
        "minProperties": 1,
        "description": "The result for every path that is in conflict.",
    },
    (resolutions.ResolveSchema, "paths_base64"): {
        **_named(schema("Resolution")),
        "minProperties": 1,
        "propertyNames": PATH_BASE64,
        "description": "The same for paths that are not UTF-8, by their base64.",
    },
    (queries.IdsSchema, "ids"): _some(ULID, "At most `max_status_ids` (1,000 by default)."),
    (queries.FilesSchema, "paths"): _some(
        {"type": "string", "minLength": 1}, "At most `max_read_paths` (1,000 by default), with `paths_base64`."
    ),
    (queries.FilesSchema, "paths_base64"): _some(PATH_BASE64, "Those that are not UTF-8."),
    **{(mirrors.MirrorSchema, name): shape for name, shape in _OF_MIRRORS.items()},
    (mirrors.MirrorStopSchema, "reason"): {"type": "string", "enum": [each.value for each in mirrors.REPORTED]},
    (mirrors.MirrorReportSchema, "remote"): {**OID, "description": "What the branch is there"},
    (mirrors.MirrorReportSchema, "taken"): {**or_null(OID), "description": "The last of its commits that is here"},
    (mirrors.MirrorReportSchema, "behind"): {"type": "integer", "minimum": 0, "maximum": mirrors.MAX_BEHIND},
    **{(kind, name): shape for kind in (webhooks.WebhookSchema, webhooks.WebhookChangeSchema)
       for name, shape in _OF_WEBHOOKS.items()},
}  # fmt: skip

TEXTS = {
    "Change": "One path of a changeset. A `put` has exactly one of `content`, `content_base64` and `id`; `mode` belongs"
    " to a put, and to the op `mode`, which needs it. A `move` has `from`, and may have a content and a mode. `base` is"
    " given where the changeset has none; a move's is what stands at `from`. A path that is not UTF-8 is given as"
    " `path_base64` and `from_base64`, and no other is.",
    "NewChangeset": "A changeset. Without `base`, each change has its own.",
    "NewChangesetItem": "A changeset of a bulk request. Its `base` may be the position of an earlier item.",
    "Identity": "The principal for which an issuer's JSON Web Tokens stand that have these claims.",
    "NewTag": "A tag. Without a message it is a lightweight one, the name of a commit.",
    "WebhookChange": "What of a webhook is to be another.",
    "Resolutions": "The result for each path in conflict, in `paths`, or `paths_base64` where one is not UTF-8.",
    "WantedFiles": "Which files, by `paths`, `paths_base64` or both.",
    "Resolution": "What shall stand at a path: exactly one of `take`, a content and `delete`.",
}
