"""`sluice status`: one changeset, or what is going on."""

import click
from rich.table import Table
from rich.text import Text

from app.client.api_client import Client
from app.console import exit_codes
from app.console.changesets import await_final, code_of, show
from app.console.options import SECONDS, as_json, console, emit, emit_or_show, end, url


@click.command()
@click.argument("changeset", required=False)
@click.option("--wait", is_flag=True, help="Wait until the changeset has its outcome.")
@click.option("--until", type=click.Choice(["committed", "landed"]), default="committed", show_default=True,
              help="What --wait waits for. What is committed will land.")  # fmt: skip
@click.option("--timeout", type=SECONDS, default=300.0, show_default=True, help="Longest time that --wait waits.")
@url
@as_json
def command(client: Client, changeset: str | None, wait: bool, until: str, timeout: float, as_json: bool) -> None:
    """Show what became of CHANGESET; without one, the head, what is pending, and the deployment's health.

    The exit code is 3 if the changeset was conflicted, 4 if it was rejected or abandoned, and 5 if --timeout passes
    before its outcome. Without a changeset it is 1 if the deployment is not healthy.

    Example: sluice status 01JG8Y6Z3M4N5P6Q7R8S9T0V1W --wait --until landed
    """
    if changeset is None:
        if wait:
            raise click.UsageError("--wait needs a changeset")
        end(exit_codes.DONE if _overview(client, as_json) else exit_codes.WRONG)
    else:
        answer = await_final(client, changeset, until, timeout) if wait else client.changeset(changeset)
        emit_or_show(as_json, answer, show)
        end(code_of(answer, until if wait else None))


def _overview(client: Client, as_json: bool) -> bool:
    """Show the head and the health; return whether all is well."""
    head = client.head()
    health = client.health()
    if as_json:
        emit({"url": client.url, "head": head, "health": health})
        return bool(health["healthy"])
    rows = Table.grid(padding=(0, 2))
    rows.add_row("api", client.url)
    rows.add_row("main", f"{head['main']['commit']} (entry {head['main']['seq']})")
    rows.add_row("tip", f"{head['tip']['commit']} (entry {head['tip']['seq']})")
    rows.add_row("pending", f"{head['pending']} committed and not landed")
    for name, check in health["checks"].items():
        mark = ("ok", "green") if check["ok"] else ("NOT OK", "bold red")
        rows.add_row(name.replace("_", " "), Text.assemble(mark, f" {check['detail']}"))
    rows.add_row("healthy", Text("yes", "bold green") if health["healthy"] else Text("no", "bold red"))
    console.print(rows)
    return bool(health["healthy"])
