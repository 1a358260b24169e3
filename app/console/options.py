"""Options and output that several commands share."""

import errno
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import click

from app.client.api_client import Client, ProblemError
from app.console import failures
from app.console.output import ask_for_json, console, emit, emit_or_show, json_asked, notes, tell, warn
from app.console.token import find_token, find_url, why_refused
from app.stack.environment import ENVIRONMENT, load_environment
from storage.base import settings
from storage.base.settings import Settings, SettingsError

__all__ = [
    "SECONDS",
    "Command",
    "as_json",
    "ask_to_wait",
    "console",
    "data_folder",
    "deployment",
    "emit",
    "emit_or_show",
    "end",
    "log_events",
    "notes",
    "refuse",
    "s3_kind",
    "stack_folder",
    "tell",
    "url",
    "warn", "writing_to",
]  # fmt: skip

Command = Callable[..., Any]

# What a write is refused with that names no file.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


class _Seconds(click.ParamType):
    """A number of seconds, from zero on."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not seconds >= 0:
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return seconds


SECONDS = _Seconds()

as_json = click.option(
    "--json", "as_json", is_flag=True, callback=ask_for_json, help="Print JSON for scripts: one object per line."
)
s3_kind = click.option(
    "--s3", type=click.Choice(["auto", "minio", "seaweedfs"]), default="auto", show_default=True,
    help="S3 server of a temporary stack; auto: MinIO if it is on PATH, else SeaweedFS.",
)  # fmt: skip
data_folder = click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), default=None,
    help="Data folder of a stack that `sluice up` runs. Default: the SLUICE_* variables; .sluice without them.",
)  # fmt: skip


def stack_folder(help_text: str) -> Callable[[Command], Command]:
    """Add --data, the folder of a stack that `sluice up` runs."""
    folder = click.Path(file_okay=False, path_type=Path)
    return click.option("--data", type=folder, default=Path(".sluice"), show_default=True, help=help_text)


def url(command: Command) -> Command:
    """Add --url, and hand the command a Client as `client`."""

    @click.option(
        "--url", default=None,
        help="Address of the API. Default: SLUICE_API_URL, else the stack that runs on .sluice, else 127.0.0.1:8080.",
    )  # fmt: skip
    def called(url: str | None, **arguments: Any) -> Any:
        known = settings.load()
        address = url or find_url()
        client = Client(address, known.api_patience, token=find_token(address))
        try:
            return command(client=client, **arguments)
        except ProblemError as refusal:
            if refusal.status == HTTPStatus.UNAUTHORIZED:
                refusal.hint = why_refused(address)
            raise

    called.__doc__ = command.__doc__
    called.__name__ = command.__name__
    # Options that were declared below this one stand on the inner function.
    called.__click_params__ = getattr(command, "__click_params__", []) + called.__click_params__  # type: ignore[attr-defined]
    return called


def ask_to_wait(command: Command) -> Command:
    """Add --wait and --timeout."""
    timeout = click.option("--timeout", type=SECONDS, default=300.0, show_default=True,
                           help="Longest time that --wait waits.")  # fmt: skip
    wait = click.option("--wait", is_flag=True, help="Wait until it is committed, conflicted, rejected or abandoned.")
    return wait(timeout(command))


def refuse(changeset: str, refusal: ProblemError) -> int:
    """Tell that one of several changesets was refused, and return the exit code of that."""
    failure = failures.failure(refusal)
    if json_asked():
        click.echo(failures.line({"changeset": changeset, **failure.document}), err=True)
    for number, line in enumerate([] if json_asked() else failure.lines):
        click.echo(
            failures.coloured(line.replace("error:", f"error: {changeset}:", 1) if not number else line), err=True
        )
    return failure.code


@contextmanager
def writing_to(directory: Path) -> Iterator[None]:
    """Add the name of a folder to errors that name no file, as the error for a full disk does not."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            error.filename = error.filename or str(directory)
        raise


def end(*codes: int) -> None:
    """End the command with the largest of its exit codes."""
    code = max(codes, default=0)
    if code:
        raise click.exceptions.Exit(code)


def deployment(data: Path | None) -> Settings:
    """Return the settings of the deployment that an operator's command is about; events go to standard error."""
    folder = data or Path(".sluice")
    known = load_environment(folder) if data or "SLUICE_S3_ACCESS_KEY" not in os.environ else {}
    if data and not known:
        raise click.BadParameter(f"no stack has run on {data}", param_hint="--data")
    try:
        settings.given(known)
    except SettingsError as error:
        raise SettingsError(f"{folder / ENVIRONMENT}: {error}; another version of Sluice may have written the file: "
                            f"`sluice up --data {folder}` writes it anew") from error  # fmt: skip
    chosen = settings.load({**os.environ, **known})
    log_events(chosen)
    return chosen


def log_events(chosen: Settings | None = None, process: str = "sluice") -> None:
    """Send log events to standard error at the level of the settings (default: the environment's), without secrets."""
    from storage.base import logging_setup  # only commands that work on a deployment itself have any

    chosen = chosen or settings.load()
    logging_setup.configure(process, chosen.log_level, chosen.secrets)
