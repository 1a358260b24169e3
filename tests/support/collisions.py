"""Conflicts for tests of commands, and `sluice` run against an API that serves them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import Result
from werkzeug.serving import make_server

from storage.base import logging_setup
from tests.support.api import Api, Json
from tests.support.command_line import sluice

LINES = "".join(f"line {i}\n" for i in range(20))
NOBODY = "01JG8Y6Z3M4N5P6Q7R8S9T0V1W"

Run = Callable[..., Result]


@contextmanager
def runner(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run `sluice` against the API, and expect an exit code."""
    logging_setup.configure("api", "critical")  # it logs to the same standard error as the command
    server = make_server("127.0.0.1", 0, api.http.application, threaded=True)
    monkeypatch.setenv("SLUICE_API_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Ada")
    monkeypatch.setenv("GIT_AUTHOR_EMAIL", "ada@example.org")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def run(*line: str | Path, code: int = 0) -> Result:
        answer = sluice(*line, expect_error=code != 0)
        if answer.exception and not isinstance(answer.exception, SystemExit):
            raise answer.exception
        assert answer.exit_code == code, answer.output
        return answer

    yield run
    server.shutdown()
    thread.join()
    server.server_close()
    logging_setup.configure("api")


def edit(number: int, new: str, text: str = LINES) -> str:
    return text.replace(f"line {number}\n", new + "\n")


def put(path: str, content: str, **more: str) -> Json:
    return {"op": "put", "path": path, "content": content, **more}


def delete(path: str) -> Json:
    return {"op": "delete", "path": path}


def collide(api: Api, before: list[Json], head: list[Json], late: list[Json]) -> str:
    """Land `before`; of two changesets on it, `head` lands and `late` conflicts. Return the id of that one."""
    if before:
        api.submit(base=api.tip, changes=before)
        api.world.work()
    base = api.tip
    api.submit(base=base, changes=head)
    made = api.submit(base=base, changes=late, message="Late")
    api.world.work()
    assert api.get(f"/changesets/{made['id']}")["status"] == "conflicted"
    return str(made["id"])


def one_line(api: Api, path: str = "web/a") -> str:
    """Have two changesets change the fifth line of a file."""
    return collide(
        api, [put(path, LINES)], [put(path, edit(5, "head"))], [put(path, edit(5, "late")), put("more", "1\n")]
    )


def files(api: Api) -> dict[str, bytes]:
    api.world.work()
    return api.world.files()


def new_id(answer: Result) -> str:
    return answer.stdout.split()[0]


def landed(api: Api, **files: str) -> str:
    """Land files and return the tip."""
    api.submit(base=api.tip, changes=[put(path.replace("__", "/"), content) for path, content in files.items()])
    api.world.work()
    return api.tip


def collide_on(api: Api, path: str = "f") -> Json:
    """Have a changeset conflict on `path`, with one more file that does not."""
    base = landed(api, **{path: LINES})
    api.submit(base=base, changes=[put(path, edit(5, "head"))])
    late = api.submit(base=base, changes=[put(path, edit(5, "late")), put("other", "new\n")])
    api.world.work()
    changeset = api.get(f"/changesets/{late['id']}")
    assert changeset["status"] == "conflicted"
    return changeset


def status(api: Api, changeset: Json) -> str:
    return api.get(f"/changesets/{changeset['id']}")["status"]


def text(api: Api, path: str) -> str:
    return api.world.files()[path].decode()
