"""`python -m tests.harness`: rounds of faults for some minutes; a table, one JSON line, and exit 1 on violations."""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import sys
import tempfile
import time
from pathlib import Path

from app.stack.servers import find_s3
from tests.harness import rounds
from tests.harness.nemeses import NEMESES
from tests.harness.rounds import Report
from tests.servers import find

_ROUND_MINUTES = 4.0
_SHOWN = 60


def main(argv: list[str] | None = None) -> int:
    """Run what the command line asks for, and return the exit status."""
    chosen = _arguments().parse_args(argv)
    # So that it stops what it started, and unmounts the disks.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    report = Report(chosen.s3, chosen.seed)
    names = chosen.nemesis or list(NEMESES)
    until = time.monotonic() + 60 * chosen.minutes
    number = 0
    while time.monotonic() < until and not report.violations:
        seed = f"{chosen.seed}/{number}" if number else chosen.seed
        _say(f"round {number + 1}, seed {seed}, on {chosen.s3}")
        report.add(_round(chosen, seed, names, min(until, time.monotonic() + 60 * _ROUND_MINUTES)))
        number += 1
    _show(report)
    print(json.dumps(_to_json(report)), flush=True)
    if report.violations:
        again = f"python -m tests.harness --minutes {chosen.minutes:g} --seed {chosen.seed} --s3 {chosen.s3}"
        for violation in report.violations[:_SHOWN]:
            print(violation, file=sys.stderr)
        print(f"{len(report.violations)} violations; to run it again: {again}", file=sys.stderr)
    return 1 if report.violations else 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tests.harness", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long faults are made (default: 5)")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="what is written and broken, and in which order")
    parser.add_argument("--s3", choices=["minio", "seaweedfs"], default=find_s3()[0], help="the S3 server")
    parser.add_argument("--nemesis", nargs="+", choices=sorted(NEMESES), metavar="NAME", help=", ".join(NEMESES))
    parser.add_argument("--writers", type=int, default=6, help="how many write at once (default: 6)")
    parser.add_argument("--keep", type=Path, help="a folder where the stacks' data and logs are left")
    return parser


def _round(chosen: argparse.Namespace, seed: str, names: list[str], until: float) -> Report:
    schedule = rounds.singles_and_pairs(names, seed, until)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        at = chosen.keep / seed.replace("/", "-") if chosen.keep else Path(folder)
        return rounds.run(at, chosen.s3, seed, names, schedule, find("toxiproxy"), chosen.writers, say=_say)


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _show(report: Report) -> None:
    for name, reason in report.missing.items():
        print(f"left out: {name}: {reason}")
    print(f"{'outcome':24}{'changesets':>12}")
    for name, count in report.outcomes.most_common():
        print(f"{name:24}{count:12}")
    print(f"\n{'fault':24}{'times':>12}{'longest recovery':>20}")
    for name, count in sorted(report.faults.items()):
        print(f"{name:24}{count:12}{report.recoveries[name]:18.1f} s")
    print(f"\n{report.rounds} rounds, {report.seconds:.0f} s, {report.unknown} answers that said nothing\n")


def _to_json(report: Report) -> dict[str, object]:
    return {
        "s3": report.s3,
        "seed": report.seed,
        "rounds": report.rounds,
        "seconds": round(report.seconds, 1),
        "outcomes": dict(report.outcomes),
        "unknown_answers": report.unknown,
        "faults": dict(report.faults),
        "longest_recovery": round(report.longest, 2),
        "missing": report.missing,
        "violations": [str(violation) for violation in report.violations],
    }
