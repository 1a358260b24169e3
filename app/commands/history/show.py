"""`sluice show`: a commit, or a changeset, with its diff."""

from __future__ import annotations

import click

from app.client import history_calls
from app.client.api_client import Client, Json
from app.commands.writer.diff import echo, lines_of
from app.console.options import as_json, emit, url
from storage.base.ids import is_ulid


@click.command()
@click.argument("name", metavar="ID")
@url
@as_json
def command(client: Client, name: str, as_json: bool) -> None:
    """Show the commit ID, or that of the changeset ID, with what it changed.

    Of a global commit that is what it merged. With --json the first line is the commit, and each other one a file.

    Example: sluice show 01JG8Y6Z3M4N5P6Q7R8S9T0V1W
    """
    oid = name
    if is_ulid(name):
        changeset = client.changeset(name)
        if "commit" not in changeset:
            raise click.UsageError(
                f"{name} is {changeset['status']} and has no commit; `sluice diff {name}` shows what it changes"
            )
        oid = changeset["commit"]
    commit = history_calls.commit(client, oid)
    del commit["items"], commit["next"]
    if as_json:
        emit(commit)
    else:
        _show(commit)
    for file in history_calls.compare(client, commit["parents"][0], commit["commit"]) if commit["parents"] else ():
        if as_json:
            emit(file)
        else:
            for line in lines_of(file):
                echo(line)


def _show(commit: Json) -> None:
    click.echo(click.style(f"commit {commit['commit']}", fg="yellow"))
    if len(commit["parents"]) > 1:
        click.echo(f"Merge: {' '.join(parent[:12] for parent in commit['parents'])}")
    if "changeset" in commit:
        click.echo(f"Changeset: {commit['changeset']} ({commit['status']})")
    if "author" in commit:
        click.echo(f"Author: {commit['author']['name']} <{commit['author']['email']}>")
        click.echo(f"Date:   {commit['time']}")
        click.echo()
        for line in commit["message"].rstrip("\n").split("\n"):
            click.echo(f"    {line}".rstrip())
    click.echo()
