"""Prometheus metrics: what all processes have counted, and the state of the repository when it is asked."""

import time
from collections.abc import Iterable, Iterator
from itertools import accumulate

from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from app.service.git.mirror_status import standings
from app.service.readiness import needed_work
from storage.base.ids import ulid_seconds
from storage.coordination import ProcessReport, read_sums
from storage.metrics import definitions
from storage.metrics.counts import COUNTS, SUM, Counted
from storage.metrics.definitions import REFUSALS, REQUEST_SECONDS, REQUESTS, Counter, Histogram
from storage.repository import Repository

_NO_ENDPOINT = "none"  # of a path that leads nowhere, and of what is no request of HTTP

LEVELS = {
    "event_streams": "Event streams that are open.",
    "long_polls": "Requests that wait for a changeset.",
    "git_requests": "Requests of Git that gateways answer.",
}
"""What API processes and gateways report beside their counts, as gauges: the sum of all."""


def register(app: Flask) -> None:
    """Count each request of `app`; called before anything else is done with a request."""
    app.before_request(_begin)
    app.after_request(_count)


def _begin() -> None:
    g.began = time.monotonic()


def _count(response: Response) -> Response:
    endpoint, status = request.endpoint or _NO_ENDPOINT, response.status_code
    COUNTS.add(REQUESTS, endpoint, str(status))
    COUNTS.observe(REQUEST_SECONDS, time.monotonic() - g.began, endpoint, f"{status // 100}xx")
    if status >= 400 and "problem" in g:
        COUNTS.add(REFUSALS, str(status), g.problem.slug)
    return response


def count_outside(status: int, problem: str) -> None:
    """Count a request that was refused before the application had it."""
    COUNTS.add(REQUESTS, _NO_ENDPOINT, str(status))
    COUNTS.add(REFUSALS, str(status), problem)


class RepositoryCollector(Collector):
    """The state of one repository, and what its processes have counted: any API process may answer."""

    def __init__(self, repo: Repository) -> None:
        self._repo = repo

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now. Raises Unavailable."""
        head = self._repo.view.head()
        oldest = self._repo.queue.oldest()
        age = max(0.0, time.time() - ulid_seconds(oldest)) if oldest else 0.0
        yield CounterMetricFamily("sluice_committed", "Changesets committed.", head.committed)
        yield CounterMetricFamily("sluice_landed", "Changesets landed.", head.merged)
        yield CounterMetricFamily(
            "sluice_root_mismatches", "Batches stopped by a wrong root; must be 0.", self._repo.view.root_mismatches()
        )
        yield GaugeMetricFamily("sluice_applied", "The newest log entry that the view includes.", head.applied)
        yield GaugeMetricFamily("sluice_pending", "Changesets committed and not landed.", head.pending)
        yield GaugeMetricFamily("sluice_queued", "Changesets queued.", self._repo.queue.length())
        yield GaugeMetricFamily("sluice_archived", "The newest log entry that the view has forgotten.", head.archived)
        memory = self._repo.memory.now()
        yield GaugeMetricFamily("sluice_redis_used_bytes", "What Redis uses of its maxmemory.", memory.used)
        yield GaugeMetricFamily("sluice_redis_max_bytes", "Redis's maxmemory; 0 where it has none.", memory.limit)
        open_conflicts = self._repo.view.count_open_conflicts()
        yield GaugeMetricFamily("sluice_open_conflicts", "Conflicts nobody closed.", open_conflicts)
        yield GaugeMetricFamily(
            "sluice_oldest_queued_seconds", "Age of the oldest changeset that could be committed.", age
        )
        yield self._nodes()
        yield from self._mirrors()
        sums = read_sums(self._repo.view)
        yield from _of_processes(sums.processes)
        yield from families(sums.counted)

    def _mirrors(self) -> Iterator[Metric]:
        commits = GaugeMetricFamily("sluice_mirror_lag_commits", "Commits that a mirror lacks.", labels=["mirror"])
        lag = GaugeMetricFamily("sluice_mirror_lag_seconds", "Time since the first of them landed.", labels=["mirror"])
        stopped = GaugeMetricFamily(
            "sluice_mirror_stopped", "1 where it waits for somebody to resume it.", labels=["mirror"]
        )
        failures = GaugeMetricFamily(
            "sluice_mirror_failures", "Tries that failed, one after the other.", labels=["mirror"]
        )
        for each in standings(self._repo):
            name = [each.mirror.name]
            commits.add_metric(name, each.commits)
            lag.add_metric(name, round(each.seconds, 3))
            stopped.add_metric(name, int(each.mirror.stopped is not None))
            failures.add_metric(name, each.progress.failed if each.progress else 0)
        yield from (commits, lag, stopped, failures)

    def _nodes(self) -> Metric:
        nodes = self._repo.nodes.at_work()
        gauge = GaugeMetricFamily("sluice_nodes", "Nodes that answer, by what they do.", labels=["work"])
        for work in needed_work(self._repo):
            gauge.add_metric([work], sum(work in node.work for node in nodes))
        return gauge


def _of_processes(processes: Iterable[ProcessReport]) -> Iterator[Metric]:
    known = list(processes)
    kinds = sorted({(each.process, each.version) for each in known})
    gauge = GaugeMetricFamily(
        "sluice_processes", "Processes that count, by what they are.", labels=["process", "version"]
    )
    for process, version in kinds:
        gauge.add_metric([process, version], sum((each.process, each.version) == (process, version) for each in known))
    yield gauge
    for name, about in LEVELS.items():
        yield GaugeMetricFamily(f"{definitions.PREFIX}{name}", about, sum(each.levels.get(name, 0) for each in known))


def families(counted: Counted) -> Iterator[Metric]:
    """Yield every counter and histogram with what was counted of it.

    Names that this version does not know are left out; so is what has other labels: another version counts it.
    """
    of_metric: dict[str, dict[tuple[str, ...], dict[str, int]]] = {}
    for (name, labels, bucket), count in counted.items():
        of_metric.setdefault(name, {}).setdefault(labels, {})[bucket] = count
    for metric in definitions.ALL:
        found = of_metric.get(metric.name, {})
        series = {labels: counts for labels, counts in found.items() if len(labels) == len(metric.labels)}
        if not metric.labels:
            series.setdefault((), {})
        yield _counter(metric, series) if isinstance(metric, Counter) else _histogram(metric, series)


def _counter(metric: Counter, series: dict[tuple[str, ...], dict[str, int]]) -> Metric:
    family = CounterMetricFamily(metric.name, metric.about, labels=metric.labels)
    for labels, counts in sorted(series.items()):
        family.add_metric(labels, counts.get("", 0))
    return family


def _histogram(metric: Histogram, series: dict[tuple[str, ...], dict[str, int]]) -> Metric:
    family = HistogramMetricFamily(metric.name, metric.about, labels=metric.labels)
    for labels, counts in sorted(series.items()):
        within = accumulate(counts.get(bound, 0) for bound in metric.buckets)
        family.add_metric(labels, list(zip(metric.buckets, within, strict=True)), counts.get(SUM, 0) / metric.scale)
    return family


def render(repo: Repository) -> bytes:
    """Return the metrics in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(RepositoryCollector(repo))
    return generate_latest(registry)
