"""All bodies together are bounded, whatever each of them is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask, Response, request

from app.protocol import problems
from app.service.body_limit import BodyLimit, Full, Pool, Share
from storage.base.settings import Settings


def test_a_body_without_room_now_is_refused_and_has_room_later() -> None:
    app = Flask("room")
    problems.register(app)
    BodyLimit(Settings(max_bodies_bytes=100)).register(app)
    inside, leave = threading.Event(), threading.Event()

    @app.post("/hold")
    def hold() -> Response:
        inside.set()
        assert leave.wait(60)
        return Response(request.get_data())

    @app.post("/")
    def take() -> Response:
        return Response(request.get_data())

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(lambda: app.test_client().post("/hold", data=b"x" * 80))
        assert inside.wait(60)
        refused = app.test_client().post("/", data=b"x" * 30)
        assert refused.status_code == 429 and refused.headers["Retry-After"] and b"max_bodies_bytes" in refused.data
        assert app.test_client().post("/", data=b"x" * 20).status_code == 200
        leave.set()
        assert held.result().status_code == 200
    assert app.test_client().post("/", data=b"x" * 30).status_code == 200
    assert app.test_client().post("/", data=b"x" * 300).status_code == 200, "alone it has room"


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
def test_a_body_that_nobody_uses_takes_no_room_from_one_that_somebody_does(method: str) -> None:
    app = Flask("room")
    app.config["MAX_CONTENT_LENGTH"] = 1000
    problems.register(app)
    BodyLimit(Settings(max_bodies_bytes=100)).register(app)
    inside, leave = threading.Event(), threading.Event()

    @app.route("/wait", methods=["GET", "DELETE", "OPTIONS"])
    def wait() -> Response:
        inside.set()
        assert leave.wait(60)
        return Response(str(len(request.get_data())))

    @app.post("/")
    def take() -> Response:
        return Response(request.get_data())

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(lambda: app.test_client().open("/wait", method=method, data=b"x" * 900))
        assert inside.wait(60)
        assert app.test_client().post("/", data=b"x" * 90).status_code == 200
        leave.set()
        assert held.result().status_code == 200 and held.result().data in (b"0", b"")
    assert app.test_client().open("/wait", method=method, data=b"x" * 1001).status_code == 413


def test_a_body_for_an_unknown_resource_or_method_takes_no_room() -> None:
    app = Flask("room")
    problems.register(app)
    BodyLimit(Settings(max_bodies_bytes=100)).register(app)
    app.get("/")(lambda: Response("read"))
    taken: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pool, "grow", _noting(taken))
        assert app.test_client().post("/none", data=b"x" * 300).status_code == 404
        assert app.test_client().post("/", data=b"x" * 300).status_code == 405
    assert max(taken) < 300, "but for the answers"


def _noting(taken: list[int]) -> Callable[[Pool, Share, int], None]:
    grow = Pool.grow

    def noting(pool: Pool, share: Share, size: int) -> None:
        taken.append(size)
        grow(pool, share, size)

    return noting


def test_a_request_without_a_body_is_answered_however_full_the_room_is() -> None:
    pool = Pool(100)
    pool.grow(Share(None), 200)
    pool.grow(empty := Share(None), 0)
    assert empty.size == 0
    with pytest.raises(Full):
        pool.grow(Share(None), 1)
