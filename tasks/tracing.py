"""Traces by OpenTelemetry, where the setting `otlp_endpoint` asks for them; else its packages are not even imported.

The trace of a changeset is that of the request which submitted it: it goes with the changeset as a W3C traceparent, in
its manifest and in its record in the log. Whoever decides it adds a span `decided` to that trace, and whoever merges it
a span `landed`. Both are linked to the span of the batch or merge that did so for many, which has a trace of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from storage import __version__
from storage.backends.redis_client import UNAVAILABLE
from storage.base.errors import BadInput
from storage.base.ids import made_at
from storage.base.settings import Settings
from storage.commit import BatchResult, MergeResult
from storage.log.entry import Commits, decode
from storage.log.records import Decided, Status
from storage.repository import Repository

# Links of one span: to so many of the changesets that it is about.
_MOST_LINKS = 100
_NANO = 1_000_000_000


class TracingMissing(BadInput):
    """`otlp_endpoint` is set, and OpenTelemetry is not installed: pip install 'gitsluice[otel]'."""


@dataclass(frozen=True, slots=True)
class Traced:
    """A changeset that has a trace."""

    changeset: str
    trace: str  # its traceparent
    accepted: float  # seconds since 1970
    outcome: str
    reason: str
    seq: int

    @classmethod
    def of(cls, record: Decided, seq: int) -> Traced:
        """Return what a record says of it."""
        return cls(record.id, record.trace or "", made_at(record.pack), record.status, record.reason or "", seq)


class Tracer:
    """Makes spans and exports them from a thread of its own."""

    def __init__(self, provider: Any) -> None:
        """`provider` is OpenTelemetry's TracerProvider."""
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("sluice", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def begin_request(self, name: str, headers: Mapping[str, str], attributes: Mapping[str, Any]) -> Any:
        """Return the span of a request, in the trace that its traceparent names or in a new one."""
        from opentelemetry.trace import SpanKind

        carrier = {name.lower(): text for name, text in headers.items()}
        context = self._propagator.extract(carrier)
        return self._tracer.start_span(name, context, SpanKind.SERVER, dict(attributes))

    def traceparent(self, span: Any) -> str | None:
        """Return what leads to a span; None where it is not sampled."""
        from opentelemetry.trace import set_span_in_context

        if not span.get_span_context().trace_flags.sampled:
            return None
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, set_span_in_context(span))
        return carrier.get("traceparent")

    def decided(self, traced: Iterable[Traced], began: float, attributes: Mapping[str, Any]) -> None:
        """Say of changesets that a batch, which `began` then and ends now, has decided them."""
        self._end("batch", "decided", list(traced), began, attributes)

    def landed(self, traced: Iterable[Traced], began: float, attributes: Mapping[str, Any]) -> None:
        """Say of changesets that a merge, which `began` then and ends now, has published them."""
        self._end("merge", "landed", list(traced), began, attributes)

    def _end(self, work: str, what: str, traced: list[Traced], began: float, attributes: Mapping[str, Any]) -> None:
        from opentelemetry.trace import Link, SpanKind, get_current_span

        contexts = {each: self._propagator.extract({"traceparent": each.trace}) for each in traced}
        links = [Link(get_current_span(context).get_span_context()) for context in contexts.values()][:_MOST_LINKS]
        whole = self._tracer.start_span(
            work, _no_context(), SpanKind.CONSUMER, dict(attributes), links, round(began * _NANO)
        )
        for each, context in contexts.items():
            about = {
                "sluice.changeset": each.changeset,
                "sluice.outcome": each.outcome,
                "sluice.reason": each.reason,
                "sluice.entry": each.seq,
            }
            since = each.accepted if what == "decided" else began
            span = self._tracer.start_span(
                what, context, SpanKind.CONSUMER, about, [Link(whole.get_span_context())], round(since * _NANO)
            )
            span.end()
        whole.end()

    def stop(self) -> None:
        """Export what is left."""
        self._provider.shutdown()


def _no_context() -> Any:
    from opentelemetry.context import Context

    return Context()


_tracer: Tracer | None = None


def tracer() -> Tracer | None:
    """Return this process's tracer, None where nothing is traced."""
    return _tracer


def start(settings: Settings, process: str) -> None:
    """Trace from now on, if the settings say so. Raises TracingMissing."""
    global _tracer
    if not settings.otlp_endpoint:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, TraceIdRatioBased
    except ImportError as error:
        raise TracingMissing from error
    provider = TracerProvider(
        # Workers make spans for changesets with a trace alone, so a request has decided for them.
        sampler=ParentBased(TraceIdRatioBased(settings.trace_share)) if process == "api" else ALWAYS_ON,
        resource=Resource.create(
            {"service.name": "sluice", "service.version": __version__, "service.instance.id": process}
        ),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(settings.otlp_endpoint)))
    _tracer = Tracer(provider)


def stop() -> None:
    """Export what is left, and trace no more."""
    global _tracer
    if _tracer is not None:
        _tracer.stop()
        _tracer = None


@contextmanager
def batch() -> Iterator[list[BatchResult]]:
    """Trace a batch: the result that is put into the list."""
    began, results = time.time(), list[BatchResult]()
    yield results
    if _tracer is None:
        return
    for result in results:
        traced = [Traced.of(record, result.seq) for record in result.decided if record.trace]
        if traced:
            about = {"sluice.entry": result.seq, "sluice.changesets": result.changesets}
            _tracer.decided(traced, began, about)
            if result.published:
                _tracer.landed([each for each in traced if each.outcome == Status.COMMITTED], began, about)


def merged(repo: Repository, result: MergeResult, began: float) -> None:
    """Trace a merge that has an entry of its own: the changesets are those of the entries that it merges."""
    if _tracer is None or not result.changesets:
        return
    traced: list[Traced] = []
    try:
        found = repo.bucket.map_concurrently(repo.log.read, range(result.first, result.through + 1))
    except UNAVAILABLE:
        return  # it has landed, whether or not that is traced
    for data in found:
        entry = decode(data) if data else None
        if isinstance(entry, Commits):
            committed = (each for each in entry.decided if each.trace and each.status == Status.COMMITTED)
            traced += [Traced.of(each, entry.seq) for each in committed]
    if traced:
        _tracer.landed(traced, began, {"sluice.entry": result.seq, "sluice.changesets": result.changesets})
