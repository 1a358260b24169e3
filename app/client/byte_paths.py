"""Paths that are not UTF-8, as the client has them: each other byte is half of a surrogate pair, as in names of files.

The API has such paths in base64, under names of their own. Here alone they become texts and go back; all other code of
the command line takes any path for a text.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

_ENCODED = "_base64"
_ONE = frozenset({"path", "from", "to", "blocker", "moved"})
_SEVERAL = frozenset({"paths", "missing", "merged", "conflicts"})


def dumps(value: Any) -> str:
    """Return the JSON of a request."""
    text = json.dumps(value)
    # What is no text in UTF-8 has such an escape; what has one may be a usual character all the same.
    return json.dumps(_converted(value, keep_empty=False)) if "\\ud" in text else text


def loads(text: bytes | str) -> Any:
    """Return what the JSON of an answer says. Raises ValueError."""
    is_there = _ENCODED.encode() in text if isinstance(text, bytes) else _ENCODED in text
    return json.loads(text, object_hook=_as_texts if is_there else None)


def path_url(url: str, path: str, query: Mapping[str, Any] | None = None) -> str:
    """Return the URL of something at a path, which is its last part."""
    given = dict(query or {})
    if not is_utf8(path):
        return f"{url}/{quote(_base64(path), safe='')}?{urlencode({**given, 'encoding': 'base64'})}"
    return f"{url}/{quote(path)}" + (f"?{urlencode(given)}" if given else "")


def query_of(given: Mapping[str, Any]) -> str:
    """Return the query of a URL, with its path in base64 where it has to be."""
    encoded = {
        name: _base64(given[name]) for name in ("path", "prefix") if name in given and not is_utf8(str(given[name]))
    }
    return urlencode({**given, **encoded, "encoding": "base64"} if encoded else given)


def is_utf8(path: str) -> bool:
    """Tell whether a path is UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def in_base64(value: Any) -> Any:
    """Return an answer with paths that are not UTF-8 as the API has them."""
    return _converted(value, keep_empty=True)


def _converted(value: Any, keep_empty: bool) -> Any:
    """Convert paths; with `keep_empty` a list that loses all its paths stays, which requests must not have."""
    if isinstance(value, list):
        return [_converted(each, keep_empty) for each in value]
    if not isinstance(value, dict):
        return value
    made: dict[str, Any] = {}
    for name, field in value.items():
        if name in _ONE and isinstance(field, str) and not is_utf8(field):
            made[name + _ENCODED] = _base64(field)
        elif name in _SEVERAL and isinstance(field, list | dict):
            made |= _split(name, field, keep_empty)
        else:
            made[name] = _converted(field, keep_empty)
    return made


def _split(name: str, field: list[Any] | dict[str, Any], keep_empty: bool) -> dict[str, Any]:
    """Return a list of paths, or what is named by them, in two where some are not UTF-8."""
    others = [each for each in field if isinstance(each, str) and not is_utf8(each)]
    if not others:
        return {name: _converted(field, keep_empty)}
    if isinstance(field, list):
        usual: Any = [_converted(each, keep_empty) for each in field if each not in others]
        encoded: Any = [_base64(each) for each in others]
    else:
        usual = {each: _converted(value, keep_empty) for each, value in field.items() if each not in others}
        encoded = {_base64(each): _converted(field[each], keep_empty) for each in others}
    return ({name: usual} if usual or keep_empty else {}) | {name + _ENCODED: encoded}


def _as_texts(item: dict[str, Any]) -> dict[str, Any]:
    for name in [name for name in item if name.endswith(_ENCODED)]:
        usual, field = name.removesuffix(_ENCODED), item[name]
        if usual in _ONE and isinstance(field, str):
            item[usual] = _text(field)
        elif usual in _SEVERAL and isinstance(field, list):
            item[usual] = [*item.get(usual, []), *map(_text, field)]
        else:
            continue
        del item[name]
    return item


def _base64(path: str) -> str:
    return base64.b64encode(path.encode(errors="surrogateescape")).decode()


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode(errors="surrogateescape")
