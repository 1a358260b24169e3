"""`sluice log`: the global history."""

from functools import partial
from itertools import islice

import click
from rich.text import Text

from app.client.api_client import Client, Json
from app.console.options import as_json, console, emit_or_show, url


@click.command()
@click.option("-n", "--number", default=20, show_default=True, type=click.IntRange(1), help="Number of commits.")
@click.option("-v", "--verbose", is_flag=True, help="Also show the changesets that each one merged.")
@url
@as_json
def command(client: Client, number: int, verbose: bool, as_json: bool) -> None:
    """Show the global commits, newest first. Each one is a batch merge of committed changesets.

    With --json, one line for each.

    Example: sluice log -n 3 -v
    """
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
        console.print(Text(f"│ {row['commit'][:12]} {row['changeset']} {name}"), soft_wrap=True)
