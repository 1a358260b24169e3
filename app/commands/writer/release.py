"""`sluice release`: held changesets may be committed."""

from __future__ import annotations

from collections.abc import Callable

import click

from app.client.api_client import Client, Json, NotSluice, ProblemError
from app.commands.writer.status import show, wait_for_all
from app.console import exit_codes
from app.console.options import as_json, ask_to_wait, emit, end, refuse, url


@click.command()
@click.argument("changesets", metavar="ID...", nargs=-1, required=True)
@ask_to_wait
@url
@as_json
def command(client: Client, changesets: tuple[str, ...], wait: bool, timeout: float, as_json: bool) -> None:
    """Let held changesets be committed: they are queued now.

    What is no longer held stays as it is. The exit code is 7 if one was abandoned before or is not there; the others
    are released all the same. With --wait it is that of `sluice status --wait`. With --json there is one line for each
    that was released.

    Example: sluice release 01JG8Y6Z3M4N5P6Q7R8S9T0V1W --wait
    """
    released, code = to_each(client.release, changesets)
    code = max(code, wait_for_all(client, released, timeout)) if wait else code
    for each in released:
        if as_json:
            emit(each)
        else:
            show(each)
    end(code)


def to_each(verb: Callable[[str], Json], changesets: tuple[str, ...]) -> tuple[list[Json], int]:
    """Do something to each changeset, tell of those that are refused, and go on; return the others and an exit code."""
    done: list[Json] = []
    code = exit_codes.DONE
    for each in changesets:
        try:
            done.append(verb(each))
        except NotSluice:
            raise
        except ProblemError as refusal:
            code = max(code, refuse(each, refusal))
    return done, code
