"""A changeset's trace is whole: from the request that submitted it to the global commit that landed it."""

from __future__ import annotations

import gzip
import http.server
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.client.api_client import Client
from app.stack.stack import Stack

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PATIENCE = 60.0

one_s3 = pytest.mark.parametrize("s3_kind", ["seaweedfs"], indirect=True)


class Collector(http.server.ThreadingHTTPServer):
    """Takes traces by OTLP over HTTP, as any collector does."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/traces"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@one_s3
def test_a_trace_leads_from_the_request_to_what_landed(new_stack: Callable[..., Stack], collector: Collector) -> None:
    stack = new_stack({"otlp_endpoint": collector.url, "trace_share": 0.0}, with_flower=False, abrupt=False)
    client = Client(stack.url)
    client.create_slice("all", ["/"])
    item = {"base": client.head()["tip"]["commit"], "message": "m"}
    untraced = client.submit("all", item | {"changes": [{"op": "put", "path": "g", "content": "x"}]})["id"]
    body = json.dumps(item | {"changes": [{"op": "put", "path": "f", "content": "x"}]}).encode()
    headers = {"Content-Type": "application/json", "traceparent": f"00-{TRACE}-{PARENT}-01"}
    with urllib.request.urlopen(
        urllib.request.Request(f"{stack.url}/v1/slices/all/changesets", body, headers), timeout=PATIENCE
    ) as answer:
        changeset, request = json.load(answer)["id"], answer.headers["X-Request-Id"]
    for each in (changeset, untraced):
        assert client.changeset(each, 30, "landed")["status"] == "landed"

    def of_trace() -> dict[str, Any]:
        return {span.name: span for span in collector.spans if span.trace_id.hex() == TRACE}

    def wholes() -> set[str]:
        return {span.name for span in collector.spans if span.links and span.trace_id.hex() != TRACE}

    until = time.monotonic() + PATIENCE
    # A process exports its spans after a few seconds.
    while not (of_trace().keys() >= {"POST changesets.submit", "decided", "landed"} and wholes()):
        assert time.monotonic() < until, [span.name for span in collector.spans]
        time.sleep(0.1)
    spans = of_trace()
    submitted = spans["POST changesets.submit"]
    assert submitted.parent_span_id.hex() == PARENT
    for name in ("decided", "landed"):
        assert spans[name].parent_span_id == submitted.span_id
        about = {attribute.key: attribute.value.string_value for attribute in spans[name].attributes}
        assert about["sluice.changeset"] == changeset
        assert spans[name].end_time_unix_nano >= spans[name].start_time_unix_nano > 0
        [link] = spans[name].links
        [whole] = [span for span in collector.spans if span.span_id == link.span_id]
        assert submitted.span_id in {back.span_id for back in whole.links}
    assert request in {attribute.value.string_value for attribute in submitted.attributes}
    decided = {span.trace_id.hex() for span in collector.spans if span.name == "decided"}
    assert decided == {TRACE}, "and there is none of what is not traced"
