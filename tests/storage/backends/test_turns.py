"""One large request is worked on at a time, and one that waits for a server is not it."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from storage.backends.deadline import Spent, budget
from storage.backends.turns import LARGE_REQUEST, taking_turns, without_turn

LARGE = LARGE_REQUEST + 1


def _free() -> int:
    """Return how many turns are free, each of which a request in a thread of its own takes."""

    def ask(asked: threading.Barrier) -> bool:
        try:
            with budget("test", 0.05), taking_turns(LARGE):
                asked.wait(60)
                return True
        except Spent:
            asked.wait(60)
            return False

    barrier = threading.Barrier(3)
    with ThreadPoolExecutor(3) as pool:
        return sum(pool.map(ask, [barrier] * 3))


def test_a_large_request_that_waits_for_a_server_yields_its_turn() -> None:
    assert _free() == 1
    with taking_turns(LARGE):
        assert _free() == 0
        with without_turn():
            assert _free() == 1
        assert _free() == 0, "it has a turn again"
    assert _free() == 1


def test_a_large_request_that_fails_while_it_waits_keeps_no_turn() -> None:
    with pytest.raises(Spent), taking_turns(LARGE), without_turn():
        raise Spent("request_budget")
    assert _free() == 1


def test_a_small_request_that_waits_needs_no_turn() -> None:
    with taking_turns(LARGE), ThreadPoolExecutor(1) as pool:

        def small() -> None:
            with taking_turns(1), without_turn():
                pass

        pool.submit(small).result()
        assert _free() == 0


READER = """
from gevent import monkey; monkey.patch_all()
import socket, gevent
from app.service import connection
from storage.backends import turns

here, there = socket.socketpair()
done = []
reader = gevent.spawn(lambda: done.append(here.recv(1)))
gevent.sleep(0.001)
turns._TURN = connection._TURN = 0
limits = connection.Limits(idle=1, head=1, head_bytes=1, body=1, send=1, rate=1)
connected = connection.Connection(there, limits)
let_run = {"breathe": turns.breathe, "connection": lambda: connected._take_turns(connection.time.monotonic())}
there.send(b"x")
turn = 0
while not done:
    let_run[%r]()
    turn += 1
print(turn)
"""


@pytest.mark.parametrize("who", ["breathe", "connection"])
def test_who_lets_others_run_lets_those_run_that_wait_for_what_has_arrived(who: str) -> None:
    done = subprocess.run([sys.executable, "-c", READER % who], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) <= 3
