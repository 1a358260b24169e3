"""Prometheus metrics of the view and the queues, read when they are requested."""

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from storage.base.ids import ulid_seconds
from storage.coordination import WORK
from storage.repository import Repository


class RepositoryCollector(Collector):
    """The state of one repository. Shared by all processes, so any API process may answer."""

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

    def _nodes(self) -> Metric:
        nodes = self._repo.nodes.at_work()
        gauge = GaugeMetricFamily("sluice_nodes", "Nodes that answer, by what they do.", labels=["work"])
        for work in WORK:
            gauge.add_metric([work], sum(work in node.work for node in nodes))
        return gauge


def render(repo: Repository) -> bytes:
    """Return the metrics in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(RepositoryCollector(repo))
    return generate_latest(registry)
