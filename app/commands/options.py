"""Options and output that several commands share."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console

from app.client import Client
from storage import settings

Command = Callable[..., Any]

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
s3_kind = click.option(
    "--s3", type=click.Choice(["auto", "minio", "seaweedfs"]), default="auto", show_default=True,
    help="The S3 server of a stack of its own.",
)  # fmt: skip

console = Console(highlight=False)
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
