"""`sluice tag`: making, listing and deleting tags."""

from __future__ import annotations

import click
from rich.text import Text

from app.client import history_calls
from app.client.api_client import Client, Json
from app.console.options import as_json, console, emit, emit_or_show, notes, url


@click.group()
def command() -> None:
    """Make, list and delete tags: names of commits, for who may read everything.

    An export, and a clone of the whole repository, have them as refs/tags.

    Example: sluice tag create v1.0 -m "The first release"
    """


@command.command()
@click.argument("name")
@click.argument("commit", required=False)
@click.option("-m", "--message", help="Make an annotated tag with this message. Without it: a lightweight one.")
@click.option("-f", "--force", is_flag=True, help="Move the tag if it is there.")
@url
@as_json
def create(
    client: Client, name: str, commit: str | None, message: str | None, force: bool, as_json: bool
) -> None:  # fmt: skip
    """Make the tag NAME of COMMIT, the full id of a commit. Default: the global head.

    Example: sluice tag create v1.0 -m "The first release"
    """
    commit = commit or client.head()["main"]["commit"]
    made = history_calls.put_tag(client, name, commit, message, force)
    emit_or_show(as_json, made, _show)


@command.command("list")
@url
@as_json
def list_(client: Client, as_json: bool) -> None:
    """List the tags, in the order of their names. With --json, one line for each.

    Example: sluice tag list
    """
    for tag in history_calls.tags(client):
        emit_or_show(as_json, tag, _show)


@command.command()
@click.argument("name")
@url
@as_json
def delete(client: Client, name: str, as_json: bool) -> None:
    """Delete the tag NAME.

    Example: sluice tag delete v1.0-rc1
    """
    history_calls.delete_tag(client, name)
    if as_json:
        emit({"name": name, "deleted": True})
    else:
        notes.print(Text(f"deleted {name}"))


def _show(tag: Json) -> None:
    subject = (tag["message"] or "").partition("\n")[0]
    at = tag["commit"] or tag["id"]
    line = Text.assemble((at[:12], "cyan"), " ", (tag["name"], "bold"), f"  {subject}" if subject else "")
    console.print(line, soft_wrap=True)
