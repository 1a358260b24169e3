"""`sluice log`: the global history, or that of a path."""

from __future__ import annotations

from functools import partial
from itertools import islice

import click
from rich.text import Text

from app.client import history_calls
from app.client.api_client import Client, Json
from app.console.options import as_json, console, emit_or_show, url

_SHORT = 12


@click.command()
@click.argument("path", required=False)
@click.option("-n", "--number", default=20, show_default=True, type=click.IntRange(1), help="Number of commits.")
@click.option("-v", "--verbose", is_flag=True, help="Also show the changesets that each one merged. Not with PATH.")
@click.option("--commit", metavar="ID", help="With PATH: begin with this commit. Default: with all that is committed.")
@click.option("--slice", "slice_name", metavar="NAME", help="With PATH: only changesets of this slice, by name or id.")
@url
@as_json
def command(
    client: Client,
    path: str | None,
    number: int,
    verbose: bool,
    commit: str | None,
    slice_name: str | None,
    as_json: bool,
) -> None:
    """Show the global commits, newest first. Each one is a batch merge of committed changesets.

    With PATH: the commits that changed a file, or a directory (`docs/`; `/` is everything).

    With --json, one line for each.

    \b
    Example: sluice log -n 3 -v
             sluice log web/app.js
    """  # noqa: D301 - click takes the character itself
    if path is not None:
        if verbose:
            raise click.BadParameter("does not go with PATH", param_hint="--verbose")
        found = history_calls.history(client, path, commit, slice_name, min(number, 1000))
        for touch in islice(found, number):
            emit_or_show(as_json, touch, _show_touch)
        return
    if commit is not None or slice_name is not None:
        raise click.BadParameter("goes with PATH", param_hint="--slice" if commit is None else "--commit")
    _global_log(client, number, verbose, as_json)


def _global_log(client: Client, number: int, verbose: bool, as_json: bool) -> None:
    names = {slice_["id"]: slice_["name"] for slice_ in client.slices()} if verbose else {}
    for commit in islice(client.global_commits(min(number, 1000)), number):
        # The first one has no changesets: it is the empty start.
        merged = list(client.merged(commit["commit"])) if verbose and commit.get("changesets") else []
        value = commit | ({"merged": merged} if verbose else {})
        emit_or_show(as_json, value, partial(_show, merged=merged, names=names))


def _show(commit: Json, merged: list[Json], names: dict[str, str]) -> None:
    count, tree = commit.get("changesets"), commit.get("tree")  # told to who may read everything
    what = "a global commit" if count is None else f"merged {count}" if count else "the empty start"
    what += f", tree {tree}" if tree else ""
    console.print(Text.assemble(("●", "yellow"), " ", (commit["commit"], "cyan"), f" {what}"),
                  soft_wrap=True)  # fmt: skip
    for row in merged:
        name = names.get(row["slice"], row["slice"])
        console.print(Text(f"│ {row['commit'][:_SHORT]} {row['changeset']} {name}"), soft_wrap=True)


def _show_touch(touch: Json) -> None:
    line = Text.assemble((touch["commit"][:_SHORT], "cyan"), f" {touch['change']:<8}")
    if "time" in touch:
        line.append(f" {touch['changeset']}" if "changeset" in touch else f" {touch['kind']:<26}")
        line.append(f" {touch['time'][:10]}")
        line.append(f" {touch['author']['name']}: {touch['message']}" if "author" in touch else "")
    else:
        line.append(" (of paths that you may not all read)")
    console.print(line, soft_wrap=True)
