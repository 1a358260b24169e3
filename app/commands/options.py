"""Options and output that several commands share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from app.client import Client
from app.stack.state import load_environment
from storage import settings
from storage.settings import Settings

Command = Callable[..., Any]

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
s3_kind = click.option(
    "--s3", type=click.Choice(["auto", "minio", "seaweedfs"]), default="auto", show_default=True,
    help="The S3 server of a stack of its own.",
)  # fmt: skip

console = Console(highlight=False)
data_folder = click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), default=None,
    help="Folder of a stack that `sluice up` runs. Default: the SLUICE_* environment, or .sluice without one.",
)  # fmt: skip

# What is not the answer itself: progress and notes.
notes = Console(stderr=True, highlight=False)


def url(command: Command) -> Command:
    """Add --url, and hand the command a Client as `client`."""

    @click.option("--url", default=None, help="Address of the API. Default: SLUICE_API_URL, or http://127.0.0.1:8080.")
    def called(url: str | None, **arguments: Any) -> Any:
        return command(client=Client(url or settings.load().api_url), **arguments)

    called.__doc__ = command.__doc__
    called.__name__ = command.__name__
    # Options that were declared below this one stand on the inner function.
    called.__click_params__ = getattr(command, "__click_params__", []) + called.__click_params__  # type: ignore[attr-defined]
    return called


def emit(value: Any) -> None:
    """Print a value as one line of JSON."""
    click.echo(json.dumps(value, ensure_ascii=False))


def deployment(data: Path | None) -> Settings:
    """Return the settings of the deployment that an operator's command is about.

    Raises SettingsError.
    """
    known = load_environment(data or Path(".sluice")) if data or "SLUICE_S3_ACCESS_KEY" not in os.environ else {}
    if data and not known:
        raise click.BadParameter(f"no stack has run on {data}", param_hint="--data")
    return settings.load({**os.environ, **known})
