"""The one table that turns exceptions into the command line's error messages and exit codes.

It has the classes by name, so that nothing is imported for errors that did not happen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from app.console import exit_codes

if TYPE_CHECKING:
    from app.client.transport import ProblemError

Json = dict[str, Any]

_TYPE_PREFIX = "urn:sluice:problem:"
_CHANGE = re.compile(r"changes\[(\d+)\]")
_SETTINGS = "`sluice settings` lists them"
_AGAIN = "it passes: try again"
# By the status of a refusal.
_HINTS = {
    401: "set SLUICE_TOKEN, or SLUICE_TOKEN_FILE to a file that has it; `sluice up` writes the root token to "
    "root-token in its data folder",
    403: "`sluice whoami` shows what you may do, and whether your token is limited to less; an admin gives more by "
    "`sluice policy set`",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """What is printed for all errors of a class."""

    code: int
    slug: str
    title: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, for a person and for a script."""

    code: int
    document: Json
    lines: list[str] = field(default_factory=list)


_FILES = Kind(exit_codes.USAGE, "file", "A file or folder cannot be read or written")
_INPUT = Kind(exit_codes.USAGE, "usage", "What was given cannot be used")
_SILENT = Kind(exit_codes.UNREACHABLE, "unreachable", "No answer")
_REFUSED = Kind(exit_codes.REFUSED, "refused", "Not possible as things stand")
_PASSING = Kind(exit_codes.REFUSED, "refused", "Not possible at this moment", _AGAIN)
_WRONG = Kind(exit_codes.WRONG, "wrong", "What is stored is wrong", "`sluice verify` looks at all of it")
_BUCKET = Kind(exit_codes.UNREACHABLE, "unreachable", "The bucket does not answer",
               "are the SLUICE_S3_* settings those of the deployment?")  # fmt: skip
_REDIS = Kind(exit_codes.UNREACHABLE, "unreachable", "Redis does not answer",
              "is SLUICE_REDIS_URL that of the deployment?")  # fmt: skip
BUG = Kind(exit_codes.BUG, "bug", "A bug in Sluice", "SLUICE_DEBUG=1 shows the traceback; please report it")

# The most special class that an exception has here decides: for our own errors mostly their branch.
TABLE: dict[str, Kind] = {
    "storage.base.errors.BadInput": _INPUT,
    "storage.base.errors.Refused": _REFUSED,
    "storage.base.errors.Unavailable": _PASSING,
    "storage.base.errors.Corrupt": _WRONG,
    "storage.base.errors.LogForked": _WRONG,
    "storage.base.errors.ViewAbsent": Kind(exit_codes.REFUSED, "refused", "The view is not in Redis",
                                           "`sluice rebuild` loads it"),
    "storage.base.settings.SettingsError": Kind(exit_codes.USAGE, "settings", "A setting is wrong", _SETTINGS),
    "storage.mirrors.remote.RemoteFailed": Kind(exit_codes.UNREACHABLE, "mirror", "The mirror's server did not do it",
                                                "docs/mirrors.md says what the word means"),
    "storage.backends.bucket.Missing": _WRONG,
    "storage.backends.bucket.BucketError": _BUCKET,
    "storage.backends.bucket.BucketUnsafe": Kind(exit_codes.REFUSED, "refused", "The bucket does not keep its promises",
                                                 "use a store that honours If-None-Match, and no proxy that drops it"),
    "storage.backends.deadline.Spent": Kind(exit_codes.UNREACHABLE, "unreachable", "It took too long", _AGAIN),
    "app.client.transport.NotSluice": Kind(exit_codes.UNREACHABLE, "no-sluice", "No Sluice answers there",
                                           "is --url right? A proxy before the API may answer instead of it, too"),
    "app.console.token.TokenFileError": Kind(exit_codes.USAGE, "token-file", "The token cannot be read"),
    "app.client.transport.ProblemError": Kind(exit_codes.REFUSED, "refused", "Refused"),
    "app.client.transport.Unreachable": Kind(exit_codes.UNREACHABLE, "unreachable", "The API cannot be reached",
                                             "is `sluice up` running, and is --url right?"),
    "builtins.OSError": _FILES,
    "builtins.ConnectionError": _SILENT,
    "builtins.TimeoutError": _SILENT,
    "socket.gaierror": _SILENT,
    "http.client.HTTPException": _SILENT,
    "urllib3.exceptions.HTTPError": _SILENT,
    "kombu.exceptions.OperationalError": _REDIS,
    "redis.exceptions.RedisError": _REDIS,
    "minio.error.MinioException": _BUCKET,
}  # fmt: skip


def kind_of(error: BaseException) -> Kind:
    """Return the table's row for an error's class; that of a bug if it has none."""
    for cls in type(error).__mro__:
        known = TABLE.get(f"{cls.__module__}.{cls.__qualname__}")
        if known:
            return known
    return BUG


def failure(error: BaseException) -> Failure:
    """Return what is printed for an error."""
    kind = kind_of(error)
    if hasattr(error, "document"):
        return _of_problem(cast("ProblemError", error), kind)
    detail = sentence(error)
    if kind is BUG:
        detail = f"{type(error).__name__}: {detail}" if detail else type(error).__name__
    shown = f"{kind.title}: {detail}" if kind in (BUG, _BUCKET, _REDIS) else detail or kind.title
    more = ({"detail": detail} if detail else {}) | ({"hint": kind.hint} if kind.hint else {})
    document = {"type": _TYPE_PREFIX + kind.slug, "title": kind.title, **more, "exit_code": kind.code}
    return Failure(kind.code, document, _lines(shown, [], kind.hint))


def usage(detail: str, lines: list[str], code: int = exit_codes.USAGE) -> Failure:
    """Return what is printed for a wrong command line, with `lines` of detail for a person."""
    document: Json = {"type": f"{_TYPE_PREFIX}usage", "title": "Wrong usage", "detail": detail, "exit_code": code}
    return Failure(code, document, [f"error: {detail}", *lines])


def interrupted() -> Failure:
    """Return what is printed after Ctrl-C."""
    code = exit_codes.INTERRUPTED
    return Failure(code, {"type": f"{_TYPE_PREFIX}interrupted", "title": "Stopped", "exit_code": code}, ["Stopped."])


def sentence(error: BaseException) -> str:
    """Return an error in words; of the operating system's, the file and the reason without numbers."""
    if isinstance(error, OSError) and error.strerror:
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        return ": ".join([*[" -> ".join(names)] * bool(names), error.strerror])
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])  # its text is a repr, else
    return str(error)


def with_files(errors: list[Json], changes: list[Json]) -> list[Json]:
    """Return a problem's errors, each that names a change by its number with the `path` of that change."""
    named = []
    for error in errors:
        match = _CHANGE.match(str(error.get("field", "")))
        number = int(match[1]) if match else len(changes)
        path = changes[number].get("path") if number < len(changes) else None
        named.append(error if path is None else {**error, "path": path})
    return named


def _of_problem(error: ProblemError, kind: Kind) -> Failure:
    """Return what is printed for a refusal: each fault once, by its file where it has one."""
    errors = with_files(error.errors, error.changes)
    faults = [f"{fault.get('path') or fault.get('field')}: {fault.get('message')}" for fault in errors]
    # The API's detail repeats the first of the faults.
    repeated = any(str(fault.get("message")) in error.detail for fault in errors)
    first = error.title if not error.detail or repeated else f"{error.title}: {error.detail}"
    if kind is TABLE["app.client.transport.NotSluice"]:
        first = error.detail  # it says the title, too
    if len(faults) == 1:
        first, faults = f"{first}: {faults[0]}", []
    conflicts = error.document.get("conflicts", [])
    faults += [f"{conflict['path']}: {conflict['class']}" for conflict in conflicts]
    code = exit_codes.CONFLICTED if conflicts else kind.code
    hint = error.hint or _HINTS.get(error.status, kind.hint)
    document = {"type": _TYPE_PREFIX + kind.slug, "title": error.title, **error.document}
    document |= ({"errors": errors} if errors else {}) | ({"hint": hint} if hint else {})
    return Failure(code, {**document, "exit_code": code}, _lines(first, faults, hint))


def line(document: Json) -> str:
    """Return a problem document on one line."""
    import json

    return json.dumps(document)


def coloured(line: str) -> str:
    """Return a line for a terminal."""
    if not line.startswith("error:"):
        return line
    import click

    return click.style("error:", fg="red", bold=True) + line.removeprefix("error:")


def _lines(first: str, rest: list[str], hint: str) -> list[str]:
    return [f"error: {first}", *(f"  {text}" for text in rest), *([f"hint: {hint}"] if hint else [])]
