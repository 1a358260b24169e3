"""`python -m tests.harness`: break a stack under load for some minutes; exit 1 if a promise is broken.

A round is a fresh stack, on which every fault strikes alone and in pairs. Rounds take turns between the S3 servers.
Each prints its seed: with that, and the same server, it can be run again alone. At the end there are tables, and a line
of JSON.

Example: python -m tests.harness --minutes 2 --s3 seaweedfs --nemesis kill-redis flush
"""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import sys
import tempfile
import time
from pathlib import Path

import structlog

from tests.harness import rounds
from tests.harness.nemeses import NEMESES
from tests.harness.report import Report, markdown
from tests.support.servers import find

_ROUND_MINUTES = 4.0
_SHOWN = 60


def main(argv: list[str] | None = None) -> int:
    """Run what the command line asks for, and return the exit status."""
    chosen = _arguments().parse_args(argv)
    # So that it stops what it started, and unmounts the disks.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    # What the stack says of its processes; the tables have standard output for themselves.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    reports = {s3: Report(s3) for s3 in _servers(chosen.s3)}
    until = time.monotonic() + 60 * chosen.minutes
    seed, _, first = chosen.seed.partition("/")
    number = int(first or 0)
    while time.monotonic() < until and not any(report.violations for report in reports.values()):
        s3 = list(reports)[number % len(reports)]
        options = _options(chosen, "nemesis", "writers", "guests", "pushers")
        again = f"--minutes {_ROUND_MINUTES:g} --seed {seed}/{number} --s3 {s3} {options}".strip()
        _say(f"a round on {s3}; again alone: {again}")
        reports[s3].add(_round(chosen, s3, seed, number, min(until, time.monotonic() + 60 * _ROUND_MINUTES)))
        number += 1
    return _print_results(chosen, [report for report in reports.values() if report.rounds])


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m tests.harness", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=5.0, help="how long to make faults, in all (default: 5)")
    parser.add_argument(
        "--seed",
        default=secrets.token_hex(4),
        help="decides what is written and broken, in which order; SEED/3 begins with round 3 (default: random)",
    )
    parser.add_argument(
        "--s3",
        choices=["minio", "seaweedfs", "both"],
        default="both",
        help="the S3 server (default: both in turns, if minio is on PATH)",
    )
    parser.add_argument(
        "--nemesis",
        nargs="+",
        choices=sorted(NEMESES),
        metavar="NAME",
        help="faults to make (default: all): " + ", ".join(NEMESES),
    )
    parser.add_argument("--writers", type=int, default=6, help="number of concurrent writers (default: 6)")
    parser.add_argument(
        "--guests", type=int, default=rounds.GUESTS, help="number of those who try what they may not (default: 3)"
    )
    parser.add_argument(
        "--pushers", type=int, default=rounds.PUSHERS, help="number of those who use Git alone (default: 4)"
    )
    parser.add_argument("--keep", type=Path, help="keep the stacks' data and logs in this folder")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="also write the tables of docs/guarantees.md to this file"
    )
    return parser


def _servers(chosen: str) -> list[str]:
    if chosen != "both":
        return [chosen]
    if find("minio"):
        return ["minio", "seaweedfs"]
    print("left out: MinIO: there is no minio on PATH", file=sys.stderr)
    return ["seaweedfs"]


def _round(chosen: argparse.Namespace, s3: str, seed: str, number: int, until: float) -> Report:
    names = chosen.nemesis or list(NEMESES)
    schedule = rounds.singles_and_pairs(names, seed, number, until)
    program = find("minio") if s3 == "minio" else None
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        at = chosen.keep / f"{seed}-{number}" if chosen.keep else Path(folder)
        return rounds.run(
            at, s3, f"{seed}/{number}", names, schedule, find("toxiproxy"), chosen.writers, chosen.guests,
            chosen.pushers, s3_program=program, say=_say,
        )  # fmt: skip


def _print_results(chosen: argparse.Namespace, reports: list[Report]) -> int:
    """Print the results, and return the exit status."""
    table = markdown(reports, _command(chosen))
    print(table)
    if chosen.markdown:
        chosen.markdown.write_text(table)
    print(json.dumps({"seed": chosen.seed, "reports": [report.as_json() for report in reports]}), flush=True)
    for report in reports:
        for name, reason in report.missing.items():
            print(f"left out on {report.s3}: {name}: {reason}", file=sys.stderr)
    violations = [violation for report in reports for violation in report.violations]
    for violation in violations[:_SHOWN]:
        print(violation, file=sys.stderr)
    if violations:
        print(f"{len(violations)} violations", file=sys.stderr)
    return 1 if violations else 0


def _command(chosen: argparse.Namespace) -> str:
    """Return how to do the same again."""
    options = _options(chosen, "s3", "nemesis", "writers", "guests", "pushers")
    again = f"make faults MINUTES={chosen.minutes:g} SEED={chosen.seed}"
    return f'{again} ARGS="{options}"' if options else again


def _options(chosen: argparse.Namespace, *names: str) -> str:
    """Return those of some options that are not the default, as they were given."""
    given = {name: getattr(chosen, name) for name in names if getattr(chosen, name) != _arguments().get_default(name)}
    return " ".join(f"--{name} {' '.join(it) if isinstance(it, list) else it}" for name, it in given.items())


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
