"""`sluice diff`: what a changeset changes, as `git diff` shows it."""

import base64
import re
import sys
from collections.abc import Iterator

import click

from app.client.api_client import Client, Json
from app.console.options import as_json, emit, notes, url
from storage.git.paths import quoted

_COLOURS = {"@": "cyan", "+": "green", "-": "red"}
_HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_BAR = 40  # characters of the longest bar of --stat
_OMITTED = {"not-stored": "what was seen is not stored here", "too-large": "too large to be shown"}


@click.command()
@click.argument("changeset", metavar="ID")
@click.option("--stat", is_flag=True, help="Show only the number of changed lines of each file.")
@url
@as_json
def command(client: Client, changeset: str, stat: bool, as_json: bool) -> None:
    """Show what a changeset changes, compared with what its writer saw.

    `git apply` accepts the diff, except for files that are binary, too large to show, or compared with a version that
    is not stored here. Lines are the bytes of the files, in whatever encoding. With --json, one line for each file.

    \b
    Example: sluice diff 01JG8Y6Z3M4N5P6Q7R8S9T0V1W --stat
             sluice diff 01JG8Y6Z3M4N5P6Q7R8S9T0V1W | git apply
    """  # noqa: D301 - click takes the character itself
    files = additions = deletions = 0
    rows: list[Json] = []
    for file in client.diff(changeset):
        files += 1
        additions += file["additions"] or 0
        deletions += file["deletions"] or 0
        if as_json:
            emit({name: value for name, value in file.items() if not stat or not name.startswith("patch")})
        elif stat:
            rows.append(file)
        else:
            for line in lines_of(file):
                echo(line)
    if as_json:
        return
    for line in _stat(rows):
        click.echo(line)
    total = f"files changed: {files}, insertions: {additions}, deletions: {deletions}"
    # Beside a diff it is a note: what is piped into `git apply` stays a diff.
    if stat:
        click.echo(total)
    else:
        notes.print(total)


def lines_of(file: Json) -> Iterator[str]:
    """Yield a file's diff, line by line, with Git's headers and colours.

    Bytes that are no UTF-8 are half surrogates, as in the names of files.
    """
    patch = _patch(file) or ""
    if not patch.startswith("diff "):
        for line in _header(file):
            yield click.style(line, bold=True)
        if not patch:
            if file["binary"]:
                yield f"Binary files {_side(file, 'old')} and {_side(file, 'new')} differ"
            elif _patch(file) is None:
                yield f"({_why(file)}: {file['path']})"
            return
        if not patch.startswith("--- "):
            yield click.style(f"--- {_side(file, 'old')}", bold=True)
            yield click.style(f"+++ {_side(file, 'new')}", bold=True)
    yield from _coloured(patch)


def _patch(file: Json) -> str | None:
    if "patch_base64" in file:
        return base64.b64decode(file["patch_base64"]).decode(errors="surrogateescape")
    patch: str | None = file["patch"]
    return patch


def _why(file: Json) -> str:
    """Return why the patch of a file that is not binary is not shown."""
    return _OMITTED.get(file.get("omitted", ""), "too large to be shown")


def echo(line: str) -> None:
    """Print a line with the very bytes that the file has."""
    try:
        click.echo(line)
    except UnicodeEncodeError:
        plain = line if sys.stdout.isatty() else click.unstyle(line)
        click.echo(plain.encode(errors="surrogateescape"))


def _coloured(patch: str) -> Iterator[str]:
    """Yield the lines; which of them are headers follows from the counts of the hunk before."""
    old = new = 0
    for line in patch.removesuffix("\n").split("\n"):
        kind = line[:1]
        if old <= 0 and new <= 0 and kind != "\\":
            if hunk := _HUNK.match(line):
                old, new = (int(group) if group is not None else 1 for group in hunk.groups())
                yield click.style(line, fg=_COLOURS["@"])
            else:
                yield click.style(line, bold=True)
            continue
        old -= kind in (" ", "-", "")
        new -= kind in (" ", "+", "")
        yield click.style(line, fg=_COLOURS[kind]) if kind in _COLOURS else line


def _header(file: Json) -> Iterator[str]:
    """Yield what Git writes above a file's hunks."""
    old, new = file["old"], file["new"]
    yield f"diff --git {_named('a/', _before(file))} {_named('b/', file['path'])}"
    if "from" in file:
        yield f"rename from {_named('', file['from'])}"
        yield f"rename to {_named('', file['path'])}"
    if old is None:
        yield f"new file mode {new['mode']}"
    elif new is None:
        # Where the base is an id alone, nobody knows the mode.
        if old["mode"] is not None:
            yield f"deleted file mode {old['mode']}"
    elif old["mode"] is not None and old["mode"] != new["mode"]:
        yield f"old mode {old['mode']}"
        yield f"new mode {new['mode']}"
    ids = [(version or {}).get("id") or "0" * 40 for version in (old, new)]
    if ids[0] != ids[1]:
        same_mode = f" {old['mode']}" if old and new and old["mode"] == new["mode"] else ""
        yield f"index {ids[0]}..{ids[1]}{same_mode}"


def _before(file: Json) -> str:
    """Return the path that a file had before it moved, if it did."""
    return str(file.get("from", file["path"]))


def _side(file: Json, side: str) -> str:
    if file[side] is None:
        return "/dev/null"
    return _named("b/", file["path"]) if side == "new" else _named("a/", _before(file))


def _named(prefix: str, path: str) -> str:
    """Return a path as Git writes it in a header: in quotes where something is unusual."""
    return quoted((prefix + path).encode(errors="surrogateescape")).decode()


def _stat_name(file: Json) -> str:
    name = _named("", file["path"])
    return f"{_named('', file['from'])} => {name}" if "from" in file else name


def _stat(files: list[Json]) -> Iterator[str]:
    """Yield a line for each file, with a bar as long as its share of the most changed one."""
    named = [(_stat_name(file), file) for file in files]
    width = max((len(name) for name, _ in named), default=0)
    most = max([(file["additions"] or 0) + (file["deletions"] or 0) for file in files], default=0)
    for name, file in named:
        plus, minus = file["additions"] or 0, file["deletions"] or 0
        if file["additions"] is None:
            yield f" {name:<{width}} | {'binary' if file['binary'] else _why(file)}"
            continue
        scale = min(1.0, _BAR / most) if most else 1.0
        bar = click.style("+" * -int(-plus * scale // 1), fg="green")
        bar += click.style("-" * -int(-minus * scale // 1), fg="red")
        yield f" {name:<{width}} | {plus + minus} {bar}".rstrip()
