"""`sluice check`: what would become of a submission now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.text import Text

from app.client import Client, Json
from app.commands.options import as_json, console, emit, notes, url
from app.commands.status import told_conflict
from app.commands.submit import changeset_from, what

_COLOURS = {"commit": "green", "conflict": "red", "reject": "red", "wait": "yellow"}
_SENTENCES = {"conflict": "it collides with the head", "wait": "its base is not decided yet"}


@click.command()
@what
@url
@as_json
def command(client: Client, slice_name: str, directory: Path, as_json: bool, **given: Any) -> None:
    """Ask whether what `sluice submit` would submit would be committed if it were the next; nothing is stored.

    It takes what `sluice submit` takes, and prints which paths would be merged, or which collide. The exit code is 1
    unless it would be committed.

    \b
    Example: sluice check web ./checkout --base 8d3f1c0a5b7e92461f0d8c3b5a7e9f1d2c4b6a80
             sluice check web ~/src/site --git main..feature
    """  # noqa: D301 - click takes the character itself
    changeset = changeset_from(client, slice_name, directory, **given)
    if not changeset["changes"]:
        if as_json:
            emit({"would": "commit", "changes": []})
        notes.print("nothing differs")
        return
    answer = client.check(slice_name, {"message": "Check", **changeset})
    if as_json:
        emit(answer)
    else:
        _show(answer)
    if answer["would"] != "commit":
        raise click.exceptions.Exit(1)


def _show(answer: Json) -> None:
    would = answer["would"]
    line = Text.assemble("would ", (would, _COLOURS.get(would, "")))
    if "reason" in answer:
        line.append(f": {answer['reason']}: {answer.get('detail', '')}")
    elif would in _SENTENCES:
        line.append(f": {_SENTENCES[would]}")
    console.print(line, soft_wrap=True)
    for path in answer.get("merged", []):
        console.print(Text(f"  {path}: merged"), soft_wrap=True)
    conflicts = answer.get("conflicts", [])
    for conflict in conflicts:
        console.print(Text(f"  {told_conflict(conflict)}"), soft_wrap=True)
    if answer.get("conflict_count", 0) > len(conflicts):
        console.print(f"  and {answer['conflict_count'] - len(conflicts)} more")
