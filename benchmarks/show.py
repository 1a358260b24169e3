"""The figures of a run as tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

Shown = dict[str, Any]

# Units of figures that compare or count; the others are rates and times.
_COMPARED = ("ratio", "objects", "µs")

# Percentage of the machine that others may use before a part.
QUIET = 10.0
_LOG_WIDTH = 150
_progress = Console(stderr=True)


def say(what: str) -> None:
    """Show what is being done."""
    _progress.print(f"[dim]{what}[/dim]", highlight=False)


def show(report: Shown) -> None:
    """Print the tables of a report."""
    console = Console()
    if not console.is_terminal:  # a log has no width of its own
        console = Console(width=_LOG_WIDTH)
    machine, input_, figures = report["machine"], report["workload"], report["figures"]
    times = Table(title="Loading the view from the bucket alone", title_justify="left")
    for name in ("", "of", "seconds"):
        times.add_column(name)
    for figure in figures:
        if figure["unit"] == "seconds" and not {"clones", "peak_mb"} & figure.keys():
            times.add_row(figure["name"], figure["axis"], f"{figure['value']:.1f}")
    title = f"Landing: {machine['cores']} cores, {input_['files']:,} files, 2 files a changeset"
    for table in (
        _rates(title, [figure for figure in figures if figure["unit"] == "landed/s" and "agents" not in figure]),
        _contention([figure for figure in figures if "agents" in figure]),
        _stages([figure for figure in figures if "latency_ms" in figure and "server" in figure]),
        _ratios([figure for figure in figures if figure["unit"] in _COMPARED]),
        times,
        _clones([figure for figure in figures if "clones" in figure]),
        _imports([figure for figure in figures if "peak_mb" in figure]),
    ):
        if table.row_count:
            console.print(table)
    for part, used in machine["others_percent"].items():
        if used > QUIET:
            console.print(f"Not quiet before {part}: others used {used:g} % of the machine.", style="bold red")
    console.print(
        f"Latencies are p50 / p99 in ms. Input {input_['sha256'][:12]}, seed {input_['seed']}.", highlight=False
    )


def _rates(title: str, figures: Sequence[Shown]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in ("", "how", "landed/s", "lowest-highest", "× push race", "to committed", "to landed", "throttled"):
        table.add_column(name, justify="left" if name in {"", "how"} else "right")
    for figure in figures:
        table.add_row(*_rate_row(figure))
    return table


def _rate_row(figure: Shown) -> list[str]:
    ends = f"{min(figure['rounds']):,.4g}-{max(figure['rounds']):,.4g}" if len(figure["rounds"]) > 1 else ""
    times = f"{figure['times_push_race']:,.0f}" if "times_push_race" in figure else ""
    waits = [figure.get("latency_ms", {}).get(name, {}) for name in ("committed", "landed")]
    shown = [f"{wait['p50']:,.0f} / {wait['p99']:,.0f}" if wait else "" for wait in waits]
    throttled = str(figure.get("waited", ""))
    return [figure["name"], figure["axis"], f"{figure['value']:,.4g}", ends, times, *shown, throttled]


def _imports(figures: Sequence[Shown]) -> Table:
    table = Table(title="Importing a history", title_justify="left")
    for name in ("", "of", "seconds", "peak MB", "source's pack, MB", "in the bucket, MB"):
        table.add_column(name, justify="left" if name in {"", "of"} else "right")
    for figure in figures:
        sizes = [
            f"{figure[name] / 1e6:.1f}" if name in figure else "" for name in ("source_pack_bytes", "bucket_bytes")
        ]
        table.add_row(figure["name"], figure["axis"], f"{figure['value']:.1f}", f"{figure['peak_mb']:,.0f}", *sizes)
    return table


def _contention(figures: Sequence[Shown]) -> Table:
    table = Table(
        title="Contention: agents whose changes are disjoint, or a fifth of them in conflict", title_justify="left"
    )
    for name in ("", "changes", "landed", "attempts a change", "p50 / p99 to landed", "landed/s", "throttled"):
        table.add_column(name, justify="right" if name else "left")
    for figure in figures:
        wait = figure["landed_ms"]
        table.add_row(
            figure["name"],
            f"{figure['changes']:,}",
            f"{100 * figure['landed_share']:.4g} %",
            f"{figure['attempts_a_change']:.2f}",
            f"{wait['p50']:,.0f} / {wait['p99']:,.0f}" if wait else "",
            f"{figure['value']:,.4g}",
            str(figure.get("waited", "")),
        )
    return table


def _clones(figures: Sequence[Shown]) -> Table:
    table = Table(title="Clone stores: on empty disks, and one changeset at a time", title_justify="left")
    for name in ("", "of", "value", "unit", "CPU seconds"):
        table.add_column(name, justify="right" if name == "value" else "left")
    for figure in figures:
        cpu = f"{figure['cpu_seconds']:.2f}" if "cpu_seconds" in figure else ""
        table.add_row(figure["name"], figure["axis"], f"{figure['value']:,.4g}", figure["unit"], cpu)
    return table


def _ratios(figures: Sequence[Shown]) -> Table:
    """Return the table of ratios, with what each should be."""
    table = Table(title="Ratios, each of neighbouring measurements, and counts", title_justify="left")
    for name in ("", "of what", "value", "of each round", "goal"):
        table.add_column(name, justify="right" if name == "value" else "left")
    for figure in figures:
        rounds = " ".join(f"{ratio:.2f}" for ratio in figure["rounds"])
        table.add_row(figure["name"], figure["axis"], f"{figure['value']:.2f}", rounds, goal(figure))
    return table


def goal(figure: Shown) -> str:
    """Return what a figure should be, and whether it is."""
    if "goal" not in figure:
        return ""
    wanted, value = figure["goal"], figure["value"]
    least = figure.get("goal_is") == "at least"
    met = value >= wanted if least else value <= wanted
    floor = f", floor {figure['floor']:g}" if "floor" in figure else ""
    return f"{'≥' if least else '≤'} {wanted:g}{floor}: {'met' if met else 'missed'}"


def _stages(figures: Sequence[Shown]) -> Table:
    """Return the table of stages and CPU times of each phase's last round."""
    table = Table(title="Commit batches: microseconds a changeset, by stage", title_justify="left")
    last = [figure["server"][-1] for figure in figures]
    for name in ("", *[figure["name"] for figure in figures]) if last else ():
        table.add_column(name, justify="right" if name else "left")
    for name in dict.fromkeys(name for phase in last for name in phase["stage_us"]):
        table.add_row(name, *[str(phase["stage_us"].get(name, "")) for phase in last])
    if last:
        table.add_section()
        for name in last[0]["cpu_us"]:
            table.add_row(f"CPU, {name}", *[str(phase["cpu_us"].get(name, "")) for phase in last])
        own = [figure["generator_cpu_us"] for figure in figures]
        table.add_row("CPU, load generator", *[str(spent) for spent in own])
        both = [phase["cpu_us"]["all"] + spent for phase, spent in zip(last, own, strict=True)]
        table.add_row("CPU, all with the generator", *[str(spent) for spent in both])
        table.add_row("changesets a batch", *[str(phase["changesets_a_batch"]) for phase in last])
    return table
