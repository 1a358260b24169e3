"""The schemas of single values, and what the checks of app/protocol take, as JSON Schema."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from marshmallow.fields import Field

from app.access import audit, documents
from app.openapi.operation import Json
from app.protocol import claims, fields
from app.protocol.changesets import labels, strategies
from storage.base.issuers import MOST_TEXT
from storage.base.settings import Settings
from storage.log.audit import ACTIONS
from storage.mirrors.remotes import NAME

_ULID = "[0-7][0-9A-HJKMNP-TV-Z]{25}"

TEXT: Json = {"type": "string"}
FLAG: Json = {"type": "boolean"}
COUNT: Json = {"type": "integer", "minimum": 0}
NUMBER: Json = {"type": "integer", "minimum": 1, "maximum": (1 << 31) - 1}
SECONDS: Json = {"type": "number", "minimum": 0}
OID: Json = {"type": "string", "pattern": "^[0-9a-f]{40}$", "description": "The id of an object of Git"}
ULID: Json = {"type": "string", "pattern": f"^{_ULID}$"}
TIME: Json = {"type": "string", "format": "date-time"}
SHOWN_TIME: Json = {"type": "string", "description": "ISO 8601 with a zone"}
# Exact: padding that is not needed, and bits behind the last byte, are refused.
BASE64: Json = {
    "type": "string",
    "contentEncoding": "base64",
    "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$",
}
PATH: Json = {"type": "string", "minLength": 1}
PATH_BASE64: Json = {**BASE64, "minLength": 4, "description": "Of a path that is not UTF-8"}
MODE: Json = {"type": "string", "enum": ["100644", "100755", "120000", "160000"]}
PRINCIPAL: Json = {"type": "string", "pattern": "^[a-z][a-z0-9-]{0,30}:[A-Za-z0-9._@/+-]{1,200}$"}

MIRROR_NAME: Json = {"type": "string", "pattern": f"^{NAME.pattern}$"}
LABEL_KEY: Json = {"type": "string", "pattern": f"^{labels.KEY.pattern}$"}
LINE: Json = {"type": "string", "minLength": 1, "description": "One line, which is not blank"}
ACTION: Json = {"type": "string", "enum": list(ACTIONS)}
EVENT: Json = {"type": "string", "pattern": "^[0-9]+-[0-9]+$", "description": "The id of an event"}

_BASE = f"^([0-9a-f]{{40}}|{_ULID})$"
_CHECKS: dict[Callable[..., Any], Json] = {
    fields.oid: OID,
    fields.text: TEXT,
    fields.encoded: TEXT,
    fields.from_base64: BASE64,
    fields.path: PATH,
    fields.path_base64: PATH_BASE64,
    fields.prefix_base64: PATH_BASE64,
    fields.flag: FLAG,
    fields.base: {"type": "string", "pattern": _BASE},
    fields.item_base: {"anyOf": [{"type": "string", "pattern": _BASE}, COUNT]},
    fields.key: {"type": "string", "pattern": "^[ -~]{1,200}$"},
    fields.time: TIME,
    fields.natural: NUMBER,
    fields.number: NUMBER,
    fields.whole: {"type": "integer", "minimum": 1},
    fields.span: SECONDS,
    strategies.pattern: {"type": "string", "minLength": 1},
    claims.lifetime: NUMBER,
    claims.purpose: {"type": "string", "minLength": 1},
    fields.priority: {"type": "integer", "minimum": -fields.MAX_PRIORITY, "maximum": fields.MAX_PRIORITY},
    labels.label: {"type": "string", "pattern": f"^{labels.KEY.pattern}:.*\\S.*$"},
    audit.known_action: {"type": "string", "enum": sorted([*ACTIONS, *audit.KINDS])},
    audit.place_in_log: {"type": "string", "pattern": "^(0|[1-9][0-9]{0,9})(-(0|[1-9][0-9]{0,4}))?$"},
    audit.id_of_token: {"type": "string", "maxLength": audit.MOST_TEXT},
    documents.filled: {"type": "string", "minLength": 1, "maxLength": MOST_TEXT},
    documents.rate: {"type": "number", "minimum": 0},
    documents.count: COUNT,
    documents.principal: PRINCIPAL,
    documents.grantee: {"type": "string", "description": "A principal, `group:<name>`, or `everyone`"},
    documents.short_text: {"type": "string", "maxLength": documents.MAX_TEXT},
}


def of_field(field: Field[Any]) -> Json:
    """Return what a field of a request takes. Raises ValueError where nobody has said so."""
    if not isinstance(field, fields.Checked):
        return {}
    function = field.check
    choices: Any = None
    while isinstance(function, partial):
        choices = function.args[0] if function.args else choices
        function = function.func
    if function is fields.one_of:
        made: Json = {"type": "string", "enum": list(choices)}
    elif function in _CHECKS:
        made = dict(_CHECKS[function])
    else:
        name = getattr(function, "__qualname__", function)
        raise ValueError(f"app/openapi/values.py does not say what {name} takes ({field.name})")
    if field.limit_name:
        made["description"] = f"Limited by `{field.limit_name}` ({getattr(Settings, field.limit_name)} by default)."
    if field.allow_none:
        made["type"] = [made["type"], "null"]
    return made
