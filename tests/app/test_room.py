"""All bodies together are bounded, whatever each of them is."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from flask import Flask, Response, request

from app import errors
from app.room import Room
from storage.settings import Settings


def test_a_body_for_which_there_is_no_room_now_is_refused_and_has_room_later() -> None:
    app = Flask("room")
    errors.register(app)
    Room(Settings(max_bodies_bytes=100)).register(app)
    inside, leave = threading.Event(), threading.Event()

    @app.post("/hold")
    def hold() -> Response:
        inside.set()
        assert leave.wait(10)
        return Response(request.get_data())

    @app.post("/")
    def take() -> Response:
        return Response(request.get_data())

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(lambda: app.test_client().post("/hold", data=b"x" * 80))
        assert inside.wait(10)
        refused = app.test_client().post("/", data=b"x" * 30)
        assert refused.status_code == 429 and refused.headers["Retry-After"] and b"max_bodies_bytes" in refused.data
        assert app.test_client().post("/", data=b"x" * 20).status_code == 200
        leave.set()
        assert held.result().status_code == 200
    assert app.test_client().post("/", data=b"x" * 30).status_code == 200
    assert app.test_client().post("/", data=b"x" * 300).status_code == 200, "alone it has room"
