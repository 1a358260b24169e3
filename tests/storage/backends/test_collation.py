"""The mark is compared by bytes, whatever the locale of Redis says of digits and letters."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from app.stack.processes import Supervisor
from app.stack.servers import redis_server
from storage.backends.redis_client import connect
from storage.base.ids import Seq, new_ulid
from storage.base.settings import Settings
from storage.log.entry import NO_HASH, Genesis
from storage.view.view import View

LOCALE = "cs_CZ.UTF-8"
"""Letters stand before digits in it."""


@pytest.mark.servers
def test_the_mark_passes_the_same_in_a_locale_with_letters_before_digits(tmp_path: Path) -> None:
    localedef = shutil.which("localedef")
    made = tmp_path / LOCALE
    if (
        localedef is None
        or subprocess.run([localedef, "-c", "-i", "cs_CZ", "-f", "UTF-8", made], check=False).returncode
    ):
        pytest.skip("the sources of locales are not installed")
    server = redis_server(tmp_path / "redis")
    environ = {**server.command.environ, "LOCPATH": str(tmp_path), "LC_ALL": LOCALE}
    with Supervisor(tmp_path / "logs", restart=False, abrupt=True) as supervisor:
        supervisor.start(replace(server.command, environ=environ))
        settings = Settings(repository="collation", **server.settings)
        client = connect(settings)
        assert client.eval("return 'A' < '0'", 0) == 1, "Redis has this locale"
        view = View(settings, client)
        genesis = Genesis(seq=Seq(1), previous=NO_HASH, packs=(), commit="c" * 40, tree="e" * 40, time=1)
        view.apply("E", genesis, "h1", published=False)
        view.publish(None, "E")
        ulid = new_ulid()
        ids = sorted(ulid[:-2] + end for end in ("0A", "0Z", "A0", "AZ", "Z0", "ZZ"))
        for passed, mark in enumerate(ids):
            client.hset(view.key("head"), "mark", mark)
            known = view.scripts("known", "".join(ids)).decode()
            assert known == "2" * (passed + 1) + "0" * (len(ids) - passed - 1), mark
