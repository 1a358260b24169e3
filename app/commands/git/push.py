"""`sluice push`: `git push`, under the name that goes with `sluice clone`."""

import click

from app.console.options import end
from storage.git.run_git import run_for_user


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", metavar="[ARGUMENTS]", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Run `git push` with these ARGUMENTS in the present folder.

    In a clone that `sluice clone` has made, it pushes the present branch to refs/for/main, where it is landed from.

    Example: sluice push
    """
    end(run_for_user("push", *arguments))
