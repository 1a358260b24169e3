"""Spans of batches and merges: in the trace of each changeset, and linked to what was done for many."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from storage.base.settings import Settings
from storage.commit import commit_batch, merge_batch
from storage.repository import Repository
from tasks import tracing
from tasks.tracing import Tracer, TracingMissing
from tests.support.world import World, item

ROOT = Path(__file__).parents[2]
TRACES = ["0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319d"]
PARENTS = [f"00-{trace}-b7ad6b7169203331-01" for trace in TRACES]


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", Tracer(provider))
    yield exporter
    provider.shutdown()


@pytest.fixture
def world(settings: Settings) -> World:
    return World(Repository(settings))


def by_name(exported: InMemorySpanExporter) -> dict[str, list[Any]]:
    spans: dict[str, list[Any]] = {}
    for span in exported.get_finished_spans():
        spans.setdefault(span.name, []).append(span)
    return spans


def trace_of(span: Any) -> str:
    return f"{span.context.trace_id:032x}"


def test_a_batch_and_its_merge_are_in_the_trace_of_each_changeset(world: World, exported: Any) -> None:
    for path, trace in zip("fg", PARENTS, strict=True):
        world.submit(structs.replace(item(world.all, {path: b"1"}, world.tip), trace=trace))
    with tracing.batch() as results:
        results.append(commit_batch(world.repo))
    assert results[0].changesets == 2 and not results[0].published
    spans = by_name(exported)
    assert spans.keys() == {"batch", "decided"}
    [batch] = spans["batch"]
    assert {trace_of(span) for span in spans["decided"]} == set(TRACES)
    assert {f"{span.parent.span_id:016x}" for span in spans["decided"]} == {"b7ad6b7169203331"}
    assert {f"{link.context.trace_id:032x}" for link in batch.links} == set(TRACES)
    assert {link.context.span_id for span in spans["decided"] for link in span.links} == {batch.context.span_id}
    assert batch.parent is None and trace_of(batch) not in TRACES
    assert {span.attributes["sluice.outcome"] for span in spans["decided"]} == {"committed"}

    exported.clear()
    result = merge_batch(world.repo)
    tracing.merged(world.repo, result, time.time())
    spans = by_name(exported)
    assert spans.keys() == {"merge", "landed"}
    assert {trace_of(span) for span in spans["landed"]} == set(TRACES)
    assert {span.attributes["sluice.entry"] for span in spans["landed"]} == {results[0].seq}


def test_what_has_no_trace_makes_no_span(world: World, exported: Any) -> None:
    world.put({"f": b"1"})
    with tracing.batch() as results:
        results.append(commit_batch(world.repo))
    tracing.merged(world.repo, merge_batch(world.repo), time.time())
    assert exported.get_finished_spans() == ()


def test_without_the_setting_opentelemetry_need_not_be_there() -> None:
    script = (
        "import sys; sys.modules['opentelemetry'] = None  # as if it were not installed\n"
        "import app.api, tasks.celery\n"
        "from tasks import tracing; from storage.base.settings import Settings\n"
        "tracing.start(Settings(), 'api'); tracing.stop(); print(tracing.tracer())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"


def test_a_deployment_that_is_to_be_traced_and_cannot_be_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(TracingMissing, match=r"gitsluice\[otel\]"):
        tracing.start(Settings(otlp_endpoint="http://127.0.0.1:1/v1/traces"), "api")
