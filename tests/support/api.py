"""A client of the API in the test's own process, and the world behind it."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.api import create_app
from app.service.services import Services
from storage.base.settings import Settings
from storage.repository import Repository
from tests.support.world import World

Json = dict[str, Any]


class Api:
    """A client of an app, and the world behind it. tests/conftest.py ends its threads when its test ends."""

    def __init__(self, settings: Settings, world: World | None = None) -> None:
        self._settings = settings
        self.world = world or World(Repository(settings))
        self.http: FlaskClient = create_app(settings, check=False).test_client()

    def close(self) -> None:
        """End the app's threads, as a process does that stops."""
        services: Services = self.http.application.extensions["sluice"]
        services.stop()

    def another(self) -> Api:
        """Return a second API process of the same repository, with nothing in its caches."""
        return Api(self._settings, World(Repository(self._settings), self.world.all))

    def as_(self, token: str | None) -> Api:
        """Return a client of the same API that sends a token, or none."""
        other = copy(self)
        other.http = self.http.application.test_client()
        if token:
            other.http.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
        return other

    @property
    def tip(self) -> str:
        return self.world.tip.hex()

    def get(self, at: str, expected: int = 200, **query: Any) -> Json:
        answer = self.http.get("/v1" + at, query_string=query)
        assert answer.status_code == expected, answer.data
        return answer.get_json(force=True)

    def post(self, path: str, body: Any, status: int, **headers: str) -> TestResponse:
        answer = self.http.post("/v1" + path, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()})
        assert answer.status_code == status, answer.data
        return answer

    def submit(self, status: int = 202, where: str = "all", key: str | None = None, **body: Any) -> Json:
        headers = {"Idempotency_Key": key} if key else {}
        return self.post(f"/slices/{where}/changesets", {"message": "m", **body}, status, **headers).get_json(
            force=True
        )

    def put(self, path: str, content: str, base: str | None = None) -> Json:
        return self.submit(base=base or self.tip, changes=[{"op": "put", "path": path, "content": content}])


def walk(api: Api, at: str, **query: Any) -> Iterator[Json]:
    """Yield the items of a list by the smallest pages."""
    cursor = None
    while True:
        page = api.get(at, limit=1, **query, **({"cursor": cursor} if cursor else {}))
        assert len(page["items"]) <= 1
        yield from page["items"]
        cursor = page["next"]
        if cursor is None:
            return
