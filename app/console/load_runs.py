"""What the commands share that put load on Sluice: how they stop, what they put it on, and what they end with."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from app.client.api_client import Client, Json
from app.console import exit_codes
from app.console.options import emit_or_show, end, log_events
from app.console.token import find_token

PATIENCE = 120.0  # seconds for which requests are repeated: servers may be killed, and come back


class Report(Protocol):
    """What a run came to."""

    @property
    def ok(self) -> bool:
        """Whether all of it is right."""

    def to_json(self) -> Json:
        """Return what --json prints."""


R = TypeVar("R", bound=Report)


def begin() -> None:
    """Have SIGTERM do what Ctrl-C does, so that a stack is stopped on the way out, and show events."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    log_events()


@contextmanager
def client_of(
    url: str | None, writers: int, s3: str, data: Path | None = None, patience: float = PATIENCE
) -> Iterator[Client]:
    """Yield a client for so many writers, of the API at `url` or of a stack that runs as long as this context."""
    with ExitStack() as opened:
        if url is None:
            from app.stack.environment import limits
            from app.stack.stack import Stack  # what runs a stack is imported only where one is run

            stack = opened.enter_context(
                Stack(data=data, settings=limits(), s3=s3, with_flower=False, with_tokens=True)
            )
            log_events(stack.settings)
            url, token = stack.url, stack.token
        else:
            token = find_token(url)
        yield Client(url, retry_for=patience, connections=writers + 2, token=token)


def finish(report: R, show: Callable[[R], None], as_json: bool) -> None:
    """Print a report, and end the command; the exit code is 1 unless all of it is right."""
    emit_or_show(as_json, report.to_json(), lambda _: show(report))
    if not report.ok:
        end(exit_codes.WRONG)
