"""`sluice up`: the whole stack on this machine, until Ctrl-C."""

import signal
from pathlib import Path
from queue import SimpleQueue

import click
from rich.panel import Panel
from rich.table import Table

from app.console.options import log_events, stack_folder, writing_to
from app.console.output import notes as console
from app.console.output import tell
from app.stack import restarts
from app.stack.environment import limits, refuse_addresses
from app.stack.servers import S3_KINDS
from app.stack.stack import FLOWER_USER, Stack
from app.stack.state import ROOT_TOKEN

_PORT = click.IntRange(0, 65535)


@click.command("up", short_help="Run the whole stack on this machine.")
@stack_folder("Folder for all data: the bucket, Redis, credentials, logs.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address that API and gateway listen on.")
@click.option("--port", type=_PORT, default=8080, show_default=True, help="Port of the API; 0: any free port.")
@click.option("--git-port", type=_PORT, default=8081, show_default=True, help="Port of the gateway, for Git; 0: any.")
@click.option("--flower/--no-flower", default=True, show_default=True, help="Run Flower, on the loopback interface.")
@click.option("--flower-port", type=_PORT, default=5555, show_default=True, help="Port of Flower; 0: any free port.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=None,
    help="Number of processes that commit. Default: SLUICE_COMMIT_WORKERS, or 2.",
)
@click.option(
    "--s3",
    type=click.Choice(["auto", *S3_KINDS]),
    default="auto",
    show_default=True,
    help="S3 server; auto: MinIO if it is on PATH, else SeaweedFS.",
)
def command(
    data: Path, host: str, port: int, git_port: int, flower: bool, flower_port: int, workers: int | None, s3: str
) -> None:
    """Run Redis, an S3 server, the API, the gateway, workers, beat and Flower on this machine, without Docker.

    Ctrl-C or SIGTERM stops everything. The data folder keeps all data until the next start. `sluice restart` restarts
    the processes without failing a request.

    SLUICE_* variables apply; those with a server's address are an error, since this command runs its own servers.

    Example: SLUICE_MAX_QUEUED=1000 sluice up --port 8090
    """
    log_events(process="up")
    # SIGTERM is like Ctrl-C: it also ends a start that is still under way, and what runs by then is stopped below.
    # A shell that starts this in the background has SIGINT ignored, which is not what whoever sends one wants.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    refuse_addresses(data)
    chosen = limits() | ({"commit_workers": workers} if workers else {})
    stack = Stack(
        data, chosen, s3=s3, host=host, api_port=port, flower_port=flower_port, with_flower=flower, with_tokens=True,
        with_webhooks=True, with_gateway=True, git_port=git_port,
    )  # fmt: skip
    asked: SimpleQueue[int] = SimpleQueue()  # one that a handler may put into, whatever it interrupts
    signal.signal(restarts.SIGNAL, lambda number, frame: asked.put(number))
    try:
        with console.status("Starting…"), writing_to(data):
            stack.start()
        log_events(stack.settings, "up")
        restarts.offer(data)
        console.print(_panel(stack, flower))
        while asked.get():
            restarts.serve(stack, tell)
    except KeyboardInterrupt:
        console.print("Stopping…")
    finally:
        stack.stop()


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _panel(stack: Stack, flower: bool) -> Panel:
    """The addresses, and what to try first."""
    rows = Table.grid(padding=(0, 2))
    rows.add_row("[bold]API[/]", f"[link={stack.url}]{stack.url}[/link]")
    rows.add_row("[bold]Git[/]", f"{stack.git_url}/git/SLICE.git, or `sluice clone SLICE`")
    if flower:
        password = stack.flower_password if stack.fresh else f"in {stack.data / 'stack.json'}"
        rows.add_row("[bold]Flower[/]", f"[link={stack.flower_url}]{stack.flower_url}[/link]")
        rows.add_row("", f"user [cyan]{FLOWER_USER}[/], password [cyan]{password}[/]")
    rows.add_row("[bold]S3[/]", f"{stack.settings.endpoints[0]} ({stack.s3_kind})")
    rows.add_row(
        "[bold]Redis[/]", f"{_without_password(stack.settings.redis_url)}, password in {stack.data / 'environment'}"
    )
    rows.add_row("[bold]Data[/]", f"{stack.data}, logs in {stack.data / 'logs'}")
    token = stack.data / ROOT_TOKEN
    rows.add_row("[bold]Token[/]", f"{token}: may do everything; commands run in {stack.data.parent} use it")
    rows.add_row("", "")
    rows.add_row("[bold]Try[/]", f"sluice whoami --url {stack.url}")
    return Panel(rows, title="Sluice is up", subtitle="Ctrl-C stops everything", border_style="green", expand=False)
