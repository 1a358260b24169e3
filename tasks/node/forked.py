"""Work in a process of its own, forked from a worker's child: the memory that it takes ends with it.

Python allocates memory in arenas of a megabyte, and returns one only when nothing is left in it. After a memory peak
nearly every arena contains some object that stays, so in a long-lived child with caches each peak leaves some memory
allocated.

A fork costs some milliseconds, and a new interpreter a third of a second for its imports. The fork has none of the
parent's threads, and a lock that one of them held would stay locked: `work` opens what it uses itself, and takes no
lock of an object that its parent has opened. `multiprocessing` cannot be used: Celery's children are daemonic.
"""

import ctypes
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import NoReturn

import structlog

from storage.base.errors import Unavailable

log = structlog.get_logger()

# How a fork ends.
_DONE, _WENT_WRONG, _NOT_DONE = 0, 1, 3
# Seconds between SIGTERM and SIGKILL, and between two looks whether it has ended.
_GRACE, _LOOK_EVERY = 3.0, 0.01
# Of prctl(2).
_SET_PARENT_DEATH_SIGNAL = 1


class EndedBadly(Unavailable):
    """The process ended before its work was done; the reason is in the log, if it could write it."""


def run_forked(work: Callable[[], bool]) -> bool:
    """Run `work` in a fork of this process, wait for its end, and return what it returns. Raises EndedBadly.

    If the wait ends early, by a stop or a time limit, SystemExit is raised in the fork, so that it releases its locks.
    It is killed if that takes long, or if this process dies: so `work` has to tolerate being killed at any point.
    """
    parent = os.getpid()
    # A handler that raised in the fork would have it go on as a second one of this process.
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
    except OSError:
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        raise
    if pid == 0:
        _run_and_exit(work, parent, signals)
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        # Left unreaped, so that its id stays its own until it has been ended.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    finally:
        signals = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        code = os.waitstatus_to_exitcode(_end(pid))
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
    if code not in {_DONE, _NOT_DONE}:
        raise EndedBadly(f"killed by signal {-code}" if code < 0 else f"exit status {code}")
    return code == _DONE


def _end(pid: int) -> int:
    """End a child, if it has not ended, and return its status."""
    os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + _GRACE
    while time.monotonic() < until:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        time.sleep(_LOOK_EVERY)
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def _stop(number: int, frame: object) -> NoReturn:
    raise SystemExit


def _run_and_exit(work: Callable[[], bool], parent: int, signals: Iterable[int]) -> NoReturn:
    status = _WENT_WRONG
    try:
        _die_with(parent)
        for number in signal.valid_signals():
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, _stop)
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        # Not the parent's, which one of its threads may just be writing to.
        sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        # What is here from before is not looked through for garbage, which would copy every page of it.
        gc.freeze()
        status = _DONE if work() else _NOT_DONE
    except Exception:
        log.exception("work_failed")
    finally:
        os._exit(status)  # nothing that the parent has to do at its end is to be done here


def _die_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies; without Linux it completes its work first."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is None:
        return
    prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
