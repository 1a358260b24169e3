"""The API on a Redis that answers and refuses: reads go on, submissions are 202 or 503 with the reason, never a 500."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue

import pytest
import redis
from redis.exceptions import OutOfMemoryError

from storage.backends.primary import why
from storage.backends.redis_memory import Memory
from storage.base.settings import Settings
from storage.queue.states import Stage
from tests.support.api import Api
from tests.support.own_redis import own_redis, url_of

PATIENCE = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, servers: object) -> Iterator[redis.Redis]:
    with own_redis(tmp_path_factory.mktemp("own")) as client:
        yield client


@pytest.fixture
def api(server: redis.Redis, s3: dict[str, str], repository: str, unsent: SimpleQueue[str]) -> Iterator[Api]:
    made = Api(Settings(repository=repository, redis_url=url_of(server), **s3))
    yield made
    made.close()


@contextlib.contextmanager
def full(server: redis.Redis, api: Api) -> Iterator[None]:
    """Leave Redis no memory at all, and let the process have noticed that."""
    server.config_set("maxmemory", 1)
    api.http.application.extensions["sluice"].repo.memory._until = 0.0
    try:
        yield
    finally:
        server.config_set("maxmemory", 0)
        api.http.application.extensions["sluice"].repo.memory._until = 0.0


def submission(api: Api) -> dict[str, object]:
    return {"message": "m", "base": api.tip, "changes": [{"op": "put", "path": "new", "content": "x"}]}


def reads(api: Api) -> list[str]:
    """Have something of everything, and return where it is read."""
    base = api.tip
    landed = api.put("d/f", "1\n", base)["id"]
    collides = api.put("d/f", "2\n", base)["id"]
    api.world.work()
    queued = api.put("d/g", "1\n")["id"]
    of = [f"/v1/changesets/{each}" for each in (landed, collides, queued)]
    return [
        *("/v1/head", "/v1/slices", "/v1/slices/all", "/v1/commits", "/v1/merges", "/metrics", "/healthz"),
        *of,
        *(f"{each}?wait=0.1&until=landed" for each in of),
        *("/v1/slices/all/files/d/f", "/v1/slices/all/tree", "/v1/slices/all/changesets?status=queued"),
        *(f"/v1/changesets/{landed}/diff", f"/v1/changesets/{collides}/conflicts", f"/v1/changesets/{queued}/diff"),
    ]


def test_a_full_redis_answers_reads_and_refuses_submissions_with_a_reason(api: Api, server: redis.Redis) -> None:
    where = reads(api)
    before = {at: api.http.get(at).status_code for at in where}
    stored = len(list(api.world.repo.bucket.list_keys("inbox/")))
    with full(server, api):
        assert {at: api.http.get(at).status_code for at in where} == before
        for path, body in (
            ("/v1/slices/all/changesets", submission(api)),
            ("/v1/changesets", {"changesets": [submission(api) | {"slice": "all"}]}),
            ("/v1/slices", {"name": "another", "paths": ["another/"]}),
        ):
            refused = api.http.post(path, json=body)
            assert refused.status_code == 503 and refused.headers["Retry-After"]
            assert "redis_memory_high" in refused.get_json(force=True)["detail"]
    assert len(list(api.world.repo.bucket.list_keys("inbox/"))) == stored, "nothing half done"
    assert api.http.post("/v1/slices/all/changesets", json=submission(api)).status_code == 202


def test_while_redis_is_full_what_makes_room_and_what_only_asks_goes_on(api: Api, server: redis.Redis) -> None:
    queued = api.put("d/g", "1\n")["id"]
    with full(server, api):
        assert api.http.post("/v1/slices/all/check", json=submission(api)).status_code == 200
        assert api.http.post(f"/v1/changesets/{queued}/abandon").status_code == 200
        assert api.get(f"/changesets/{queued}")["status"] == "abandoned"


def test_what_was_let_through_before_redis_was_full_is_202_and_readable(
    api: Api, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Memory, "is_high", lambda self: False)
    with full(server, api):
        taken = api.http.post("/v1/slices/all/changesets", json=submission(api))
        assert taken.status_code == 202
        assert api.get(f"/changesets/{taken.get_json(force=True)['id']}")["status"] == "queued"


def broken_disk(server: redis.Redis) -> Callable[[], object]:
    before = server.config_get("dir")["dir"]
    server.config_set("save", "3600 1")
    server.config_set("dir", "/proc")  # where nobody can make a file
    with contextlib.suppress(redis.ResponseError):
        server.bgsave()
    until = time.monotonic() + PATIENCE
    while server.info("persistence")["rdb_last_bgsave_status"] == "ok":
        assert time.monotonic() < until
        time.sleep(0.02)

    def mend() -> None:
        server.config_set("save", "")
        server.config_set("dir", before)

    return mend


def demoted(server: redis.Redis) -> Callable[[], object]:
    server.replicaof("127.0.0.1", "1")
    return lambda: server.replicaof("NO", "ONE")


@pytest.mark.parametrize("broken", [broken_disk, demoted])
def test_without_writes_to_redis_reads_work_and_queueing_is_made_up_later(
    api: Api, server: redis.Redis, broken: Callable[[redis.Redis], Callable[[], object]]
) -> None:
    landed = api.put("d/f", "1\n")["id"]
    api.world.work()
    mend = broken(server)
    try:
        for at in ("/v1/head", f"/v1/changesets/{landed}", "/v1/slices/all/files/d/f", "/metrics"):
            assert api.http.get(at).status_code == 200, at
        answer = api.http.post("/v1/slices/all/changesets", json=submission(api))
        assert answer.status_code == 202 or "Redis" in answer.get_json(force=True)["detail"]
        made = api.http.post("/v1/slices", json={"name": "another", "paths": ["another/"]})
        assert made.status_code == 503 and made.get_json(force=True)["detail"].startswith("Redis ")
    finally:
        mend()
    if answer.status_code == 202:
        changeset, until = answer.get_json(force=True)["id"], time.monotonic() + PATIENCE
        while api.world.repo.queue.stages([changeset]) != [Stage.WAITING]:
            assert time.monotonic() < until
            time.sleep(0.02)


def test_a_redis_that_is_busy_is_a_503_that_says_so(api: Api, server: redis.Redis) -> None:
    with redis.Redis.from_url(url_of(server)) as other:
        thread = threading.Thread(target=spin, args=(other,))
        thread.start()
        until = time.monotonic() + PATIENCE
        while "busy" not in (answer := api.http.get("/v1/head")).get_json(force=True).get("detail", ""):
            assert answer.status_code in {200, 503} and time.monotonic() < until
        assert answer.status_code == 503 and answer.headers["Retry-After"]
        server.script_kill()
        thread.join()
    assert api.http.get("/v1/head").status_code == 200


def spin(client: redis.Redis) -> None:
    with contextlib.suppress(redis.RedisError):
        client.eval("while true do end", 0)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OutOfMemoryError("command not allowed"), "no memory"),
        (redis.BusyLoadingError("Redis is loading the dataset in memory"), "loading"),
        (redis.ResponseError("MISCONF Errors writing to the AOF file: No space left on device"), "disk"),
        (redis.ResponseError("BUSY Redis is busy running a script."), "busy"),
        (redis.ResponseError("NOREPLICAS Not enough good replicas to write."), "replicas"),
        (redis.ConnectionError("refused"), "does not answer"),
    ],
)
def test_the_reason_of_a_503_says_what_redis_says(error: Exception, words: str) -> None:
    assert words in why(error)
