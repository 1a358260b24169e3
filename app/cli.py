"""The command `sluice`: one module of app/commands for each subcommand, imported when it is used."""

import signal
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from app import __version__
from app.console import exit_codes, failures, standard_output
from app.console.failures import Failure

# The short help stands here too, so that `sluice --help` imports none of them. By the folder of app/commands.
_FOLDERS = {
    "writer": {
        "abandon": "Take back changesets, or close their conflicts.",
        "check": "Say what would become of a submission, and submit nothing.",
        "checkout": "Write a slice's files into a folder that remembers them.",
        "conflicts": "List open conflicts, or show a changeset's with their lines.",
        "diff": "Show what a changeset changes.",
        "log": "Show the global history.",
        "rebase": "Move changesets onto the tip, merged.",
        "release": "Let held changesets be committed.",
        "resolve": "Resolve a changeset's conflicts, in an editor or by taking sides.",
        "slice": "Make, change, delete, list and show slices.",
        "status": "Show a changeset, or what is going on.",
        "submit": "Submit a directory, or a range of Git commits, as one changeset.",
        "watch": "Show what becomes of changesets, as it happens.",
    },
    "operator": {
        "backup": "Copy what the bucket has into a folder.",
        "export": "Write everything as a bare Git repository.",
        "gc": "Delete packs that no entry of the log names.",
        "merge": "Ask for a batch merge.",
        "rebuild": "Build the view in Redis anew from the bucket.",
        "restore": "Put a backup into an empty bucket.",
        "settings": "Show every setting, with its unit and default.",
        "verify": "Check the bucket, the log and the view against each other.",
    },
    "local": {
        "contend": "Let many writers change one base at once, and resolve what collides.",
        "demo": "Replay a history on a stack of its own, and show what came of it.",
        "replay": "Land a local Git repository's history, from concurrent writers.",
        "replay-merges": "Merge what a local Git repository merged, and compare with Git.",
        "restart": "Restart what `sluice up` runs, without failing a request.",
        "up": "Run the whole stack on this machine, without Docker.",
    },
}
COMMANDS = {name: text for commands in _FOLDERS.values() for name, text in commands.items()}


def module_of(name: str) -> str:
    """Return the module of the command `name`."""
    folder = next(folder for folder, commands in _FOLDERS.items() if name in commands)
    return f"app.commands.{folder}.{name.replace('-', '_')}"


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
    "--debug", is_flag=True, envvar="SLUICE_DEBUG", help="Show the traceback of an error; also SLUICE_DEBUG=1."
)
def cli(debug: bool) -> None:
    """Land changes from many writers into one large shared code base.

    Start with `sluice up`, or with `sluice demo`. Each command has a --help with an example.
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
