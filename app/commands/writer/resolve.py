"""`sluice resolve`: a changeset's conflicts, in an editor or by taking sides."""

import shlex
from dataclasses import asdict
from pathlib import Path

import click
from rich.text import Text

from app.client.api_client import Client, Json
from app.console import exit_codes
from app.console.changesets import show_line, wait_for_all
from app.console.options import as_json, ask_to_wait, console, emit, emit_or_show, end, tell, url, writing_to
from app.folder.conflict_files import CheckoutError, check_out, clean_up, read_back

_DIRECTORY = click.Path(file_okay=False, path_type=Path)
_TAKE: dict[str, Json] = {"ours": {"take": "ours"}, "theirs": {"take": "theirs"}, "delete": {"delete": True}}


@click.command()
@click.argument("changeset", metavar="ID")
@click.option("--checkout", metavar="DIR", type=_DIRECTORY, help="Write the conflicts to DIR; submit nothing yet.")
@click.option("--force", is_flag=True, help="With --checkout: overwrite existing files.")
@click.option("--from", "origin", metavar="DIR", type=_DIRECTORY, help="Submit the resolved files in DIR.")
@click.option("--allow-markers", is_flag=True, help="With --from: submit files that have conflict markers.")
@click.option("--ours", metavar="PATH", multiple=True, help="Take the head's version of PATH; repeatable.")
@click.option("--theirs", metavar="PATH", multiple=True, help="Take the submitted version of PATH; repeatable.")
@click.option("--delete", metavar="PATH", multiple=True, help="Delete PATH; repeatable.")
@click.option("--all-ours", is_flag=True, help="Take the head's version of every other path in conflict.")
@click.option("--all-theirs", is_flag=True, help="Take the submitted version of every other path in conflict.")
@click.option("-m", "--message", help="The commit message. Default: the changeset's.")
@click.option("--key", help="Idempotency-Key: a repeat with the same key gets the same changeset.")
@ask_to_wait
@url
@as_json
def command(
    client: Client, changeset: str, checkout: Path | None, force: bool, origin: Path | None, allow_markers: bool,
    ours: tuple[str, ...], theirs: tuple[str, ...], delete: tuple[str, ...], all_ours: bool, all_theirs: bool,
    message: str | None, key: str | None, wait: bool, timeout: float, as_json: bool,
) -> None:  # fmt: skip
    """Resolve all conflicts of the changeset ID at once: a new changeset replaces it.

    With --checkout each file in conflict is written to DIR with conflict markers, as by Git. Of a file without common
    lines (binary or deleted), PATH.base, PATH.ours and PATH.theirs are written, if the API has them: rename one of them
    to PATH, or remove all. Edit the files, then submit DIR with --from.

    Ours is the head's version, theirs the submitted one. If the head has moved since, that is merged too, or conflicts
    with the new changeset. With --wait the exit code is that of `sluice status --wait` for the new changeset.

    \b
    Example: sluice resolve 01JG8Y6Z3M4N5P6Q7R8S9T0V1W --checkout fix
             $EDITOR fix/web/hello.txt
             sluice resolve 01JG8Y6Z3M4N5P6Q7R8S9T0V1W --from fix
             sluice resolve 01JG8Y6Z3M4N5P6Q7R8S9T0V1W --wait --ours web/a.js --all-theirs -m "Take the new ones"
    """  # noqa: D301 - click takes the character itself
    sides = _sides({"ours": ours, "theirs": theirs, "delete": delete})
    if all_ours and all_theirs:
        raise click.UsageError("--all-ours does not go with --all-theirs")
    if (force and checkout is None) or (allow_markers and origin is None):
        raise click.UsageError("--force goes with --checkout, and --allow-markers with --from")
    rest = "ours" if all_ours else "theirs" if all_theirs else None
    if checkout is None:
        sides = _resolution(client, changeset, origin, allow_markers, sides, rest)
        made = client.resolve(changeset, sides, message, key)
        if origin is not None:
            clean_up(origin)
        _tell(client, made, timeout if wait else None, as_json)
    elif origin is not None or sides or rest or message is not None or key is not None or wait:
        raise click.UsageError("--checkout submits nothing: it goes with --force alone")
    else:
        _check_out(client, changeset, checkout, force, as_json)


def _resolution(
    client: Client, changeset: str, origin: Path | None, allow_markers: bool, sides: dict[str, Json], rest: str | None
) -> dict[str, Json]:
    """Return what shall stand at each path: what is named counts, then a directory's files, or one side of all."""
    if origin is not None and rest:
        raise click.UsageError(f"--all-{rest} does not go with --from: the files say what is taken")
    if origin is not None:
        return read_back(origin, changeset, allow_markers, sides) | sides
    if rest:
        conflicts = client.changeset(changeset).get("conflicts", [])
        sides = {conflict["path"]: _TAKE[rest] for conflict in conflicts} | sides
        if not sides:
            raise CheckoutError(f"{changeset} has no conflicts")
    if not sides:
        raise click.UsageError("say how: --checkout, --from, --ours, --theirs, --delete, --all-ours or --all-theirs")
    return sides


def _tell(client: Client, made: Json, timeout: float | None, as_json: bool) -> None:
    """Show the new changeset, with a timeout once it is decided."""
    changesets, code = [made], exit_codes.DONE
    if timeout is not None:
        tell(f"made {made['id']}, waiting for it")  # now: nobody else knows the id if this is interrupted
        code = wait_for_all(client, changesets, timeout)
    emit_or_show(as_json, changesets[0], show_line)
    end(code)


def _sides(given: dict[str, tuple[str, ...]]) -> dict[str, Json]:
    """Return the resolution of each path that is named."""
    sides: dict[str, Json] = {}
    for name, paths in given.items():
        for path in paths:
            if path in sides:
                raise click.UsageError(f"{path} is given twice")
            sides[path] = _TAKE[name]
    return sides


def _check_out(client: Client, changeset: str, directory: Path, force: bool, as_json: bool) -> None:
    with writing_to(directory):
        puts = check_out(client, changeset, directory, force)
    if as_json:
        emit({"changeset": changeset, "paths": [asdict(put) for put in puts]})
        return
    for put in puts:
        names = ", ".join(str(directory / name) for name in put.files)
        console.print(Text.assemble((put.path, "bold"), f": {put.kind}: {names or 'nothing to put there'}"),
                      soft_wrap=True)  # fmt: skip
        if put.missing:
            tell(f"  not to be had: {', '.join(put.missing)}; --ours, --theirs and --delete need no file")
    tell(f"then: sluice resolve {changeset} --from {shlex.quote(str(directory))}")
