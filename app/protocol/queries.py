"""What reads ask for: the arguments of a query, ids, paths and keys, and the body that names files; checked once."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from flask import request
from marshmallow.fields import Raw

from app.protocol import fields
from app.protocol.changesets.labels import label
from app.protocol.loading import ErrorsAt, LimitedSchema, load_object, load_path, safe_name
from app.protocol.paths import check_list
from app.protocol.problems import invalid, malformed
from storage.base.ids import ObjectId, is_ulid
from storage.base.settings import Settings
from storage.log.records import Status

STATUSES = tuple(status.value for status in Status)


class QuerySchema(LimitedSchema):
    """Every argument of a query; a list of its own takes some of them."""

    limit = fields.Checked(fields.whole, "max_page")
    cursor = fields.Checked(fields.text)
    status = fields.choice({status: status for status in STATUSES})
    path = fields.Checked(fields.path, "max_path_bytes", required=True)
    wait = fields.Checked(fields.span, "max_wait")
    until = fields.choice({"committed": "committed", "landed": "landed"})
    commit = fields.Checked(fields.oid)
    prefix = fields.Checked(fields.encoded, "max_path_bytes")
    slice = fields.Checked(fields.text)
    principal = fields.Checked(fields.text)
    version = fields.Checked(fields.number)
    after = fields.Checked(fields.text)
    format = fields.choice({name: name for name in ("tar", "tar.gz", "zip")})
    sizes = fields.choice({"true": True, "false": False})
    dry_run = fields.choice({"true": True, "false": False})
    with_made = fields.choice({"true": True, "false": False})
    submitter = fields.Checked(fields.text)
    author = fields.Checked(fields.text)
    label = fields.Checked(label)
    since = fields.Checked(fields.time)
    order = fields.choice({"newest": True, "oldest": False})
    encoding = fields.choice({"base64": True})


class EncodedQuerySchema(QuerySchema):
    """The same, where `encoding` says that paths are in base64, since they are not UTF-8."""

    path = fields.Checked(fields.path_base64, "max_path_bytes", required=True)
    prefix = fields.Checked(fields.prefix_base64, "max_path_bytes")


class FilesSchema(LimitedSchema):
    """Files whose contents are asked for."""

    paths = Raw()
    paths_base64 = Raw()
    commit = fields.Checked(fields.oid)
    cursor = fields.Checked(fields.text)


class IdsSchema(LimitedSchema):
    """Changesets whose states are asked for."""

    ids = Raw(required=True)


class WantedFiles(NamedTuple):
    """Files that are asked for."""

    paths: tuple[bytes, ...]  # in the order of the request, each once
    commit: bytes | None
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Query:
    """The arguments of a request; what was not given is None, but for those that have a default."""

    limit: int
    cursor: str | None = None
    status: str | None = None
    path: bytes | None = None
    wait: float | None = None
    until: str = "landed"
    commit: bytes | None = None
    prefix: bytes | None = None
    slice: str | None = None
    principal: str | None = None
    version: int | None = None
    after: str | None = None
    format: str = "tar"
    sizes: bool = False
    dry_run: bool = False
    with_made: bool = False
    submitter: str | None = None
    author: str | None = None
    label: tuple[str, str] | None = None
    since: int | None = None  # seconds since 1970
    order: bool = True  # newest first
    encoding: bool = False  # paths in the URL are in base64


def check_url() -> None:
    """Refuse a URL, by a Problem, that is not UTF-8 where it is decoded: werkzeug would show something else for it."""
    try:
        request.environ.get("PATH_INFO", "").encode("latin-1").decode()
        unquote_to_bytes(request.environ.get("QUERY_STRING", "")).decode()
    except UnicodeError:
        raise malformed("the URL is not UTF-8: a path that is not goes in base64, with encoding=base64") from None


def load_key(header: str | None) -> str | None:
    """Return the Idempotency-Key of a request, if it has one. Raises a Problem."""
    with ErrorsAt("Idempotency-Key"):
        return None if header is None else fields.key(header)


def load_oid(text: str, field: str = "id") -> bytes:
    """Return an object's id that stands in a URL. Raises a Problem."""
    with ErrorsAt(field):
        return fields.oid(text)


def load_cursor_commit(text: str, asked: bytes | None) -> ObjectId:
    """Return the commit that stands in a cursor. Raises a Problem if the request asks for another one."""
    commit = ObjectId(load_oid(text, "cursor"))
    if asked is not None and asked != commit:
        raise invalid("cursor", f"belongs to another list: that of {commit.hex()}")
    return commit


@lru_cache(maxsize=64)
def _query_schema(settings: Settings, names: tuple[str, ...], encoded: bool) -> QuerySchema:
    return (EncodedQuerySchema if encoded else QuerySchema)(settings, only=names, partial=True)


def load_query(args: Mapping[str, Any], settings: Settings, *names: str) -> Query:
    """Return the arguments of a request that takes those of `names`; `args` may be werkzeug's MultiDict.

    Raises a Problem; an unknown argument is one, since a misspelt filter must not be no filter.
    """
    given = each_once(args)
    encoded = "encoding" in names and given.get("encoding") == "base64"
    loaded = load_object(_query_schema(settings, names, encoded), given)
    if "path" in loaded:
        loaded["path"] = loaded["path"][0]
    if "since" in loaded:
        loaded["since"] = loaded["since"][0]
    if b"\0" in loaded.get("prefix", b"") or loaded.get("prefix", b"").startswith(b"/"):
        raise invalid("prefix", "begins with a slash or contains a NUL")
    return Query(**{"limit": min(settings.default_page, settings.max_page), **loaded})


def each_once(args: Mapping[str, Any]) -> dict[str, str]:
    """Return the arguments of a query, werkzeug's MultiDict or a dict. Raises a Problem for one that is given twice."""
    lists = getattr(args, "lists", None)
    given = dict(lists()) if lists else {name: [value] for name, value in args.items()}
    for name, values in given.items():
        if len(values) != 1:
            raise invalid(safe_name(name), "is given more than once")
    return {name: values[0] for name, values in given.items()}


@lru_cache(maxsize=4)
def _files_schema(settings: Settings) -> FilesSchema:
    return FilesSchema(settings)


def load_files(data: Any, settings: Settings) -> WantedFiles:
    """Return which files a request asks for. Raises a Problem."""
    loaded = load_object(_files_schema(settings), data)
    limit = ("max_read_paths", settings.max_read_paths)
    if "paths" not in loaded and "paths_base64" not in loaded:
        raise invalid("paths", "is missing")
    checked: list[bytes] = []
    for field in ("paths", "paths_base64"):
        if field in loaded:
            check_list(field, loaded[field], limit)
            is_encoded = field == "paths_base64"
            checked += [load_path(path, settings, f"{field}[{i}]", is_encoded) for i, path in enumerate(loaded[field])]
    with ErrorsAt("paths_base64"):
        fields.within(len(checked), limit, "paths with `paths`")
    return WantedFiles(tuple(dict.fromkeys(checked)), loaded.get("commit"), loaded.get("cursor"))


@lru_cache(maxsize=4)
def _ids_schema(settings: Settings) -> IdsSchema:
    return IdsSchema(settings)


def load_ids(data: Any, settings: Settings) -> list[str]:
    """Return the changesets whose states a request asks for, in its order. Raises a Problem."""
    ids = load_object(_ids_schema(settings), data)["ids"]
    check_list("ids", ids, ("max_status_ids", settings.max_status_ids))
    for position, each in enumerate(ids):
        if type(each) is not str or not is_ulid(each):
            raise invalid(f"ids[{position}]", "is not the id of a changeset")
    return list(ids)
