"""The output of commands: for a person on a terminal, in whole lines through a pipe, and as JSON with --json.

With --json every line on standard output is an object of the answer, and every line on standard error is a problem
document or `{"note": …}`.
"""

import json
import re
import sys
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console, ConsoleDimensions
from rich.text import Text

from app.client.byte_paths import in_base64, is_utf8

_JSON = "sluice.json"
# Columns where there is no terminal that has any: enough that nothing is cut.
_WIDE = 1 << 20
# The spaces that pad a column at the end of a line, and the colours behind them (with FORCE_COLOR).
_PADDING = re.compile(r"(?<! ) +((?:\x1b\[[0-9;]*m)*)$", re.MULTILINE)


class Output(Console):
    """A stream to print on. If it is no terminal nothing is cut or wrapped, whatever COLUMNS or FORCE_COLOR are."""

    @property
    def size(self) -> ConsoleDimensions:
        """The terminal's size."""
        return super().size if self.on_terminal else ConsoleDimensions(_WIDE, 25)

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        self._width, self._height = new_size

    @property
    def on_terminal(self) -> bool:
        """Whether a person looks at it."""
        return self.file.isatty()

    def print(self, *objects: Any, **options: Any) -> None:
        """Print; text exactly as it is where there is no terminal: tabs and control characters of paths too."""
        if len(objects) == 1 and isinstance(objects[0], Text) and not self.on_terminal:
            click.echo(objects[0].plain, file=self.file)
            return
        if self.on_terminal:
            super().print(*objects, **options)
            return
        with self.capture() as captured:
            super().print(*objects, **options)
        click.echo(_PADDING.sub(r"\1", captured.get()), file=self.file, nl=False)


class Notes(Output):
    """Standard error: notes beside the answer, as objects with --json."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print a note."""
        if not json_asked():
            super().print(*objects, **options)
            return
        markup = options.get("markup", True)
        parts = [Text.from_markup(item, emoji=False).plain if isinstance(item, str) and markup else str(item)
                for item in objects]  # fmt: skip
        click.echo(_line({"note": " ".join(parts).strip()}), err=True)


console = Output(highlight=False, emoji=False)
notes = Notes(stderr=True, highlight=False, emoji=False)


def warn(text: str) -> None:
    """Print a warning: what was done is probably not what was meant."""
    notes.print(Text.assemble(("warning:", "bold yellow"), f" {text}"), soft_wrap=True)


def tell(text: str, style: str = "") -> None:
    """Print a note without interpreting markup in it."""
    notes.print(Text(text, style), soft_wrap=True)


def emit(value: Any) -> None:
    """Print an object of the answer as one line of JSON."""
    click.echo(_line(value))


def emit_or_show(as_json: bool, value: Any, show: Callable[[Any], object]) -> None:
    """Print an object of the answer: as one line of JSON, or as `show` prints it for a person."""
    if as_json:
        emit(value)
    else:
        show(value)


def ask_for_json(context: click.Context, _option: click.Parameter, value: bool) -> bool:
    """Note whether --json is given; the callback of that option."""
    context.meta[_JSON] = value
    return value


def json_asked() -> bool:
    """Whether the command that runs was given --json."""
    context = click.get_current_context(silent=True)
    return bool(context and context.meta.get(_JSON))


def _line(value: Any) -> str:
    exact = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    text = json.dumps(value, ensure_ascii=not exact)
    if "\\ud" in text or not is_utf8(text):
        return json.dumps(in_base64(value), ensure_ascii=not exact)
    return text
