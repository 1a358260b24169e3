"""`sluice submit`: a directory, or a range of Git commits, as one changeset."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from app.client import Client, Json
from app.commands.options import Command, as_json, console, emit, notes, url
from app.commands.status import await_final, show
from app.submission import SubmissionError, changes_to, changeset_of, read_directory

_AUTHOR = re.compile(r"\s*(.+?)\s*<([^<>]*)>\s*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
STRATEGIES = ("merge", "ours", "theirs", "exact")


_OPTIONS = (
    click.argument("slice_name", metavar="SLICE"),
    click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path(),
                   required=False),
    click.option("--git", "commits", metavar="RANGE", help="Take these commits of the repository DIRECTORY instead."),
    click.option("-m", "--message", help="The commit message. Default: for --git, that of the commits."),
    click.option("--author", metavar="'NAME <EMAIL>'", help="Default: for --git, of the last commit."),
    click.option("--delete", is_flag=True, help="Also delete what the slice has and DIRECTORY has not."),
    click.option("--base", help="The commit that DIRECTORY was made from. Default: the tip. Only without --git."),
    click.option("--hold", is_flag=True, help="Hold it: it is not committed before `sluice release`."),
    click.option("--strategy", "strategies", metavar="PATTERN=STRATEGY", multiple=True,
                 help=f"What is done at the paths of a gitignore pattern if they moved: {', '.join(STRATEGIES)}. "
                      "The last one that matches counts."),
)  # fmt: skip


def what(command: Command) -> Command:
    """Add the arguments that say what is submitted; `changeset_from` takes them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@what
@click.option("--key", help="An Idempotency-Key: a repeat with the same key submits nothing new.")
@click.option("--dry-run", is_flag=True, help="Show the changes, and submit nothing.")
@click.option("--wait", is_flag=True, help="Return once it is committed, conflicted, rejected or abandoned.")
@click.option("--timeout", default=300.0, show_default=True, help="Seconds that --wait waits at most.")
@url
@as_json
def command(
    client: Client, slice_name: str, directory: Path, key: str | None, dry_run: bool, wait: bool, timeout: float,
    as_json: bool, **given: Any,
) -> None:  # fmt: skip
    """Submit the files of DIRECTORY (the current one by default) against SLICE, as one changeset.

    Paths are the same on both sides: DIRECTORY/web/a.js becomes web/a.js. Files that differ from those at the base
    become the changes; files that the slice does not cover, and everything called .git, are left alone.

    With --git the changes between two commits are submitted, based on the versions of files that they changed: what
    moved in Sluice since is merged, or is a conflict. RANGE is A..B, A...B, or one commit.

    With --wait the exit code is 1 unless the changeset was committed. `sluice check` asks before.

    \b
    Example: sluice submit web ./checkout -m "Say hello" --wait
             sluice submit web ~/src/site --git main..feature --strategy "*.lock=theirs"
    """  # noqa: D301 - click takes the character itself
    if wait and given["hold"]:
        raise click.UsageError("--wait does not go with --hold: nothing becomes of it before its release")
    changeset = changeset_from(client, slice_name, directory, **given)
    _submit(client, slice_name, changeset, key, dry_run, wait, timeout, as_json)


def changeset_from(
    client: Client, slice_name: str, directory: Path, commits: str | None, message: str | None, author: str | None,
    delete: bool, base: str | None, hold: bool, strategies: tuple[str, ...],
) -> Json:  # fmt: skip
    """Return the changeset that the arguments of `what` describe."""
    rules = [_rule(each) for each in strategies]
    try:
        if commits is None:
            changeset = _from_directory(client, slice_name, directory, delete, base)
        elif delete or base:
            raise click.UsageError("--delete and --base do not go with --git")
        else:
            changeset = changeset_of(directory, commits)
    except SubmissionError as error:
        raise click.ClickException(str(error)) from error
    if message is not None:
        changeset["message"] = message
    if author is not None:
        changeset["author"] = _author(author)
    if hold:
        changeset["hold"] = True
    if rules:
        changeset["strategies"] = rules
    return changeset


def _rule(text: str) -> Json:
    pattern, _, strategy = text.rpartition("=")
    if not pattern or strategy not in STRATEGIES:
        raise click.BadParameter(f"{text!r} is not PATTERN={'|'.join(STRATEGIES)}", param_hint="--strategy")
    return {"pattern": pattern, "strategy": strategy}


def _submit(
    client: Client, slice_name: str, changeset: Json, key: str | None, dry_run: bool, wait: bool, timeout: float,
    as_json: bool,
) -> None:  # fmt: skip
    changes = changeset["changes"]
    if dry_run or not changes:
        if as_json:
            emit({"changes": [{"op": each["op"], "path": each["path"]} for each in changes]})
        for each in [] if as_json else changes:
            console.print(Text(f"{each['op']:6} {each['path']}"), soft_wrap=True)
        if not changes:
            notes.print("nothing differs")
        return
    if not changeset.get("message"):
        raise click.UsageError("a changeset needs a message: -m")
    found = client.submit(slice_name, changeset, key)
    if not as_json:
        notes.print(f"submitted, changes: {len(changes)}")
    if wait:
        found = await_final(client, found["id"], "committed", timeout)
    if as_json:
        emit(found)
    else:
        show(found)
    if wait and found["status"] not in {"committed", "landed"}:
        raise click.exceptions.Exit(1)


def _from_directory(client: Client, slice_name: str, directory: Path, delete: bool, base: str | None) -> Json:
    if base is not None and not _COMMIT.fullmatch(base):
        raise click.BadParameter("is not the id of a commit, in full", param_hint="--base")
    found = client.slice(slice_name)
    base = base or client.head()["tip"]["commit"]
    files, outside = read_directory(directory, {path.encode() for path in found["paths"]})
    if outside:
        notes.print(f"files outside the slice, left out: {outside}")
    stored = {entry["path"]: entry for entry in client.tree(found["id"], base)}
    return {"base": base, "changes": changes_to(files, stored, delete)}


def _author(text: str) -> Json:
    match = _AUTHOR.fullmatch(text)
    if not match:
        raise click.BadParameter("is not 'NAME <EMAIL>'", param_hint="--author")
    return {"name": match[1], "email": match[2]}
