"""`sluice pull`: `git pull`, under the name that goes with `sluice clone`."""

import click

from app.console.options import end
from storage.git.run_git import run_for_user


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", metavar="[ARGUMENTS]", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Run `git pull` with these ARGUMENTS in the present folder.

    In a clone that `sluice clone` has made, it rebases what you have not pushed onto what landed meanwhile.

    Example: sluice pull
    """
    end(run_for_user("pull", *arguments))
