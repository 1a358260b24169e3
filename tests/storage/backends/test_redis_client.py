"""Connections of the pool: each answer is for who asked, also behind one who did not wait for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.unread_answers import leave_an_answer

AS_THE_API = """
import sys
from gevent import monkey; monkey.patch_all()
from tests.support.unread_answers import leave_an_answer
leave_an_answer(sys.argv[1])
"""


@pytest.mark.servers
def test_an_answer_that_nobody_has_read_is_not_for_who_asks_next(redis_url: str) -> None:
    leave_an_answer(redis_url)


@pytest.mark.servers
def test_nor_under_gevent(redis_url: str) -> None:
    """Its poll(2) switches to other greenlets."""
    subprocess.run([sys.executable, "-c", AS_THE_API, redis_url], check=True, timeout=120)
