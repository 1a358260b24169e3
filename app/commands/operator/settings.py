"""`sluice settings`: every setting, from the same words as docs/configuration.md."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from app.client.api_client import Json
from app.console.options import as_json, console, emit
from storage.base import settings
from storage.base.settings import PREFIX, Settings, SettingsError

_PASSWORD = re.compile(r"(://[^/@\s]*:)[^/@\s]*@")

_PAGE = """\
# Configuration

Sluice reads its settings from environment variables, once, when a process starts. Every process of a deployment gets
the same ones; what is not set has its default. A `SLUICE_` variable that is not in this table is an error, so that a
misspelt limit is not silently no limit. `sluice up` takes them too, but for the addresses of the servers that it starts
itself: those are an error. `sluice settings` shows what is set.

This page is made by `sluice settings --markdown`.

| variable | unit | default | |
|---|---|---|---|
"""


@click.command()
@click.option("--markdown", is_flag=True, help="Print docs/configuration.md.")
@as_json
def command(markdown: bool, as_json: bool) -> None:
    """Show every setting: its variable, unit, default and what it is for.

    Settings are environment variables. Those that are set here to something other than the default are shown beside it
    (but for secrets). The exit code is 2 where a `SLUICE_` variable is set that is no setting, or cannot be read; the
    list is printed all the same. With --json there is one line for each.

    Example: SLUICE_MAX_CHANGES=500 sluice settings
    """
    if markdown:
        click.echo(page(), nl=False)
        return
    # Where what is set here cannot be read, the list is the way out: it is printed all the same.
    wrong = ""
    try:
        here = settings.load()
    except SettingsError as error:
        wrong, here = str(error), Settings()
    _show(_rows(here), as_json)
    if wrong:
        raise click.UsageError(wrong)


def _show(rows: list[Json], as_json: bool) -> None:
    if as_json:
        for row in rows:
            emit(row)
        return
    table = Table("variable", "unit", "default", "what it is for", title="Settings", title_justify="left")
    for row in rows:
        default = Text(_text(row["default"], row["unit"]))
        if row["value"] != row["default"]:
            here = "set, and secret" if row["secret"] else _text(row["value"], row["unit"])
            default.append(f"\nhere: {here}", "bold yellow")
        table.add_row(Text(row["variable"], "cyan"), row["unit"], default, Text(row["about"]))
    console.print(table)


def page() -> str:
    """Return docs/configuration.md."""
    lines = [
        f"| `{row['variable']}` | {row['unit']} | {_code(_text(row['default'], row['unit']))} | {row['about']} |\n"
        for row in _rows(Settings())
    ]
    return _PAGE + "".join(lines)


def _rows(here: Settings) -> list[Json]:
    rows: list[Json] = []
    for field in dataclasses.fields(Settings):
        value: Any = getattr(here, field.name)
        secret = field.metadata["secret"]
        rows.append(
            {
                "name": field.name,
                "variable": PREFIX + field.name.upper(),
                "unit": field.metadata["unit"],
                "default": field.default,
                "value": None if secret and value != field.default else _without_password(value),
                "secret": secret,
                "about": field.metadata["about"],
            }
        )
    return rows


def _without_password(value: Any) -> Any:
    return _PASSWORD.sub(r"\1***@", value) if isinstance(value, str) else value


def _text(value: Any, unit: str) -> str:
    """Return a value as it is written in a variable, and large numbers of bytes once more, for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if unit == "bytes":
        for size, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
            if value >= size and value % size == 0:
                return f"{value} ({value // size} {name})"
    return str(value)


def _code(text: str) -> str:
    number, space, rest = text.partition(" (")
    return f"`{number}`{space}{rest}" if text else "(empty)"
