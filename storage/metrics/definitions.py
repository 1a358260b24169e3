"""Every counter and histogram of Sluice: name, meaning, labels. docs/operations.md has the same list.

Labels have few values, all of them words of the code: never a path, a principal, a slice or an id. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PREFIX = "sluice_"


@dataclass(frozen=True, slots=True, eq=False)
class Counter:
    """Something that happens; Prometheus adds `_total` to its name."""

    name: str
    about: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Something that is measured, by the first of `bounds` that it does not exceed."""

    name: str
    about: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...]
    scale: int = 1
    """The sum is kept as a whole number of this part of its unit, so that it can be added up exactly."""
    buckets: tuple[str, ...] = field(init=False)
    """The bounds as text, and behind them that of what exceeds all of them."""

    def __post_init__(self) -> None:
        """Name the buckets."""
        object.__setattr__(self, "buckets", (*map(str, self.bounds), "+Inf"))


_MICRO = 1_000_000
_CALLS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_REQUESTS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_WORK = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_WAITS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 600.0, 3600.0)
_CHANGESETS = (1.0, 4.0, 16.0, 64.0, 256.0, 512.0, 1024.0, 4096.0)

REQUESTS = Counter("sluice_requests", "Requests that were answered.", ("endpoint", "status"))
REQUEST_SECONDS = Histogram(
    "sluice_request_seconds",
    "Time from a request's arrival to the beginning of its answer; a long poll's has its waiting in it.",
    ("endpoint", "status"),
    _REQUESTS,
    _MICRO,
)
REFUSALS = Counter("sluice_refusals", "Requests that were answered with a problem.", ("status", "problem"))

SUBMITTED = Counter("sluice_submitted", "Changesets that were accepted and are durable.")
PUSHES = Counter("sluice_pushes", "Pushes by Git that were answered.", ("result",))
OUTCOMES = Counter("sluice_outcomes", "Changesets that were decided.", ("outcome", "reason"))
DECIDED_SECONDS = Histogram(
    "sluice_decided_seconds",
    "Age of changesets when they were decided, without those that were held.",
    (),
    _WAITS,
    _MICRO,
)
BATCH_SECONDS = Histogram("sluice_batch_seconds", "Time of a commit batch, from its claim on.", (), _WORK, _MICRO)
BATCH_CHANGESETS = Histogram("sluice_batch_changesets", "Changesets that a batch decided.", (), _CHANGESETS)
BATCH_FAILURES = Counter("sluice_batch_failures", "Batches that decided nothing and gave back all.", ("reason",))
MERGES = Counter("sluice_merges", "Global commits.", ("entry",))
MERGE_SECONDS = Histogram("sluice_merge_seconds", "Time of a merge that has its own entry.", (), _WORK, _MICRO)
ENTRIES = Counter("sluice_entries", "Entries appended to the log.", ("kind",))

TASK_SECONDS = Histogram("sluice_task_seconds", "Time of a run of a task.", ("task", "result"), _WORK, _MICRO)
TASK_FAILURES = Counter("sluice_task_failures", "Runs of tasks that failed or were killed.", ("task", "error"))
MESSAGES_NOT_SENT = Counter("sluice_messages_not_sent", "Messages to workers that the broker did not take.", ("task",))

CALL_SECONDS = Histogram(
    "sluice_call_seconds", "Time of a call of Redis or the bucket, its retries included.", ("server",), _CALLS, _MICRO
)
CALL_ERRORS = Counter("sluice_call_errors", "Calls of Redis or the bucket that failed.", ("server", "error"))
CALL_RETRIES = Counter("sluice_call_retries", "Tries that the bucket was asked again.", ("server",))

WEBHOOKS = Counter("sluice_webhook_deliveries", "Deliveries to webhooks that ended.", ("outcome",))

GIT_ANSWERS = Counter("sluice_git_answers", "Answers of gateways: refs, and packs by how they were made.", ("how",))
GIT_BYTES = Counter("sluice_git_bytes", "Bytes of packs that gateways have sent, by how they were made.", ("how",))
MIRRORS = Counter("sluice_mirror_runs", "Looks at servers of mirrors that ended.", ("outcome",))

ALL: tuple[Counter | Histogram, ...] = tuple(
    [known for known in list(globals().values()) if isinstance(known, (Counter, Histogram))]
)
