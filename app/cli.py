"""The command `sluice`: one module of app/commands for each subcommand, imported when it is used."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import version

import click
import redis

from app.client import ProblemError, Unreachable
from app.replay.history import HistoryError
from app.stack import ProcessFailed, ServerMissing
from storage.bucket import BucketError, BucketUnsafe
from storage.git_merger import GitUnfit
from storage.settings import SettingsError

# The short help stands here too, so that `sluice --help` imports nothing.
COMMANDS = {
    "abandon": "Take back changesets, or close their conflicts.",
    "backup": "Copy what the bucket has into a folder.",
    "check": "Say what would become of a submission, and submit nothing.",
    "checkout": "Write a slice's files into a folder that remembers them.",
    "conflicts": "List open conflicts, or show a changeset's with their lines.",
    "contend": "Let many writers change one base at once, and resolve what collides.",
    "demo": "Replay a history on a stack of its own, and show what came of it.",
    "diff": "Show what a changeset changes.",
    "export": "Write everything as a bare Git repository.",
    "gc": "Delete packs that no entry of the log names.",
    "log": "Show the global history.",
    "merge": "Ask for a batch merge.",
    "rebase": "Move changesets onto the tip, merged.",
    "rebuild": "Build the view in Redis anew from the bucket.",
    "release": "Let held changesets be committed.",
    "replay": "Land a local Git repository's history, from concurrent writers.",
    "replay-merges": "Merge what a local Git repository merged, and compare with Git.",
    "resolve": "Resolve a changeset's conflicts, in an editor or by taking sides.",
    "restart": "Restart what `sluice up` runs, without failing a request.",
    "restore": "Put a backup into an empty bucket.",
    "settings": "Show every setting, with its unit and default.",
    "slice": "Make, change, delete, list and show slices.",
    "status": "Show a changeset, or what is going on.",
    "submit": "Submit a directory, or a range of Git commits, as one changeset.",
    "up": "Run the whole stack on this machine, without Docker.",
    "verify": "Check the bucket, the log and the view against each other.",
    "watch": "Show what becomes of changesets, as it happens.",
}

# What an error tells the user beyond itself, and the exit code. 1 is a command's own "no", 2 a wrong command line.
ERRORS: list[tuple[type[Exception], int, str]] = [
    (ProblemError, 3, ""),
    (Unreachable, 4, "is `sluice up` running, and is --url right?"),
    (HistoryError, 5, ""),
    (SettingsError, 6, "`sluice settings` lists them"),
    (ServerMissing, 7, ""),
    (ProcessFailed, 7, ""),
    (BucketError, 8, "are the SLUICE_S3_* settings those of the deployment?"),
    (GitUnfit, 7, ""),
    (BucketUnsafe, 8, "use a store that honours If-None-Match, and no proxy that drops it"),
    (redis.RedisError, 8, "is SLUICE_REDIS_URL that of the deployment?"),
]


def module_of(name: str) -> str:
    """Return the module of the command `name`."""
    return f"app.commands.{name.replace('-', '_')}"


class _Lazy(click.Group):
    """A group whose commands are modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(module_of(cmd_name)).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("gitsluice"), prog_name="sluice")
def cli() -> None:
    """Land changes from many writers into one large shared code base.

    Start with `sluice up`, or with `sluice demo`. Each command has a --help with an example.
    """


def main() -> None:
    """Run the command line, and turn errors into sentences and exit codes."""
    try:
        # Click catches a command's own Exit and returns its code.
        code = cli.main(standalone_mode=False)
        if isinstance(code, int):
            sys.exit(code)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped.", err=True)
        sys.exit(130)
    except Exception as error:
        for kind, code, hint in ERRORS:
            if isinstance(error, kind):
                _show(error, hint)
                sys.exit(code)
        raise


def _show(error: Exception, hint: str) -> None:
    click.echo(f"{click.style('error:', fg='red', bold=True)} {error}", err=True)
    for each in getattr(error, "errors", []):
        click.echo(f"  {each.get('field')}: {each.get('message')}", err=True)
    if hint:
        click.echo(f"hint: {hint}", err=True)
