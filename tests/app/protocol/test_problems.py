"""Every error is a problem document, and none tells what only the log should know."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
import structlog
from flask import Flask, request
from flask.testing import FlaskClient
from redis.exceptions import ConnectionError as RedisDown
from redis.exceptions import ResponseError
from werkzeug.exceptions import Forbidden, ServiceUnavailable

from app.protocol import problems
from storage.backends.bucket import BucketError, BucketUnsafe, Missing
from storage.base import logging_setup
from storage.git.objects import CorruptObject

Log = Callable[[], str]

RAISED: dict[str, Exception] = {
    "problem": problems.invalid("changes[3].path", "is empty"),
    "missing": problems.not_found("slice", "web"),
    "taken": problems.conflict("the name is taken", slice="01ARZ3NDEKTSV4RRFFQ69G5FAV"),
    "reused": problems.key_reused(),
    "full": problems.too_many("the queue is full", 7),
    "redis": RedisDown("redis://:hunter2@10.0.0.1 refused"),
    "redis-full": ResponseError("OOM hunter2"),
    "bucket": BucketError("hunter2"),
    "unsafe": BucketUnsafe("hunter2"),
    "away": Missing("hunter2"),
    "damaged": CorruptObject("hunter2"),
    "fault": ZeroDivisionError("hunter2"),
    "forbidden": Forbidden("hunter2"),
    "down": ServiceUnavailable("hunter2", retry_after=9),
}


@pytest.fixture
def log(capsys: pytest.CaptureFixture[str]) -> Iterator[Log]:
    """What the process wrote to standard error since it was last asked, with logging as in the API."""
    before = structlog.get_config()
    logging_setup.configure("api")
    yield lambda: capsys.readouterr().err
    structlog.configure(**before)


@pytest.fixture
def client(log: Log) -> FlaskClient:
    app = Flask("test")
    app.config["MAX_CONTENT_LENGTH"] = 100
    problems.register(app)

    @app.get("/raise/<name>")
    def fail(name: str) -> str:
        raise RAISED[name]

    @app.post("/json")
    def read() -> object:
        return request.get_json()

    @app.get("/folder/")
    def folder() -> str:
        return problems.request_id()

    return app.test_client()


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        *[("GET", "/raise/problem", 422, "invalid"), ("GET", "/raise/missing", 404, "not-found")],
        *[("GET", "/raise/taken", 409, "conflict"), ("GET", "/raise/reused", 422, "key-reused")],
        *[("GET", "/raise/full", 429, "too-many"), ("GET", "/raise/redis", 503, "unavailable")],
        *[("GET", "/raise/redis-full", 503, "unavailable"), ("GET", "/raise/bucket", 503, "unavailable")],
        *[("GET", "/raise/unsafe", 503, "unavailable"), ("GET", "/raise/fault", 500, "internal")],
        *[("GET", "/raise/away", 503, "unavailable"), ("GET", "/raise/damaged", 500, "internal")],
        *[("GET", "/raise/forbidden", 403, "forbidden"), ("GET", "/raise/down", 503, "service-unavailable")],
        *[("GET", "/nowhere", 404, "not-found"), ("DELETE", "/json", 405, "method-not-allowed")],
    ],
)
def test_every_error_is_a_problem_document(client: FlaskClient, method: str, path: str, status: int, slug: str) -> None:
    answer = client.open(path, method=method)
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    document = answer.get_json(force=True)
    assert document["status"] == status
    assert document["type"] == "urn:sluice:problem:" + slug
    assert document["title"]
    assert "hunter2" not in answer.get_data(as_text=True)


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [(b"{", "application/json", 400), (b"{}", "text/plain", 415), (b"[" + b" " * 200 + b"]", "application/json", 413)],
)
def test_a_body_that_cannot_be_read_is_a_problem(
    client: FlaskClient, body: bytes, media_type: str, status: int
) -> None:
    answer = client.post("/json", data=body, content_type=media_type)
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"


def test_a_field_that_is_wrong_is_named(client: FlaskClient) -> None:
    document = client.get("/raise/problem").get_json(force=True)
    assert document["errors"] == [{"field": "changes[3].path", "message": "is empty"}]
    assert document["detail"] == "changes[3].path: is empty"


def test_what_passes_says_when_to_come_back(client: FlaskClient) -> None:
    after = {name: client.get(f"/raise/{name}").headers["Retry-After"] for name in ("full", "redis", "bucket", "down")}
    assert after == {"full": "7", "redis": "1", "bucket": "1", "down": "9"}


def test_a_conflict_names_what_it_met(client: FlaskClient) -> None:
    assert client.get("/raise/taken").get_json(force=True)["slice"] == "01ARZ3NDEKTSV4RRFFQ69G5FAV"


def test_a_wrong_method_says_which_are_right(client: FlaskClient) -> None:
    assert "POST" in client.get("/json").headers["Allow"]


def test_a_redirect_is_no_error(client: FlaskClient) -> None:
    assert client.get("/folder").status_code == 308


def test_a_fault_is_logged_under_the_id_that_the_user_gets(client: FlaskClient, log: Log) -> None:
    answer = client.get("/raise/fault")
    (event,) = [json.loads(line) for line in log().splitlines()]
    assert event["event"] == "request_failed"
    assert event["request"] == answer.get_json(force=True)["request"] == answer.headers["X-Request-Id"]
    assert "ZeroDivisionError" in event["exception"]
    assert (event["process"], event["level"]) == ("api", "error")


def test_what_is_turned_into_a_problem_is_logged_without_its_secrets(client: FlaskClient, log: Log) -> None:
    client.get("/raise/redis")
    (line,) = log().splitlines()
    event = json.loads(line)
    assert event["event"] == "request_refused"
    assert "10.0.0.1" in event["error"]
    assert "hunter2" not in line


def test_every_request_has_an_id_of_its_own(client: FlaskClient) -> None:
    first, second = client.get("/folder/"), client.get("/folder/")
    assert first.text == first.headers["X-Request-Id"] != second.text


def test_a_secret_is_never_logged(log: Log) -> None:
    logging_setup.log.info("started", s3_secret_key="hunter2", broker="redis://u:hunter2@h/0", redis_password="hunter2")
    line = log()
    event = json.loads(line)
    assert "hunter2" not in line
    assert event["broker"] == "redis://(hidden)@h/0"
    assert event["s3_secret_key"] == event["redis_password"] == "(hidden)"


def test_a_secret_is_not_logged_from_inside_other_values_either(log: Log) -> None:
    logging_setup.log.info(
        "started",
        broker="redis://:hun@ter2@h/0",
        endpoints=["http://u:hunter2@a", ("http://hunter2@b",)],
        chosen={"url": "redis://:hunter2@h", "s3_secret_key": "hunter2", "retries": 3},
    )
    line = log()
    event = json.loads(line)
    assert "ter2" not in line
    assert event["broker"] == "redis://(hidden)@h/0"
    assert event["chosen"] == {"url": "redis://(hidden)@h", "s3_secret_key": "(hidden)", "retries": 3}


def test_each_application_has_its_own_table(client: FlaskClient) -> None:
    other = Flask("other")
    problems.register(other, {**problems.SERVERS, ZeroDivisionError: lambda error: problems.not_found("number", "0")})

    @other.get("/raise/fault")
    def fail() -> str:
        raise RAISED["fault"]

    assert other.test_client().get("/raise/fault").status_code == 404
    assert client.get("/raise/fault").status_code == 500
