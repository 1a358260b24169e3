"""What rounds came to: numbers, the same as JSON, and as the text for docs/guarantees.md."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.harness.checker import RULES, Violation

NAMES = {"minio": "MinIO", "seaweedfs": "SeaweedFS"}
# What the rows of the tables mean; `accepted` is their sum.
_OUTCOMES = {
    "landed": "landed",
    "conflicted": "conflicted",
    "rejected": "rejected because their base did not land",
    "duplicate": "rejected as duplicates",
    "poison": "rejected as poison, after three kills while tried alone",
    "not-allowed": "rejected because a right was withdrawn meanwhile",
    "abandoned": "abandoned",
}
_RIGHTS = {
    "policies": "policies set",
    "revoked": "tokens revoked",
    "refused": "requests of guests that were refused (401, 403, 404)",
}
_BY_GIT = {
    "clones": "clones by Git",
    "pushes": "pushes",
    "pushes in conflict": "pushes that were refused for a conflict",
    "pulls": "pulls",
    "commits asked for": "commits that did not land, asked for by their ids",
}
_WIDTH = 130
_LEGEND = (
    "`kill-…`: kill -9. `freeze-…`: SIGSTOP for longer than locks live, then SIGCONT. `stop-at-…`: the same, before or "
    "after that step of a commit batch. `stop-in-…` and `kill-in-…`: SIGSTOP or kill -9, before or after any step or "
    "call of a server in a batch merge, an upkeep, a load of the view, a recovery of the inbox, a checkpoint, a "
    "compaction, a garbage collection, an intake, a release, a push or while a clone store follows the log; what is "
    "killed is the process that does the work, the one that waits for it, or its whole node. `redis-…`, `s3-…`, "
    "`api-…`: toxiproxy, on the link of one process or of all, to Redis and S3, and between the writers and the API. "
    "`clock-…`: libfaketime, by 5 seconds to an hour. "
    "`full-redis`: a maxmemory of 1 %, 90 % or 102 % of what is used. `failover`: a replica is promoted and the "
    "primary demoted, and later back. `git-…`: toxiproxy between pushers and the gateway. `lose-clones`: the gateway's "
    "clone stores are deleted while it works. `gateway-disk-full`: there is no room for them, nor for what is pushed."
)
HEADING = "## What it was tested against"


@dataclass(slots=True)
class Report:
    """What a round, or several on one kind of S3 server, came to."""

    s3: str
    rounds: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)  # of submissions, by what became of them; see checker
    rights: Counter[str] = field(default_factory=Counter)  # policies set, tokens revoked, requests refused for a right
    by_git: Counter[str] = field(default_factory=Counter)  # what pushers did
    unknown: int = 0  # requests whose result no answer has
    faults: Counter[str] = field(default_factory=Counter)
    points: dict[str, Counter[str]] = field(default_factory=dict)  # of a fault: where it struck, where it has a choice
    missed: Counter[str] = field(default_factory=Counter)  # strikes that found nothing to break at the moment
    recoveries: dict[str, float] = field(default_factory=dict)  # the longest, by fault
    missing: dict[str, str] = field(default_factory=dict)  # faults that cannot be made here, and why
    violations: list[Violation] = field(default_factory=list)

    def struck(self, fault: str, point: str | None) -> None:
        """Count a strike; None: nothing could be broken."""
        if point is None:
            self.missed[fault] += 1
            return
        self.faults[fault] += 1
        if point:
            self.points.setdefault(fault, Counter())[point] += 1

    def recovered(self, fault: str, seconds: float) -> None:
        """Note a recovery."""
        self.recoveries[fault] = max(seconds, self.recoveries.get(fault, 0.0))

    def add(self, other: Report) -> None:
        """Add another round's."""
        self.rounds += other.rounds
        self.seconds += other.seconds
        self.outcomes += other.outcomes
        self.rights += other.rights
        self.by_git += other.by_git
        self.unknown += other.unknown
        self.faults += other.faults
        self.missed += other.missed
        for fault, points in other.points.items():
            self.points.setdefault(fault, Counter()).update(points)
        for fault, seconds in other.recoveries.items():
            self.recovered(fault, seconds)
        self.missing |= other.missing
        self.violations += other.violations

    @property
    def accepted(self) -> int:
        """Changesets that were answered 202."""
        return sum(self.outcomes.values()) - self.outcomes["unknown"] - self.outcomes["refused"]

    @property
    def longest(self) -> float:
        """The longest recovery."""
        return max(self.recoveries.values(), default=0.0)

    def as_json(self) -> dict[str, object]:
        """Return everything."""
        return {
            "s3": self.s3,
            "rounds": self.rounds,
            "seconds": round(self.seconds, 1),
            "accepted": self.accepted,
            "outcomes": dict(self.outcomes),
            "rights": dict(self.rights),
            "by_git": dict(self.by_git),
            "unknown_answers": self.unknown,
            "faults": {
                fault: {
                    "times": count,
                    "longest_recovery": round(self.recoveries.get(fault, 0.0), 2),
                    "places": dict(sorted(self.points.get(fault, {}).items())),
                }
                for fault, count in sorted(self.faults.items())
            },
            "missed": dict(self.missed),
            "longest_recovery": round(self.longest, 2),
            "missing": self.missing,
            "violations": [str(violation) for violation in self.violations],
        }


def markdown(reports: Sequence[Report], how: str) -> str:
    """Return the text for docs/guarantees.md; `how` is the command that was run."""
    violations = sum(len(report.violations) for report in reports)
    verdict = "**0 lost, 0 twice, 0 differences**" if not violations else f"**{violations} violations**"
    faults = sum(report.faults.total() for report in reports)
    minutes = sum(report.seconds for report in reports) / 60
    summary = (
        f"`{how}`: {minutes:.0f} minutes, {faults:,} faults under load: {verdict}. Each round is a fresh stack, with "
        "writers who record what they sent and which answers they got, pushers who do so with plain Git, guests who "
        "try what they may not, and somebody who changes the policy and replaces tokens all the time; faults strike "
        f"alone and in pairs. At its end {len(RULES)} rules (tests/harness/checker.py) are checked on that record, the "
        "API's last answers, fresh clones, an export (`git fsck --strict`) and `sluice verify`. A recovery lasts from "
        "the end of a fault until each changeset that was accepted by then has its outcome, and a changeset has "
        "landed; the recovery of a pair counts for both. In brackets: at how many different places."
    )
    head = [HEADING, *_wrapped(summary), ""]
    return "\n".join([*head, *_changesets(reports), "", *_wrapped(_LEGEND), "", *_faults(reports), ""])


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, break_on_hyphens=False, break_long_words=False)


def _changesets(reports: Sequence[Report]) -> Iterator[str]:
    yield from _heading("", [NAMES[report.s3] for report in reports])
    yield _row("rounds", [report.rounds for report in reports])
    yield _row("changesets accepted", [report.accepted for report in reports])
    for name, text in _OUTCOMES.items():
        yield _row(text, [report.outcomes[name] for report in reports])
    yield _row("submissions whose result stayed unknown", [report.outcomes["unknown"] for report in reports])
    yield _row("answers without a result (5xx, cut connections)", [report.unknown for report in reports])
    for name, text in _RIGHTS.items():
        yield _row(text, [report.rights[name] for report in reports])
    for name, text in _BY_GIT.items():
        yield _row(text, [report.by_git[name] for report in reports])
    yield _row("faults", [report.faults.total() for report in reports])
    yield _row("longest recovery", [f"{report.longest:.1f} s" for report in reports])
    yield _row("broken promises", [len(report.violations) for report in reports])


def _faults(reports: Sequence[Report]) -> Iterator[str]:
    yield from _heading(
        "fault", [f"{NAMES[report.s3]}{text}" for report in reports for text in ("", ": longest recovery")]
    )
    for fault in sorted({fault for report in reports for fault in (*report.faults, *report.missing)}):
        cells: list[object] = []
        for report in reports:
            points = len(report.points.get(fault, ()))
            count = f"{report.faults[fault]} ({points})" if points > 1 else f"{report.faults[fault]}"
            cells += [report.missing.get(fault, count)]
            cells += [f"{report.recoveries[fault]:.1f} s" if fault in report.recoveries else ""]
        yield _row(f"`{fault}`", cells)


def _heading(first: str, others: Sequence[str]) -> Iterator[str]:
    yield _row(first, others)
    yield "|" + "---|" + "--:|" * len(others)


def _row(first: str, others: Sequence[object]) -> str:
    return "| " + " | ".join([first, *(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in others)]) + " |"
