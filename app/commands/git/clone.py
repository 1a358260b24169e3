"""`sluice clone`: a `git clone` of a slice, with what Git needs to know of Sluice in the clone's own configuration."""

import shlex
import sys
from pathlib import Path
from urllib.parse import quote, urlsplit

import click

from app.client.api_client import Client
from app.console.options import end, url
from app.console.token import stack_of
from storage.base.errors import Refused
from storage.git.run_git import run_for_user

WHOLE = "-/repository"
PUSHED = "HEAD:refs/for/main"


class NoGateway(Refused):
    """The deployment has no gateway: its setting git_url is empty."""


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("slice_name", metavar="[SLICE]", required=False)
@click.argument("directory", metavar="[DIRECTORY]", required=False)
@click.argument("options", metavar="[-- OPTIONS]", nargs=-1, type=click.UNPROCESSED)
@click.option("--whole", is_flag=True, help="Clone the whole repository, for who may read all of it.")
@url
def command(
    client: Client, slice_name: str | None, directory: str | None, options: tuple[str, ...], whole: bool
) -> None:  # fmt: skip
    """Clone SLICE into DIRECTORY (default: its name) by `git clone`, with OPTIONS of that behind `--`.

    It is a plain clone. Its configuration says in addition: where `git push` pushes to, that `git pull` rebases, that
    bundles are used, and that Git asks `sluice credential` for the token; the token itself is written nowhere.

    \b
    Example: sluice clone web
             sluice clone web work -- --depth 1
             sluice clone --whole everything -- --filter=blob:none
    """  # noqa: D301 - click takes the character itself
    given = [each for each in (slice_name, directory) if each is not None]
    first = next((number for number, each in enumerate(given) if each.startswith("-")), len(given))
    names, options = given[:first], (*given[first:], *options)
    if not whole and not names:
        raise click.UsageError("name a slice, or --whole")
    name = WHOLE if whole else names.pop(0)
    base = client.git_base()
    if base is None:
        raise NoGateway
    folder = names or ["repository" if whole else name.rpartition("/")[2]]
    settings = [part for each in configuration(base, client.url) for part in ("--config", each)]
    end(run_for_user("clone", *settings, *options, "--", f"{base}{quote(name)}.git", *folder))


def configuration(base: str, api: str) -> list[str]:
    """Return what a clone is to be told, as names and values."""
    asked = urlsplit(base)
    server = f"{asked.scheme}://{asked.netloc}"
    program = Path(sys.executable).parent / "sluice"
    helper = [str(program), "credential", "--url", api]
    stack = stack_of(api)
    if stack is not None:
        helper += ["--data", str(stack.absolute())]
    return [
        # Git would offer the token to the user's own helpers, which may keep it.
        f"credential.{server}.helper=",
        f"credential.{server}.helper=!{shlex.join(helper)}",
        "pull.rebase=true",
        "transfer.bundleURI=true",
        f"remote.origin.push={PUSHED}",
    ]
