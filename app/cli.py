"""The command `sluice`: one module of app/commands for each subcommand, imported when it is used."""

import signal
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from keyword import iskeyword
from typing import Any

import click

from app import __version__
from app.console import exit_codes, failures, standard_output
from app.console.failures import Failure

# The short help stands here too, so that `sluice --help` imports none of them. By the folder of app/commands.
_FOLDERS = {
    "writer": {
        "abandon": "Take back changesets, or close their conflicts.",
        "check": "Predict the outcome of a submission, and submit nothing.",
        "checkout": "Write a slice's files into a folder, to be edited and submitted.",
        "conflicts": "List open conflicts, or show those of a changeset.",
        "diff": "Show what a changeset changes.",
        "rebase": "Merge changesets onto the tip, as new ones.",
        "release": "Queue held changesets, so that they can be committed.",
        "resolve": "Resolve a changeset's conflicts, in an editor or by taking sides.",
        "slice": "Create, change, delete, list and show slices.",
        "status": "Show a changeset, or the state of the deployment.",
        "submit": "Submit a directory, or a range of Git commits, as one changeset.",
        "watch": "Show the events of changesets as they happen.",
    },
    "history": {
        "blame": "Show which commit each line of a file came with.",
        "log": "Show the global history, or that of a path.",
        "revert": "Take back committed changesets, by new ones.",
        "show": "Show a commit, or that of a changeset, with its diff.",
        "tag": "Make, list and delete tags.",
    },
    "git": {
        "clone": "Clone a slice by Git.",
        "credential": "Give Git the token that the command line has.",
        "pull": "Run `git pull` in a clone.",
        "push": "Run `git push` in a clone.",
    },
    "lists": {
        "changesets": "List changesets by who submitted them, path, label and more.",
        "mine": "List the changesets that you submitted.",
    },
    "operator": {
        "backup": "Back up the bucket into a folder.",
        "export": "Export everything as a bare Git repository.",
        "import": "Import a Git repository's history into an empty repository.",
        "gc": "Delete packs that no log entry names.",
        "merge": "Request a batch merge.",
        "mirror": "Push what lands to other Git servers, or take their commits.",
        "rebuild": "Rebuild the view in Redis from the bucket.",
        "restore": "Restore a backup into an empty bucket.",
        "settings": "Show every setting, with its unit and default.",
        "verify": "Check the bucket, the log and the view against each other.",
    },
    "claims": {
        "claim": "Tell others that you are at work at some paths.",
        "claims": "List who says to be at work where.",
        "unclaim": "End claims.",
    },
    "access": {
        "audit": "Show what was done, by whom, and from where.",
        "limits": "List every limit, and what you have used of your shares.",
        "policy": "Show, set and check who may do what.",
        "token": "Make, list and revoke tokens.",
        "webhook": "Make, list and delete webhooks, and see what they were told.",
        "whoami": "Show who you are to the API, and what you may do.",
    },
    "local": {
        "contend": "Let many writers change the same base at once, and resolve conflicts.",
        "demo": "Replay a history on a temporary stack, and verify the result.",
        "replay": "Submit a local Git repository's history, from concurrent writers.",
        "replay-merges": "Repeat a local Git repository's merges, and compare with Git.",
        "restart": "Restart the processes of `sluice up`, without failing a request.",
        "up": "Run the whole stack on this machine, without Docker.",
    },
}
COMMANDS = {name: text for commands in _FOLDERS.values() for name, text in commands.items()}


def module_of(name: str) -> str:
    """Return the module of the command `name`."""
    folder = next(folder for folder, commands in _FOLDERS.items() if name in commands)
    return f"app.commands.{folder}.{name.replace('-', '_')}" + "_" * iskeyword(name)


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

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in exit_codes.MEANINGS.items()])

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, *, standalone_mode: bool = True,
        **more: Any,
    ) -> Any:  # fmt: skip
        """As click's, but for the words and the exit codes of a wrong command line."""
        try:
            code = super().main(args, prog_name, standalone_mode=False, **more)
        except click.ClickException as error:
            if not standalone_mode:
                raise
            code = say(of_click(error), "--json" in (sys.argv[1:] if args is None else args))
        if standalone_mode:
            sys.exit(code if isinstance(code, int) else exit_codes.DONE)
        return code

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.Abort from None  # click would print an empty line for it
        except Exception as error:
            if ctx.params["debug"] and not isinstance(error, click.ClickException | click.exceptions.Exit):
                traceback.print_exc()
            raise


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="sluice")
@click.option(
    "--debug", is_flag=True, envvar="SLUICE_DEBUG", help="Show the traceback of an error; as SLUICE_DEBUG=1 does."
)
def cli(debug: bool) -> None:
    """Land changes from many writers into one large shared code base.

    To begin, run `sluice up`, or `sluice demo`. Each command has a --help with an example.
    """


def main() -> None:
    """Run the command line, and turn errors into sentences and exit codes."""
    standard_output.prepare()
    try:
        code = _run()
        standard_output.finish()
    except standard_output.ReaderGone:
        code = exit_codes.READER_GONE
    except OSError as error:
        code = say(failures.failure(error), as_json="--json" in sys.argv)
    standard_output.give_up()
    sys.exit(code)


def _run() -> int:
    """Run the command, print its errors, and return its exit code."""
    as_json = "--json" in sys.argv
    try:
        if callable(signal.getsignal(signal.SIGINT)):
            signal.signal(signal.SIGINT, signal.default_int_handler)
        # Click catches a command's own Exit and returns its code.
        code = cli.main(standalone_mode=False)
        return code if isinstance(code, int) else exit_codes.DONE
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        return say(of_click(error), as_json)
    except (click.Abort, KeyboardInterrupt):
        return say(failures.interrupted(), as_json)
    except standard_output.ReaderGone:
        raise
    except Exception as error:  # noqa: BLE001 - each has a sentence and an exit code
        return say(failures.failure(error), as_json)


def of_click(error: click.ClickException) -> Failure:
    """Return what is printed for a wrong command line."""
    lines = []
    context = getattr(error, "ctx", None)
    if context is not None:
        lines = [context.get_usage(), f"Try '{context.command_path} --help' for help."]
    return failures.usage(error.format_message(), lines)


def say(failure: Failure, as_json: bool) -> int:
    """Tell standard error what went wrong, and return the exit code."""
    try:
        if as_json:
            click.echo(failures.line(failure.document), err=True)
        for line in [] if as_json else failure.lines:
            click.echo(failures.coloured(line), err=True)
    except OSError:
        pass  # there is nowhere to print it
    return failure.code
