"""Changesets on a terminal: waiting for them, and showing them."""

import time
from collections.abc import Callable
from functools import cache

import click
from rich.text import Text

from app.client.api_client import Client, Json, NotSluice, ProblemError
from app.console import exit_codes
from app.console.options import console, emit_or_show, end, refuse, tell

_POLL = 20.0  # of one long poll; the server bounds them
_REFUSED = {"conflicted", "rejected", "abandoned"}
_FINAL = {"committed": {"committed", "landed"} | _REFUSED, "landed": {"landed"} | _REFUSED}
COLOURS = {
    "held": "cyan", "queued": "yellow", "committed": "green", "landed": "bold green",
    "conflicted": "red", "rejected": "red", "abandoned": "red",
}  # fmt: skip


def code_of(changeset: Json, until: str | None) -> int:
    """Return the exit code for a changeset that was waited for (`until` committed or landed) or only looked at."""
    status = changeset["status"]
    if status in _REFUSED or (until and status in _FINAL[until]):
        return exit_codes.of_status(status)
    return exit_codes.TIMED_OUT if until else exit_codes.DONE


def wait_for_all(client: Client, changesets: list[Json], timeout: float) -> int:
    """Replace each changeset in the list by what became of it within `timeout` seconds, and return the exit code.

    A held changeset waits for a release, which may never come: it is left as it is.
    """
    end_of_time = time.monotonic() + timeout
    codes = [exit_codes.DONE]
    for i, changeset in enumerate(changesets):
        if changeset["status"] == "held":
            continue
        changesets[i] = await_final(client, changeset["id"], "committed", max(0.0, end_of_time - time.monotonic()))
        codes.append(code_of(changesets[i], "committed"))
    return max(codes)


def await_final(client: Client, changeset: str, until: str, timeout: float) -> Json:
    """Return a changeset once it has a final answer, or as it is after `timeout` seconds."""
    end = time.monotonic() + timeout
    try:
        while True:
            left = end - time.monotonic()
            answer = client.changeset(changeset, min(_POLL, left) if left > 0 else None, until)
            if not left > 0 or answer["status"] in _FINAL[until]:
                return answer
    except KeyboardInterrupt:
        tell(f"{changeset} is on its way all the same: `sluice status {changeset} --wait` waits for it")
        raise


def show(changeset: Json) -> None:
    """Print a changeset for a person: its status, why, and each conflict."""
    show_line(changeset)
    show_conflicts(changeset)


def show_conflicts(document: Json) -> None:
    """Print each conflict of a changeset, or of one that is only checked."""
    conflicts = document.get("conflicts", [])
    for conflict in conflicts:
        console.print(Text(f"  {format_conflict(conflict)}"), soft_wrap=True)
    if document.get("conflict_count", 0) > len(conflicts):
        console.print(f"  and {document['conflict_count'] - len(conflicts)} more")


def show_line(changeset: Json) -> None:
    """Print a changeset's status, and why, on one line."""
    line = Text.assemble(changeset["id"], " ", (changeset["status"], COLOURS.get(changeset["status"], "")))
    if "position" in changeset:
        line.append(f", {changeset['position']} before it in its slice")
    if changeset.get("eta"):
        line.append(f", about {changeset['eta']['seconds']:.0f} s to go")
    if changeset.get("passed_by", {}).get("count"):
        line.append(f", passed by {changeset['passed_by']['count']} that came later")
    if changeset["status"] == "held":
        line.append(" until its release")
    if "commit" in changeset:
        line.append(f" as {changeset['commit']} (entry {changeset['seq']})")
    if "merged_count" in changeset:
        line.append(f", paths merged: {changeset['merged_count']}")
    if "followed_count" in changeset:
        line.append(f", changes where files had moved to: {changeset['followed_count']}")
    if "resolves" in changeset:
        line.append(f", in the place of {changeset['resolves']}")
    if "closed_by" in changeset:
        by = changeset["closed_by"]
        line.append(f", closed: {by}" if by in {"abandoned", "expired"} else f", closed by {by}")
    if "reason" in changeset:
        line.append(f": {changeset['reason']}: {changeset.get('detail', '')}")
    console.print(line, soft_wrap=True)


def format_conflict(conflict: Json) -> str:
    """Return a path in conflict, its class and its versions, on one line."""
    versions = ", ".join(f"{side} {_version(conflict[side])}" for side in ("base", "head", "submitted"))
    blocker = f", {conflict['blocker']} is in the way" if "blocker" in conflict else ""
    moved = f", in the head it is {conflict['moved']}" if "moved" in conflict else ""
    return f"{conflict['path']}: {conflict['class']} ({versions}{blocker}{moved})"


def _version(version: Json | None) -> str:
    if version is None:
        return "nothing"
    return f"{version['mode'] or 'unknown mode'} {version['id'][:12]}"


def label_of(text: str) -> tuple[str, str]:
    """Return the label that an option --label names."""
    key, equals, value = text.partition("=")
    if not equals or not key or not value:
        raise click.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--label")
    return key, value


def slice_namer(client: Client) -> Callable[[str], str]:
    """Return what gives a slice's name by its id, and the id where it has been deleted; it asks once for each."""

    @cache
    def name_of(slice_id: str) -> str:
        try:
            return str(client.slice(slice_id)["name"])
        except ProblemError as refusal:
            if refusal.status != 404:
                raise
            return slice_id

    return name_of


def make_of_each(
    client: Client, verb: Callable[[str], Json], changesets: tuple[str, ...], wait: bool, timeout: float, as_json: bool
) -> None:
    """Have a new changeset made of each one, wait for them if that is asked, print them, and end with the exit code."""
    made, code = to_each(verb, changesets)
    if wait:
        for changeset in made:  # now: nobody else knows the ids if this is interrupted
            tell(f"made {changeset['id']}, waiting for it")
        code = max(code, wait_for_all(client, made, timeout))
    for changeset in made:
        emit_or_show(as_json, changeset, show_line)
    end(code)


def to_each(verb: Callable[[str], Json], changesets: tuple[str, ...]) -> tuple[list[Json], int]:
    """Do something to each changeset, tell of those that are refused, and go on; return the others and an exit code."""
    done: list[Json] = []
    code = exit_codes.DONE
    for changeset in changesets:
        try:
            done.append(verb(changeset))
        except NotSluice:
            raise
        except ProblemError as refusal:
            code = max(code, refuse(changeset, refusal))
    return done, code
