"""Progress bars, shown only on a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich import progress
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn

from app.console.output import json_asked, notes
from storage.base.progress import Progress


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Show bars of what is done in which stage, on a terminal alone, as long as this context."""
    columns = (TextColumn("{task.description:8}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    hidden = not notes.on_terminal or json_asked()
    tasks: dict[str, TaskID] = {}
    with progress.Progress(*columns, console=notes, disable=hidden, transient=True) as bars:

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield show
