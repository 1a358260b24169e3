"""`sluice slice`: making, changing, deleting, listing and showing slices."""

from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import click
from rich.table import Column, Table
from rich.text import Text

from app.client.api_client import Client, Json, ProblemError, Unreachable
from app.console.options import as_json, console, emit, emit_or_show, url, warn
from app.console.slices_of_file import create_many, read_slices

_COUNTED = ("held", "queued", "conflicted")


@click.group()
def command() -> None:
    """Create, change, delete, list and show slices: the named sets of paths that writers submit against.

    Example: sluice slice create web web/ README.md
    """


@command.command()
@click.argument("name", required=False)
@click.argument("paths", nargs=-1)
@click.option(
    "--from",
    "source",
    type=click.File("rb"),
    metavar="FILE",
    help="Create the slices of FILE: a JSON object with name and paths a line; - is standard input.",
)
@url
@as_json
def create(
    client: Client, name: str | None, paths: tuple[str, ...], source: BinaryIO | None, as_json: bool
) -> None:  # fmt: skip
    """Create the slice NAME of PATHS, or the slices of a file.

    A path is a directory with a slash at the end, a single file, or / for everything. Slices may overlap. It warns of
    likely mistakes: a directory without its slash, a file with one, or a pattern.

    FILE is what `sluice slice list --json` prints. A slice that exists with the same paths stays as it is, so the
    command can be repeated; one that is refused does not hinder the others. With --json, one line for each.

    \b
    Example: sluice slice create web web/ README.md
             sluice slice create --from slices.jsonl
    """  # noqa: D301 - click takes the character itself
    if source is not None:
        if name is not None:
            raise click.UsageError("give either NAME and PATHS or --from")
        create_many(client, read_slices(source), as_json)
        return
    if name is None or not paths:
        raise click.UsageError("give NAME and PATHS, or --from FILE")
    made = client.create_slice(name, list(paths))
    _warn(client, paths)
    _answer(as_json, made, "made", made["name"], f" ({made['id']})")


@command.command()
@click.argument("name")
@click.option("--path", "paths", multiple=True, required=True, help="A path of the new definition; repeatable.")
@click.option("--version", type=click.IntRange(1), help="Only if the slice still has this version.")
@url
@as_json
def change(client: Client, name: str, paths: tuple[str, ...], version: int | None, as_json: bool) -> None:
    """Replace the paths of the slice NAME (a name or an id).

    Queued changesets are decided by the definition of that moment: one with a path outside of it is rejected.

    Example: sluice slice change web --path web/ --path README.md
    """
    changed = client.change_slice(name, list(paths), version)
    _warn(client, paths)
    _answer(as_json, changed, "changed", changed["name"], f", now version {changed['version']}")


@command.command()
@click.argument("name")
@click.option("--version", type=click.IntRange(1), help="Only if the slice still has this version.")
@url
@as_json
def delete(client: Client, name: str, version: int | None, as_json: bool) -> None:
    """Delete the slice NAME (a name or an id). Its files stay; changesets that are queued in it are rejected.

    Example: sluice slice delete web
    """
    client.delete_slice(name, version)
    _answer(as_json, {"deleted": name}, "deleted", name)


def _answer(as_json: bool, value: Json, done: str, name: str, more: str = "") -> None:
    text = Text.assemble(f"{done} slice ", (name, "bold"), more)
    emit_or_show(as_json, value, lambda _: console.print(text))


@command.command("list")
@click.option("--path", help="Only the slices that cover this path.")
@url
@as_json
def list_slices(client: Client, path: str | None, as_json: bool) -> None:
    """List the slices. With --json, one line for each.

    Example: sluice slice list --path web/hello.txt
    """
    slices = list(client.slices(path))
    if as_json:
        for slice_ in slices:
            emit(slice_)
        return
    table = Table("name", "paths", Column("id", no_wrap=True), box=None, pad_edge=False)
    for slice_ in slices:
        paths = slice_["paths"]
        more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        table.add_row(Text(slice_["name"], "bold"), Text(", ".join(paths[:3]) + more), slice_["id"])
    console.print(table if slices else "no slices yet: sluice slice create --help" if path is None else "none")


@command.command()
@click.argument("name")
@click.option("--files", is_flag=True, help="Also list its files at the global head.")
@url
@as_json
def show(client: Client, name: str, files: bool, as_json: bool) -> None:
    """Show the slice NAME (a name or an id): its paths, and how many changesets wait.

    Example: sluice slice show web --files
    """
    slice_: Json = client.slice(name)
    counts = {status: sum(1 for _ in client.changesets(slice_["id"], status)) for status in _COUNTED}
    tree = list(client.tree(slice_["id"])) if files else []
    if as_json:
        emit(slice_ | counts | ({"files": tree} if files else {}))
        return
    rows = Table.grid(padding=(0, 2))
    rows.add_row("name", Text(slice_["name"], "bold"))
    rows.add_row("id", slice_["id"])
    rows.add_row("paths", Text("\n".join(slice_["paths"])))
    for status, count in counts.items():
        rows.add_row(status, str(count))
    console.print(rows)
    for file in tree:
        console.print(Text(f"{file['mode']} {file['id'][:12]} {file['path']}"), soft_wrap=True)


def _warn(client: Client, paths: tuple[str, ...]) -> None:
    """Warn of paths that stand for something else than they look like."""
    for path in paths:
        # The slice is made; that a path cannot be looked up is no reason to fail.
        with suppress(ProblemError, Unreachable):
            _warn_of(client, path)


def _warn_of(client: Client, path: str) -> None:
    bare = path.rstrip("/")
    if "*" in path or "?" in path:
        warn(f"{path} is taken as it stands: a path is a directory (with a slash at the end) or a file, and no pattern")
    elif path.endswith("/") and bare and _file_stands(client, bare):
        warn(f"{path} is a directory, and {bare} is a file: without the slash it is the file")
    elif not path.endswith("/") and (Path(path).is_dir() or _directory_stands(client, path)):
        warn(f"{path} is one file, and a directory stands there: {path}/ is the directory")


def _directory_stands(client: Client, path: str) -> bool:
    """Whether the repository has files below a path, as far as there is a slice that covers them."""
    return any(client.has_files(covering["id"], f"{path}/") for covering in islice(client.slices(f"{path}/x"), 1))


def _file_stands(client: Client, path: str) -> bool:
    return any(client.has_file(covering["id"], path) for covering in islice(client.slices(path), 1))
