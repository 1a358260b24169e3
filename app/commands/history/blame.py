"""`sluice blame`: which commit each line of a file came with."""

from __future__ import annotations

import base64

import click

from app.client import history_calls
from app.client.api_client import Client, Json
from app.commands.writer.diff import echo
from app.console.options import as_json, emit, tell, url

_SHORT = 12


@click.command()
@click.argument("path")
@click.option("--commit", metavar="ID", help="The file as it stands at this commit. Default: the global head.")
@url
@as_json
def command(client: Client, path: str, commit: str | None, as_json: bool) -> None:
    """Show which commit each line of the file PATH came with, who wrote it, and when.

    Where a line is older than the versions that one call looks at, its commit begins with ^, and a note says at which
    commit to ask again. With --json, one line for each run of lines.

    Example: sluice blame web/app.js
    """
    found = history_calls.blame(client, path, commit)
    if as_json:
        for span in _spans(found):
            emit(span)
    else:
        _show(found)
    if found["older"]:
        for before in dict.fromkeys(each["before"] for each in found["older"]):
            tell(f"older lines ({found['limit']}): sluice blame {path} --commit {before}")


def _spans(found: Json) -> list[Json]:
    """Return all runs of lines in order; those that are older have `before`, the commit at which to ask for them."""
    return sorted([*found["items"], *found["older"]], key=lambda span: int(span["start"]))


def _show(found: Json) -> None:
    lines = _content(found).split(b"\n")
    heads = [(_head(span), span) for span in _spans(found)]
    width = max((len(head) for head, _ in heads), default=0)
    digits = len(str(len(lines)))
    for head, span in heads:
        for number in range(span["start"], span["start"] + span["lines"]):
            text = lines[number - 1].decode(errors="surrogateescape")
            echo(f"{head:<{width}} {number:>{digits}}) {text}")


def _head(span: Json) -> str:
    if "before" in span:
        return f"^{span['before'][: _SHORT - 1]} ("
    if "time" not in span:
        return f"{span['commit'][:_SHORT]} ("
    name = span["author"]["name"] if "author" in span else ""
    return f"{span['commit'][:_SHORT]} ({name} {span['time'][:10]}"


def _content(found: Json) -> bytes:
    if "content_base64" in found:
        return base64.b64decode(found["content_base64"])
    content: str = found["content"]
    return content.encode()
