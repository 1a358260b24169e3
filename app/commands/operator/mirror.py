"""`sluice mirror`: Git servers to which what lands is pushed, or from which commits are taken."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from app.client import mirror_calls
from app.client.api_client import Client, Json, ProblemError, Unreachable
from app.console import exit_codes
from app.console.changesets import await_final
from app.console.options import SECONDS, as_json, console, emit, emit_or_show, end, notes, tell, url
from app.follow.follower import Follower, Stopped
from app.follow.upstream import Upstream
from storage.base import settings
from storage.mirrors.remote import RemoteFailed

_PATIENCE = 60.0  # seconds that one changeset is waited for before the mirror is told to be at work
_LASTING = (401, 403, 404)


@click.group()
def command() -> None:
    """Make, show and delete mirrors: branches of other Git servers, pushed to or followed.

    What lands is pushed fast-forward only, and never forced; a branch that has other commits stops its mirror.
    Credentials stand in the file of the setting mirror_credentials.

    Example: sluice mirror add github https://github.com/team/code.git
    """


@command.command()
@click.argument("name")
@click.argument("target", metavar="URL")
@click.option("--ref", default="refs/heads/main", show_default=True, help="The branch there.")
@click.option(
    "--direction", type=click.Choice(["out", "in"]), default="out", show_default=True,
    help="out: what lands is pushed there; in: its commits are taken, by `sluice mirror follow`.",
)  # fmt: skip
@click.option("--slice", "slice_name", default=None, help="Push its history, or take the commits into it.")
@click.option("--start", default=None, help="With in: the commit there whose files are here already.")
@url
@as_json
def add(
    client: Client, name: str, target: str, ref: str, direction: str, slice_name: str | None, start: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Make a mirror NAME of the branch at URL, which must not have a password in it.

    Example: sluice mirror add github https://github.com/team/code.git --ref refs/heads/main
    """
    wanted = {"direction": direction, "slice": slice_name, "start": start}
    given = {key: value for key, value in wanted.items() if value is not None}
    emit_or_show(as_json, mirror_calls.create(client, name, target, ref, **given), _show)


@command.command("list")
@url
@as_json
def list_(client: Client, as_json: bool) -> None:
    """List all mirrors, and how they stand. With --json, one line for each.

    Example: sluice mirror list
    """
    for mirror in mirror_calls.listing(client):
        emit_or_show(as_json, mirror, _show)


@command.command()
@click.argument("name")
@url
@as_json
def status(client: Client, name: str, as_json: bool) -> None:
    """Show the mirror NAME: what it is at, how far behind, and what is wrong. The exit code is 1 where it is stopped.

    Example: sluice mirror status github
    """
    mirror = mirror_calls.show(client, name)
    emit_or_show(as_json, mirror, _show_all)
    if mirror["stopped"]:
        end(exit_codes.WRONG)


@command.command()
@click.argument("name")
@url
@as_json
def remove(client: Client, name: str, as_json: bool) -> None:
    """Delete the mirror NAME; its branch stays as it is.

    Example: sluice mirror remove github
    """
    mirror_calls.delete(client, name)
    if as_json:
        emit({"name": name, "deleted": True})
    else:
        notes.print(f"deleted {name}")


@command.command()
@click.argument("name")
@click.option("--reason", "detail", default="", help="Why, for others.")
@url
@as_json
def stop(client: Client, name: str, detail: str, as_json: bool) -> None:
    """Stop the mirror NAME until it is resumed.

    Example: sluice mirror stop github --reason "the host is being moved"
    """
    emit_or_show(as_json, mirror_calls.stop(client, name, reason="asked", detail=detail), _show)


@command.command()
@click.argument("name")
@url
@as_json
def resume(client: Client, name: str, as_json: bool) -> None:
    """Let the mirror NAME go on: it looks at its server at once, and stops again if nothing was mended there.

    Example: sluice mirror resume github
    """
    emit_or_show(as_json, mirror_calls.resume(client, name), _show)


@command.command()
@click.argument("name")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default=None,
              help="Where what is fetched is kept. Default: .sluice-mirror-NAME.")  # fmt: skip
@click.option("--every", type=SECONDS, default=30.0, show_default=True, help="Time between two looks.")
@click.option("--once", is_flag=True, help="Take what is there now, and end.")
@url
@as_json
def follow(client: Client, name: str, folder: Path | None, every: float, once: bool, as_json: bool) -> None:
    """Take the commits of the mirror NAME, which has the direction in, as changesets, until it is interrupted.

    The token needs the role writer in the slice, and `impersonate` where authors are restricted; that of the principal
    mirror:NAME may also tell how the mirror stands, as may an admin's. A conflict stops the mirror: resolve it, then
    `sluice mirror resume NAME`. With --once the exit code is 1 where the mirror is stopped.

    Example: SLUICE_TOKEN_FILE=token sluice mirror follow upstream --folder /var/lib/sluice/upstream
    """
    following = _Following(client, name, folder or Path(f".sluice-mirror-{name}"))
    if once:
        taken = following.take()
        if taken is None:
            end(exit_codes.WRONG)
        elif as_json:
            emit({"name": name, "taken": taken})
        else:
            notes.print(f"{taken} commits taken")
        return
    while True:
        try:
            taken = following.take()
            if as_json and taken:
                emit({"name": name, "taken": taken})
        except (RemoteFailed, Unreachable, ProblemError) as error:
            if isinstance(error, ProblemError) and error.status in _LASTING:
                raise
            following.say(str(error))
        time.sleep(every)


class _Following:
    """What `sluice mirror follow` repeats."""

    def __init__(self, client: Client, name: str, folder: Path) -> None:
        self._client = client
        self._name = name
        self._folder = folder
        self._settings = settings.load()
        self._last = ""

    def say(self, text: str) -> None:
        """Say something, once while it stays the same."""
        if text != self._last:
            tell(text)
        self._last = text

    def take(self) -> int | None:
        """Take what is new, and return how many commits that were; None where the mirror is stopped.

        Raises RemoteFailed, ProblemError and Unreachable.
        """
        mirror = mirror_calls.show(self._client, self._name)
        if mirror["direction"] != "in":
            raise click.UsageError(f"{self._name} is a mirror to which what lands is pushed")
        try:
            if mirror["stopped"]:
                raise Stopped(f"{self._name} is stopped ({mirror['stopped']}): {mirror['detail'] or ''}")
            upstream = Upstream(self._settings, mirror["url"], mirror["ref"], self._folder)
            return Follower(self._client, mirror, upstream, self._wait, self.say).take()
        except Stopped as error:
            self.say(str(error))
            return None

    def _wait(self, changeset: str) -> Json:
        return await_final(self._client, changeset, "committed", _PATIENCE)


def _show(mirror: Json) -> None:
    arrow = "->" if mirror["direction"] == "out" else "<-"
    line = Text.assemble((mirror["name"], "cyan"), f" {arrow} ", (mirror["url"], "bold"), f" {mirror['ref']}")
    if mirror["slice"]:
        line.append(f"  slice {mirror['slice']}")
    line.append(f"  {_state(mirror)}", "red" if mirror["state"] in {"stopped", "failing", "silent"} else "")
    console.print(line, soft_wrap=True)


def _state(mirror: Json) -> str:
    if mirror["stopped"]:
        return f"stopped ({mirror['stopped']})"
    behind: dict[str, Any] = mirror["behind"]
    lag = f"{behind['commits']} commits, {behind['seconds']:.0f} s behind"
    if mirror["state"] == "failing":
        return f"failing ({mirror['error']}), {mirror['tries']} tries, {lag}"
    return lag if mirror["state"] == "behind" else str(mirror["state"])


def _show_all(mirror: Json) -> None:
    _show(mirror)
    rows = {
        "there": mirror["remote"], "here": mirror["local"], "answered": mirror["looked_at"],
        "pushed": mirror["pushed_at"], "stopped at": mirror["stopped_at"],
        "why": mirror["detail"] or mirror["error_detail"], "next try": mirror["next_try_at"],
        "other tags": mirror["other_tags"] or None, "refused tags": mirror["refused_tags"] or None,
        "why refused": mirror["refused_tags_detail"],
    }  # fmt: skip
    for what, value in rows.items():
        if value is not None:
            console.print(Text(f"  {what}: {value}"), soft_wrap=True)
