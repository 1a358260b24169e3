"""`python -m tests.harness.drills`: run a drill under load; exit 1 if a promise is broken.

It prints figures, and a line of JSON.

Example: python -m tests.harness.drills outage --seconds 10 --s3 seaweedfs
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

from app.stack.servers import find_s3
from app.stack.stack import Stack
from tests.harness.drills import failover, full_redis, killed, outage, restart
from tests.harness.drills.drill import Plan, Report, run
from tests.harness.movable import Movable

_SHOWN = 60


def main(argv: list[str] | None = None) -> int:
    """Run what the command line asks for, and return the exit status."""
    chosen = _arguments().parse_args(argv)
    # So that it stops what it started.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    plan, kind = _plan(chosen)
    with tempfile.TemporaryDirectory(prefix="drill-") as folder:
        at = chosen.keep or Path(folder)
        report = run(chosen.drill, plan, at / "stack", chosen.s3, chosen.seed, chosen.writers, say=_say, kind=kind)
    _show(report)
    print(json.dumps(_to_json(report)), flush=True)
    wrong = [*report.breaches, *report.late, *map(str, report.violations)]
    for text in wrong[:_SHOWN]:
        print(text, file=sys.stderr)
    if wrong:
        print(f"{len(wrong)} promises broken; seed {chosen.seed}", file=sys.stderr)
    return 1 if wrong else 0


def _plan(chosen: argparse.Namespace) -> tuple[Plan, type[Stack]]:
    match chosen.drill:
        case "outage":
            return outage.plan(chosen.seconds), Stack
        case "full-redis":
            return full_redis.plan(chosen.seconds, chosen.changesets), Stack
        case "failover":
            return failover.plan(chosen.rounds), Movable
        case "killed":
            return killed.plan(chosen.rounds), killed.TwoHosts
    return restart.plan(chosen.rounds), restart.WithGateway


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m tests.harness.drills", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    drills = parser.add_subparsers(dest="drill", required=True, metavar="DRILL")
    away = drills.add_parser("outage", help="stop the S3 server under load")
    away.add_argument("--seconds", type=float, default=30.0, help="seconds that it is stopped (default: 30)")
    again = drills.add_parser("restart", help="restart every process under load, one after another")
    again.add_argument("--rounds", type=int, default=1, help="times that each is restarted (default: 1)")
    full = drills.add_parser(
        "full-redis", help="fill Redis under load: its maxmemory is 1 %% of its use, then 20 MB more than its use"
    )
    full.add_argument("--seconds", type=float, default=60.0, help="seconds of each of the two (default: 60)")
    full.add_argument(
        "--changesets", type=int, default=100_000, help="number of changesets that land before (default: 100000)"
    )
    over = drills.add_parser("failover", help="fail Redis over to a replica under load, and back")
    over.add_argument("--rounds", type=int, default=1, help="number of failovers (default: 1)")
    dead = drills.add_parser("killed", help="kill a worker that has the append lock, and its host, under load")
    dead.add_argument("--rounds", type=int, default=1, help="number of deaths of each kind (default: 1)")
    for drill in (away, again, full, over, dead):
        drill.add_argument("--s3", choices=["minio", "seaweedfs"], default=find_s3()[0], help="the S3 server")
        drill.add_argument("--writers", type=int, default=8, help="number of concurrent writers (default: 8)")
        drill.add_argument("--seed", default=secrets.token_hex(4), help="decides what is written (default: random)")
        drill.add_argument("--keep", type=Path, help="keep the stack's data and logs in this folder")
    return parser


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _show(report: Report) -> None:
    print(f"\n{report.drill} on {report.s3}, seed {report.seed}, {report.seconds:.0f} s")
    for what, seconds in report.figures.items():
        print(f"  {what:56}{seconds:10.2f} s")
    print(f"  {'the slowest request':56}{report.slowest:10.2f} s")
    for what, (before, after) in report.memory.items():
        print(f"  {what:56}{before >> 10:10,} KiB, then {after >> 10:,}")
    counts = ", ".join(f"{status or 'none'}: {count}" for status, count in sorted(report.answers.items()))
    print(f"answers by status: {counts}; the stream of events was opened {report.streams} times")
    print("changesets:", ", ".join(f"{count} {outcome}" for outcome, count in report.outcomes.most_common()))
    print(
        f"answers that no client may get: {len(report.breaches)}; lost, twice or wrong: {len(report.violations)}; "
        f"too late: {len(report.late)}\n"
    )


def _to_json(report: Report) -> dict[str, object]:
    return {
        "drill": report.drill,
        "s3": report.s3,
        "seed": report.seed,
        "seconds": round(report.seconds, 1),
        "figures": report.figures,
        "redis_bytes": report.memory,
        "slowest_request": round(report.slowest, 2),
        "answers": {str(status): count for status, count in sorted(report.answers.items())},
        "streams": report.streams,
        "outcomes": dict(report.outcomes),
        "breaches": report.breaches[:_SHOWN],
        "late": report.late,
        "violations": [str(violation) for violation in report.violations],
        "kept": report.kept and not report.late,
    }
