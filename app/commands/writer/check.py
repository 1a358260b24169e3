"""`sluice check`: what would become of a submission now."""

from pathlib import Path
from typing import Any

import click
from rich.text import Text

from app.client.api_client import Client, Json
from app.client.sending import check_all
from app.commands.writer.submit import prepare, what
from app.console.changesets import show_conflicts
from app.console.exit_codes import CONFLICTED, DONE, REJECTED, TIMED_OUT
from app.console.options import as_json, console, emit, emit_or_show, end, notes, url

_COLOURS = {"commit": "green", "conflict": "red", "reject": "red", "wait": "yellow"}
_CODES = {"commit": DONE, "conflict": CONFLICTED, "reject": REJECTED, "wait": TIMED_OUT}
_SENTENCES = {"conflict": "it collides with the head", "wait": "its base is not decided yet"}


@click.command()
@what
@url
@as_json
def command(
    client: Client, slice_name: str, directory: Path | None, as_json: bool, message: str | None, author: str | None,
    **given: Any,
) -> None:  # fmt: skip
    """Predict the outcome of `sluice submit` with the same arguments, if it were the next; nothing is stored.

    Prints the paths that would be merged or in conflict. The exit code is 0 if the changeset would be committed, 3 if
    it would be conflicted, 4 if it would be rejected, and 5 if that is not decided yet.

    \b
    Example: sluice check web ./checkout
             sluice check web ~/src/site --git main..feature
    """  # noqa: D301 - click takes the character itself
    prepared = prepare(client, slice_name, directory, **given)
    changeset = {"message": "Check"} | prepared.changeset
    if message is not None:
        changeset["message"] = message
    if not changeset["changes"]:
        if as_json:
            emit({"would": "commit", "changes": []})
        notes.print("nothing differs")
        return
    answer = check_all(client, prepared.slice["id"], changeset, prepared.is_new)
    emit_or_show(as_json, answer, _show)
    end(_CODES.get(answer["would"], TIMED_OUT))


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
    for followed in answer.get("followed", []):
        console.print(Text(f"  {followed['path']}: is now {followed['to']}, and changed there"), soft_wrap=True)
    show_conflicts(answer)
