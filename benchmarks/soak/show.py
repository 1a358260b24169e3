"""A soak's report as tables, for people."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from benchmarks.soak.slopes import Flatness
from benchmarks.soak.verdict import Line, Report

_LOG_WIDTH = 150
_MOST_KINDS = 20
_MIB = 1 << 20


def show(report: Report) -> None:
    """Print what was judged, and what it cost."""
    console = Console()
    if not console.is_terminal:  # a log has no width of its own
        console = Console(width=_LOG_WIDTH)
    title = f"{report.minutes:g} minutes judged, {report.landed:,} changesets landed in them"
    judged = _table(title, ("", "level", "an hour", "95 % interval", "verdict", ""))
    for line in report.lines:
        style = "bold red" if line.verdict in {Flatness.GROWS, Flatness.UNCLEAR} else ""
        judged.add_row(line.name, *_figures(line), line.verdict, line.note, style=style)
    console.print(judged)
    if report.kinds:
        kinds = _table("Keys in Redis that grew", ("", "keys", "MiB", "keys a changeset", "bytes a changeset"))
        for kind, figures in list(report.kinds.items())[:_MOST_KINDS]:
            if figures["bytes_a_changeset"] <= 0:
                break
            size = f"{figures['bytes'] / _MIB:.2f}"
            kinds.add_row(
                kind, f"{figures['keys']:,}", size, f"{figures['keys_a_changeset']}", f"{figures['bytes_a_changeset']}"
            )
        console.print(kinds)
    if report.folders:
        folders = _table("The bucket", ("", "objects", "MiB", "objects a changeset", "bytes a changeset"))
        for folder, figures in report.folders.items():
            size = f"{figures['bytes'] / _MIB:.2f}"
            counts = (f"{figures['objects_a_changeset']}", f"{figures['bytes_a_changeset']}")
            folders.add_row(folder, f"{figures['objects']:,}", size, *counts)
        console.print(folders)
    if report.stored is not None:
        console.print(f"{report.stored:g} bytes in the bucket for each byte submitted", highlight=False)
    for number, third in enumerate(report.latency, 1):
        latencies = [f"{name} {figures['p50']:g} / {figures['p99']:g}" for name, figures in third.items() if figures]
        console.print(f"third {number}: p50 / p99 in ms: {', '.join(latencies)}", highlight=False)
    console.print(
        f"load: {report.load.get('counts', {})}, pace lost {report.load.get('lost', 0):.1f} s", highlight=False
    )


def _table(title: str, names: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    for i, name in enumerate(names):
        table.add_column(name, justify="right" if name and i else "left")
    return table


def _figures(line: Line) -> tuple[str, str, str]:
    scale, digits = (_MIB, 2) if line.unit == "bytes" else (1, 1)
    unit = " MiB" if line.unit == "bytes" else ""
    level = f"{line.level / scale:,.{digits}f}{unit}"
    if line.per_hour is None or line.low is None or line.high is None:
        return level, "", ""
    ends = f"{line.low / scale:+,.{digits}f} … {line.high / scale:+,.{digits}f}"
    return level, f"{line.per_hour / scale:+,.{digits}f}{unit}", ends
