"""How a large request lets others run: the API serves all in one thread, and gevent switches only when one waits.

Loops over the items of a request call `breathe`. A single long call that needs only its arguments runs in a thread, by
`in_thread`. One large request is processed at a time: with several, the times between their turns would add up.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from storage.backends import deadline

T = TypeVar("T")

# Bytes above which a call is worth a thread, and a request is a large one.
LARGE = 64 << 10
LARGE_REQUEST = 256 << 10

_TURN = 0.01  # seconds for which nobody else is let run
_AT_ONCE = 1

_began = 0.0
_large = threading.BoundedSemaphore(_AT_ONCE)
_has_turn: ContextVar[bool] = ContextVar("has_turn", default=False)


def breathe() -> None:
    """Let other requests run, if this one has run for long enough."""
    global _began
    if time.monotonic() - _began > _TURN:
        let_others_run()
        _began = time.monotonic()


def let_others_run() -> None:
    """Let other greenlets run: those that are ready, and those whose data has arrived."""
    gevent = _gevent()
    if gevent is None:
        time.sleep(0)
        return
    # Not sleep(0): gevent goes on with what sleeps so, up to 50 times, before it looks who else has something to read.
    hub = gevent.get_hub()
    with hub.loop.timer(0) as now:
        hub.loop.update_now()
        hub.wait(now)


def _gevent() -> Any:
    """Return gevent if it has patched this process, else None; without an import, since the patching imported it."""
    gevent, monkey = sys.modules.get("gevent"), sys.modules.get("gevent.monkey")
    return gevent if gevent and monkey and monkey.is_module_patched("threading") else None


def in_thread(call: Callable[..., T], *args: object) -> T:
    """Return the result of a call that only computes, on data of its own; under gevent it runs in a thread."""
    gevent = _gevent()
    if gevent is None:
        return call(*args)
    outcome: tuple[T, Exception | None] = gevent.get_hub().threadpool.apply(_outcome, (call, args))
    made, error = outcome
    del outcome
    if error is not None:
        try:
            raise error
        finally:
            del error  # its traceback has this frame, and what the call was given: nothing may keep it in a circle
    return made


def _outcome(call: Callable[..., T], args: tuple[object, ...]) -> tuple[T | None, Exception | None]:
    """Return a call's result or exception: gevent would print an exception in its pool with all arguments."""
    try:
        return call(*args), None
    except Exception as error:  # noqa: BLE001 - it is raised where the call was made
        return None, error


def in_thread_if_large(call: Callable[[bytes], T], data: bytes) -> T:
    """Return the result of `call(data)`, computed in a thread if `data` is large."""
    return in_thread(call, data) if len(data) > LARGE else call(data)


@contextmanager
def taking_turns(size: int) -> Iterator[None]:
    """Process a request of so many bytes; a large one waits for its turn. Raises Spent if that takes too long."""
    if size <= LARGE_REQUEST:
        yield
        return
    _take_turn()
    try:
        yield
    finally:
        _end_turn()


@contextmanager
def without_turn() -> Iterator[None]:
    """Release this request's turn, if it has one, for another large request while this block waits for servers.

    Raises deadline.Spent as `taking_turns` does. If the block fails, the request has no turn any more.
    """
    had = _end_turn()
    yield
    if had:
        _take_turn()


def _take_turn() -> None:
    if not _large.acquire(timeout=deadline.left(threading.TIMEOUT_MAX)):
        raise deadline.Spent("request_budget")
    _has_turn.set(True)


def _end_turn() -> bool:
    """End this request's turn, and tell whether it had one."""
    had = _has_turn.get()
    if had:
        _has_turn.set(False)
        _large.release()
    return had
