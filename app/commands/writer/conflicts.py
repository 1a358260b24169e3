"""`sluice conflicts`: what is open, and what collides in one changeset."""

import base64
from collections.abc import Callable, Iterator

import click
from rich.text import Text

from app.client.api_client import Client, Json
from app.console import exit_codes
from app.console.changesets import format_conflict, show_line, slice_namer
from app.console.options import as_json, console, emit_or_show, end, notes, url

_SHOWN_PATHS = 3  # of a changeset in the list
_SHOWN_LINES = 20  # of a side of a hunk
_SIDES = {"base": "", "ours": "cyan", "theirs": "magenta"}


@click.command()
@click.argument("changeset", metavar="[ID]", required=False)
@click.option("--slice", "slice_name", metavar="NAME", help="Only changesets of this slice, by name or id.")
@click.option("--path", help="Only conflicts on this path.")
@click.option("--exit-code", is_flag=True, help="Exit with 3 if there are any conflicts.")
@url
@as_json
def command(
    client: Client, changeset: str | None, slice_name: str | None, path: str | None, exit_code: bool, as_json: bool
) -> None:
    """List the changesets with open conflicts, oldest first; with an ID, show that changeset's conflicts.

    Each hunk shows the lines of base, ours (the head) and theirs (what was submitted), with line numbers. With --json,
    one line for each changeset, or for each conflict of the one. `sluice resolve` resolves them.

    \b
    Example: sluice conflicts --slice web
             sluice conflicts 01JG8Y6Z3M4N5P6Q7R8S9T0V1W
    """  # noqa: D301 - click takes the character itself
    if sum(option is not None for option in (changeset, slice_name, path)) > 1:
        raise click.UsageError("give a changeset, --slice or --path, and not two of them")
    count = _explain(client, changeset, as_json) if changeset else _list(client, slice_name, path, as_json)
    if exit_code and count:
        end(exit_codes.CONFLICTED)


def _list(client: Client, slice_name: str | None, path: str | None, as_json: bool) -> int:
    """Show the open conflicts, and return how many changesets have them."""
    name_of = slice_namer(client)

    def show(changeset: Json) -> None:
        console.print(_line(changeset, name_of(changeset["slice"])), soft_wrap=True)

    return _show_all(client.conflicts(slice_name, path), show, "no conflict is open", as_json)


def _line(changeset: Json, name: str) -> Text:
    conflicts = changeset["conflicts"]
    shown = ", ".join(f"{conflict['path']} ({conflict['class']})" for conflict in conflicts[:_SHOWN_PATHS])
    more = changeset.get("conflict_count", len(conflicts)) - min(len(conflicts), _SHOWN_PATHS)
    return Text.assemble(changeset["id"], " ", (name, "bold"), f": {shown}{f' and {more} more' if more else ''}")


def _explain(client: Client, changeset: str, as_json: bool) -> int:
    """Show the conflicts of a changeset, and return how many there are."""
    if not as_json:
        show_line(client.changeset(changeset))
    return _show_all(client.conflicts_of(changeset), _show, "it has no conflicts", as_json)


def _show_all(conflicts: Iterator[Json], show: Callable[[Json], None], nothing: str, as_json: bool) -> int:
    count = 0
    for conflict in conflicts:
        count += 1
        emit_or_show(as_json, conflict, show)
    if not as_json and not count:
        notes.print(nothing)
    return count


def _show(conflict: Json) -> None:
    text = Text(format_conflict(conflict))
    text.stylize("bold", 0, len(conflict["path"]))
    console.print(text, soft_wrap=True)
    for number, hunk in enumerate(conflict.get("hunks") or [], 1):
        console.print(Text(f"  hunk {number}"), style="yellow")
        sides = {side: (hunk[side]["start"], _lines(hunk[side])) for side in _SIDES}
        width = max(len(str(start + len(lines))) for start, lines in sides.values())
        for side, (start, lines) in sides.items():
            _show_side(side, start, lines, width)


def _lines(side: Json) -> list[bytes]:
    """Return the lines of one side of a hunk, byte by byte."""
    if "lines_base64" in side:
        return [base64.b64decode(line) for line in side["lines_base64"]]
    return [line.encode() for line in side["lines"]]


def _show_side(side: str, start: int, lines: list[bytes], width: int) -> None:
    shown = [(str(start + i), line.rstrip(b"\r\n")) for i, line in enumerate(lines[:_SHOWN_LINES])]
    if len(lines) > len(shown):
        shown.append(("", b"(%d more lines)" % (len(lines) - len(shown))))
    for i, (number, line) in enumerate(shown or [(str(start), b"(no lines)")]):
        head = f"    {side if i == 0 else '':<6} {number:>{width}} │ "
        try:
            console.print(Text.assemble(head, (line.decode(), _SIDES[side])), soft_wrap=True)
        except UnicodeDecodeError:
            # In another encoding: as the file has it.
            click.echo(head.encode() + line)
