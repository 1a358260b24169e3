"""`sluice status`: one changeset, or what is going on."""

from __future__ import annotations

import time

import click
from rich.table import Table
from rich.text import Text

from app.client.api_client import Client, Json
from app.console import exit_codes
from app.console.options import SECONDS, as_json, console, emit, end, tell, url

_POLL = 20.0  # of one long poll; the server bounds them
_REFUSED = {"conflicted", "rejected", "abandoned"}
_FINAL = {"committed": {"committed", "landed"} | _REFUSED, "landed": {"landed"} | _REFUSED}
COLOURS = {
    "held": "cyan", "queued": "yellow", "committed": "green", "landed": "bold green",
    "conflicted": "red", "rejected": "red", "abandoned": "red",
}  # fmt: skip


@click.command()
@click.argument("changeset", required=False)
@click.option("--wait", is_flag=True, help="Return once the changeset has a final answer.")
@click.option("--until", type=click.Choice(["committed", "landed"]), default="committed", show_default=True,
              help="What --wait waits for; committed promises that it will land.")  # fmt: skip
@click.option("--timeout", type=SECONDS, default=300.0, show_default=True, help="Seconds that --wait waits at most.")
@url
@as_json
def command(client: Client, changeset: str | None, wait: bool, until: str, timeout: float, as_json: bool) -> None:
    """Show what became of CHANGESET; without one, the head, what is pending and whether the deployment is healthy.

    The exit code is 3 if the changeset was conflicted, 4 if it was rejected or abandoned, and 5 if it has no final
    answer when --wait gives up. It is 1 if the deployment is not healthy.

    Example: sluice status 01JG8Y6Z3M4N5P6Q7R8S9T0V1W --wait --until landed
    """
    if changeset is None:
        if wait:
            raise click.UsageError("--wait needs a changeset")
        end(exit_codes.DONE if _overview(client, as_json) else exit_codes.WRONG)
    else:
        found = await_final(client, changeset, until, timeout) if wait else client.changeset(changeset)
        if as_json:
            emit(found)
        else:
            show(found)
        end(code_of(found, until if wait else None))


def code_of(changeset: Json, until: str | None) -> int:
    """Return the exit code for a changeset that was waited for (`until` committed or landed) or only looked at."""
    status = changeset["status"]
    if status in _REFUSED or (until and status in _FINAL[until]):
        return exit_codes.of_status(status)
    return exit_codes.TIMED_OUT if until else exit_codes.DONE


def wait_for_all(client: Client, changesets: list[Json], timeout: float) -> int:
    """Replace each changeset in the list by what became of it within `timeout` seconds, and return the exit code.

    What is held waits for somebody, and not for time: it is left as it is.
    """
    end_of_time = time.monotonic() + timeout
    codes = [exit_codes.DONE]
    for i, each in enumerate(changesets):
        if each["status"] == "held":
            continue
        changesets[i] = await_final(client, each["id"], "committed", max(0.0, end_of_time - time.monotonic()))
        codes.append(code_of(changesets[i], "committed"))
    return max(codes)


def await_final(client: Client, changeset: str, until: str, timeout: float) -> Json:
    """Return a changeset once it has a final answer, or as it is after `timeout` seconds."""
    end = time.monotonic() + timeout
    try:
        while True:
            left = end - time.monotonic()
            found = client.changeset(changeset, min(_POLL, left) if left > 0 else None, until)
            if not left > 0 or found["status"] in _FINAL[until]:
                return found
    except KeyboardInterrupt:
        tell(f"{changeset} is on its way all the same: `sluice status {changeset} --wait` waits for it")
        raise


def show(changeset: Json) -> None:
    """Print a changeset for a person: its status, why, and each conflict."""
    console.print(told(changeset), soft_wrap=True)
    conflicts = changeset.get("conflicts", [])
    for conflict in conflicts:
        console.print(Text(f"  {told_conflict(conflict)}"), soft_wrap=True)
    if changeset.get("conflict_count", 0) > len(conflicts):
        console.print(f"  and {changeset['conflict_count'] - len(conflicts)} more")


def told(changeset: Json) -> Text:
    """Return a changeset's status, and why, on one line."""
    line = Text.assemble(changeset["id"], " ", (changeset["status"], COLOURS.get(changeset["status"], "")))
    if "position" in changeset:
        line.append(f", {changeset['position']} before it in its slice")
    if changeset["status"] == "held":
        line.append(" until its release")
    if "commit" in changeset:
        line.append(f" as {changeset['commit']} (entry {changeset['seq']})")
    if "merged_count" in changeset:
        line.append(f", paths merged: {changeset['merged_count']}")
    if "resolves" in changeset:
        line.append(f", in the place of {changeset['resolves']}")
    if "closed_by" in changeset:
        by = changeset["closed_by"]
        line.append(f", closed: {by}" if by in {"abandoned", "expired"} else f", closed by {by}")
    if "reason" in changeset:
        line.append(f": {changeset['reason']}: {changeset.get('detail', '')}")
    return line


def told_conflict(conflict: Json) -> str:
    """Return a path in conflict, its class and its versions, on one line."""
    versions = ", ".join(f"{side} {_version(conflict[side])}" for side in ("base", "head", "submitted"))
    blocker = f", {conflict['blocker']} is in the way" if "blocker" in conflict else ""
    return f"{conflict['path']}: {conflict['class']} ({versions}{blocker})"


def _version(version: Json | None) -> str:
    if version is None:
        return "nothing"
    return f"{version['mode'] or 'unknown mode'} {version['id'][:12]}"


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
