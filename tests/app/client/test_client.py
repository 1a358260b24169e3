"""The client, against a server that answers from a script."""

from __future__ import annotations

import base64
import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.client.api_client import Client, NotSluice, ProblemError, Unreachable, content
from app.protocol.queries import load_query
from storage.base.settings import Settings

HANG_UP = "hang up"


@dataclass
class Request:
    method: str
    path: str
    key: str | None
    body: Any


@dataclass
class Script:
    """What a server answers, one after the other (the last for ever), and what it was asked."""

    answers: list[Any] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    url: str = ""

    def client(self, retry_for: float = 60.0) -> Client:
        return Client(self.url, retry_for=retry_for, sleep=self.pauses.append)

    @property
    def keys(self) -> list[str | None]:
        return [request.key for request in self.requests]

    def handle(self, http: BaseHTTPRequestHandler) -> None:
        data = http.rfile.read(int(http.headers.get("Content-Length", 0)))
        key = http.headers.get("Idempotency-Key")
        self.requests.append(Request(http.command, http.path, key, json.loads(data) if data else None))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer == HANG_UP:
            http.close_connection = True
            return
        status, document, *headers = answer
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        http.send_response(status)
        http.send_header("Content-Length", str(len(body)))
        for name, value in (headers[0] if headers else {}).items():
            http.send_header(name, value)
        http.end_headers()
        http.wfile.write(body)


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            script.handle(self)

        do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the name that http.server looks for

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        script.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield script
        server.shutdown()
        thread.join()


def problem(status: int, **more: Any) -> tuple[int, dict[str, Any]]:
    return status, {"title": "No", "status": status, **more}


def test_an_answer_is_returned_at_once(script: Script) -> None:
    script.answers = [(200, {"pending": 3})]
    assert script.client().head() == {"pending": 3}
    assert [(r.method, r.path) for r in script.requests] == [("GET", "/v1/head")]
    assert script.pauses == []


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_obeyed_with_jitter_on_top(script: Script, status: int) -> None:
    script.answers = [(*problem(status), {"Retry-After": "7"}), (200, {})]
    script.client().head()
    [pause] = script.pauses
    assert 7 <= pause <= 7 * 1.3


def test_a_retry_after_that_is_a_date_does_not_break_anything(script: Script) -> None:
    script.answers = [(*problem(503), {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}), (200, {})]
    script.client().head()
    assert len(script.requests) == 2


def test_broken_connections_and_5xx_repeat_a_submission_with_key_and_body(script: Script) -> None:
    script.answers = [HANG_UP, problem(500), (502, b"<html>"), problem(503), problem(504), (202, {"id": "01A"})]
    assert script.client().submit("web", {"message": "Say hello"})["id"] == "01A"
    assert len(script.requests) == 6
    assert len(set(script.keys)) == 1
    assert script.keys[0]
    assert {r.body["message"] for r in script.requests} == {"Say hello"}
    assert script.pauses == sorted(script.pauses), "pauses grow"


def test_two_submissions_never_share_a_key_unless_it_is_given(script: Script) -> None:
    script.answers = [(202, {"id": "01A"})]
    client = script.client()
    for key in (None, None, "mine", "mine"):
        client.submit("web", {"message": "Say hello"}, key)
    assert script.keys[0] != script.keys[1]
    assert script.keys[2:] == ["mine", "mine"]


def test_a_refusal_is_final_and_tells_all_that_the_problem_document_tells(script: Script) -> None:
    errors = [{"field": "message", "message": "is missing"}]
    script.answers = [problem(422, detail="message: is missing", errors=errors)]
    with pytest.raises(ProblemError) as refusal:
        script.client().submit("web", {})
    raised = refusal.value
    assert (raised.status, raised.title, raised.detail, raised.errors) == (422, "No", "message: is missing", errors)
    assert len(script.requests) == 1


@pytest.mark.parametrize("answer", [(404, b"<html>not found</html>"), (400, b"[1]"), (302, b"")])
def test_what_is_no_problem_document_is_a_refusal_all_the_same(script: Script, answer: Any) -> None:
    script.answers = [answer]
    with pytest.raises(ProblemError) as refusal:
        script.client().head()
    assert refusal.value.status == answer[0]


def test_patience_ends(script: Script) -> None:
    script.answers = [(*problem(503, detail="Redis does not answer"), {"Retry-After": "5"})]
    with pytest.raises(Unreachable, match="Redis does not answer"):
        script.client(retry_for=4).head()
    assert len(script.requests) == 1, "a pause that patience does not cover is not begun"


def test_nobody_listening_is_unreachable() -> None:
    with pytest.raises(Unreachable):
        Client("http://127.0.0.1:1", retry_for=0).head()


@pytest.mark.parametrize("url", ["nonsense://x", "http://", ""])
def test_what_is_no_address_is_not_waited_for(url: str) -> None:
    pauses: list[float] = []
    with pytest.raises(Unreachable):
        Client(url, sleep=pauses.append).head()
    assert pauses == []


def outcome(status: int, name: str = "") -> dict[str, Any]:
    return {"status": 202, "changeset": {"id": name}} if status == 202 else {"status": status, "problem": {}}


def test_items_refused_by_a_full_queue_are_resent_with_those_before_them(script: Script) -> None:
    script.answers = [
        (202, {"outcomes": [outcome(202, "01A"), outcome(429), outcome(422)]}),
        (422, {"outcomes": [outcome(202, "01A"), outcome(503), outcome(422)]}),
        (202, {"outcomes": [outcome(202, "01A"), outcome(202, "01B"), outcome(202, "01C")]}),
    ]
    outcomes = script.client().submit_many([{"slice": "web"}] * 3)
    assert [each["changeset"]["id"] for each in outcomes] == ["01A", "01B", "01C"]
    assert len(set(script.keys)) == 1


def test_items_that_are_refused_for_good_are_outcomes(script: Script) -> None:
    script.answers = [(422, {"outcomes": [outcome(422)]})]
    assert script.client().submit_many([{}]) == [outcome(422)]
    assert len(script.requests) == 1


def test_a_bulk_can_be_given_as_bytes(script: Script) -> None:
    script.answers = [(202, {"outcomes": []})]
    script.client().submit_many(b'{"changesets": [1, 2]}')
    assert script.requests[0].body == {"changesets": [1, 2]}


WEB = {"id": "01S", "name": "web", "paths": ["web/"], "version": 1}


def test_a_slice_that_an_unanswered_try_made_is_that_slice(script: Script) -> None:
    script.answers = [HANG_UP, problem(409, slice="01S"), (200, WEB)]
    assert script.client().create_slice("web", ["web/"]) == WEB


@pytest.mark.parametrize(
    "answers",
    [
        [problem(409, slice="01S")],  # nothing was tried before: it is somebody else's
        [HANG_UP, problem(409, slice="01S"), (200, WEB | {"paths": ["other/"]})],
    ],
)
def test_a_slice_of_somebody_else_stays_a_refusal(script: Script, answers: list[Any]) -> None:
    script.answers = answers
    with pytest.raises(ProblemError, match="No"):
        script.client().create_slice("web", ["web/"])


LISTS: list[tuple[Callable[[Client], Iterator[Any]], str]] = [
    (lambda client: client.slices("web/a.js"), "/v1/slices?path=web%2Fa.js&limit=1000"),
    (lambda client: client.slices(), "/v1/slices?limit=1000"),
    (lambda client: client.changesets("a/b", "queued"), "/v1/slices/a%2Fb/changesets?status=queued&limit=1000"),
    (lambda client: client.commits("web"), "/v1/slices/web/commits"),
    (lambda client: client.global_commits(), "/v1/commits?limit=100"),
    (lambda client: client.merged("c0ffee"), "/v1/commits/c0ffee/changesets?limit=1000"),
    (lambda client: client.diff("01A"), "/v1/changesets/01A/diff"),
    (lambda client: client.conflicts_of("01A"), "/v1/changesets/01A/conflicts"),
    (lambda client: client.conflicts(), "/v1/conflicts"),
    (lambda client: client.conflicts("a/b"), "/v1/conflicts?slice=a%2Fb"),
    (lambda client: client.conflicts(path="web/a b"), "/v1/conflicts?path=web%2Fa+b"),
]


@pytest.mark.parametrize(("listed", "path"), LISTS)
def test_lists_follow_their_cursors_and_keep_their_filters(script: Script, listed: Any, path: str) -> None:
    script.answers = [(200, {"items": [1, 2], "next": "a b"}), (200, {"items": [3], "next": None})]
    assert list(listed(script.client())) == [1, 2, 3]
    assert [r.path for r in script.requests] == [path, f"{path}{'&' if '?' in path else '?'}cursor=a+b"]


READS: list[tuple[Callable[[Client], Any], str, str]] = [
    (lambda client: client.slice("a/b"), "GET", "/v1/slices/a%2Fb"),
    (lambda client: client.changeset("01A"), "GET", "/v1/changesets/01A"),
    (lambda client: client.changeset("01A", 2.0, "landed"), "GET", "/v1/changesets/01A?wait=2.0&until=landed"),
    (lambda client: client.merge(), "POST", "/v1/merges"),
    (
        lambda client: client.file("web", "web/a b#.js", "c0ffee"),
        "GET",
        "/v1/slices/web/files/web/a%20b%23.js?commit=c0ffee",
    ),
    (lambda client: client.check("a/b", {}), "POST", "/v1/slices/a%2Fb/check"),
    (lambda client: client.release("01A"), "POST", "/v1/changesets/01A/release"),
    (lambda client: client.abandon("01A"), "POST", "/v1/changesets/01A/abandon"),
    (lambda client: client.rebase("01A"), "POST", "/v1/changesets/01A/rebase"),
    (lambda client: client.change_slice("a/b", ["web/"]), "PATCH", "/v1/slices/a%2Fb"),
    (lambda client: client.delete_slice("a/b", 2), "DELETE", "/v1/slices/a%2Fb?version=2"),
]


@pytest.mark.parametrize(("read", "method", "path"), READS)
def test_each_call_is_the_request_that_the_documentation_names(
    script: Script, read: Any, method: str, path: str
) -> None:
    script.answers = [(200, {})]
    read(script.client())
    assert [(r.method, r.path) for r in script.requests] == [(method, path)]


def test_a_resolution_is_repeated_unchanged_and_has_a_key_only_if_given(script: Script) -> None:
    script.answers = [HANG_UP, problem(503), (202, {"id": "01B"})]
    client = script.client()
    assert client.resolve("01A", {"f": {"take": "ours"}})["id"] == "01B"
    client.resolve("01A", {"f": {"take": "theirs"}}, "Resolved", "k")
    assert script.keys == [None, None, None, "k"]
    assert [r.body for r in script.requests[:3]] == [{"paths": {"f": {"take": "ours"}}}] * 3
    assert script.requests[3].body == {"paths": {"f": {"take": "theirs"}}, "message": "Resolved"}


def test_a_slice_that_an_unanswered_try_deleted_is_deleted(script: Script) -> None:
    script.answers = [HANG_UP, problem(404)]
    script.client().delete_slice("web")
    with pytest.raises(ProblemError):
        script.client().delete_slice("web")


def test_health_is_an_answer_also_where_it_is_a_no(script: Script) -> None:
    script.answers = [(503, {"ready": False})]
    assert script.client().health() == {"ready": False}
    assert len(script.requests) == 1


@pytest.mark.long
def test_many_threads_share_one_client(script: Script) -> None:
    script.answers = [(200, {"pending": 0})]
    client = script.client()
    threads = [threading.Thread(target=lambda: [client.head() for _ in range(10)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(script.requests) == 80


@given(st.binary(max_size=200) | st.text(max_size=50).map(str.encode))
def test_content_survives_json_whatever_it_is(data: bytes) -> None:
    fields = json.loads(json.dumps(content(data)))
    if "content" in fields:
        assert fields["content"].encode() == data
    else:
        assert base64.b64decode(fields["content_base64"]) == data


@pytest.mark.parametrize(
    ("wait", "asked"),
    [(29.1234567, "29.123"), (1e-7, None), (0.0006, "0.001"), (0.0, None), (None, None), (20, "20"), (300.0, "50.0")],
)
def test_a_wait_is_asked_for_as_the_api_takes_it(script: Script, wait: float | None, asked: str | None) -> None:
    script.answers = [(200, {"id": "01A"})]
    script.client().changeset("01A", wait)
    expected = "/v1/changesets/01A" + (f"?wait={asked}&until=committed" if asked else "")
    assert [request.path for request in script.requests] == [expected]
    if asked:
        assert load_query({"wait": asked}, Settings(), "wait").wait == float(asked)


def test_health_that_is_unavailable_is_the_servers_problem_document(script: Script) -> None:
    problem = {"type": "urn:sluice:problem:unavailable", "title": "Not available at the moment", "status": 503}
    script.answers = [(503, problem | {"detail": "it took too long (request_budget)"})]
    with pytest.raises(ProblemError, match="took too long") as caught:
        script.client().health()
    assert not isinstance(caught.value, NotSluice) and caught.value.status == 503
    unfit = {"healthy": False, "checks": {}}
    script.answers = [(503, unfit)]
    assert script.client().health() == unfit


LINES = {"Content-Type": "application/x-ndjson"}


def lines(*values: Any) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def file(path: str) -> dict[str, str]:
    return {"path": path, "mode": "100644", "type": "blob", "id": "c0ffee"}


def test_a_manifest_that_breaks_off_goes_on_behind_its_last_cursor(script: Script) -> None:
    whole = lines({"commit": "c0"}, file("a"), file("b"), {"next": "x y"}, file("c"), file("d"))
    script.answers = [
        HANG_UP,
        (200, whole[:-5], LINES),
        (200, lines({"commit": "c0"}), LINES),
        (503, {"title": "No"}),
        (200, lines({"commit": "c0"}, file("c"), {"next": "z"}), LINES),
        (200, lines({"commit": "c0"}, file("d"), {"next": None, "files": 1}), LINES),
    ]
    assert [item["path"] for item in script.client().tree("web", "c0", "web/")] == ["a", "b", "c", "d"]
    path = "/v1/slices/web/tree?commit=c0&prefix=web%2F"
    assert [request.path for request in script.requests] == [path] * 2 + [f"{path}&cursor=x+y"] * 3 + [
        f"{path}&cursor=z"
    ]


def test_a_manifest_without_its_last_line_is_not_whole(script: Script) -> None:
    script.answers = [(200, lines({"commit": "c0"}, file("a")), LINES)]
    with pytest.raises(Unreachable, match="before the manifest was complete"):
        list(script.client(retry_for=0.2).tree("web"))


def test_what_answers_with_something_else_than_a_manifest_is_no_sluice(script: Script) -> None:
    script.answers = [(200, {"items": [], "next": None})]
    with pytest.raises(NotSluice):
        list(script.client().tree("web"))


def test_an_archive_that_breaks_off_yields_the_files_that_came(script: Script) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name in ("a", "b"):
            member = tarfile.TarInfo(name)
            member.size = 5000
            tar.addfile(member, io.BytesIO(b"x" * 5000))
    script.answers = [(200, made.getvalue()[:7000])]
    assert list(script.client().archive("web", "c0")) == [("a", b"x" * 5000)]
    assert script.requests[0].path == "/v1/slices/web/files?format=tar&commit=c0"


def test_several_files_are_asked_for_until_all_have_come(script: Script) -> None:
    script.answers = [
        (200, {"files": [{"path": "a", "content": "ü"}, {"path": "m", "mode": "160000"}], "missing": [], "next": "x"}),
        (200, {"files": [{"path": "b", "content_base64": "/w=="}], "missing": ["c"], "next": None}),
    ]
    assert list(script.client().files("web", ["a", "m", "b", "c"], "c0")) == [("a", "ü".encode()), ("b", b"\xff")]
    body = {"paths": ["a", "m", "b", "c"], "commit": "c0"}
    assert [request.body for request in script.requests] == [body, body | {"cursor": "x"}]


def test_slices_that_are_all_refused_have_their_outcomes(script: Script) -> None:
    script.answers = [HANG_UP, (422, {"outcomes": [{"status": 409, "problem": {}}]})]
    assert script.client().create_slices([{"name": "a", "paths": ["a/"]}]) == [{"status": 409, "problem": {}}]
