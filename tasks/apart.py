"""Work in a process of its own, forked from a worker's child: the memory that it takes ends with it.

Python keeps memory in pieces of a megabyte, and gives one back when nothing at all is left in it. After work that takes
much more than what comes before and behind it, something that lives on stands in nearly all of them: in a caching
child that stays for weeks each peak leaves some behind.

A fork costs some milliseconds, where a new interpreter takes a third of a second to import what is needed. The child's
threads are not there in the fork, and a lock that one of them holds would stay locked: `work` opens what it uses, and
takes no lock of what its parent has opened. `multiprocessing` lets no daemonic process have children, and Celery's are.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn

import structlog

log = structlog.get_logger()

# Of prctl(2).
_SET_PARENT_DEATH_SIGNAL = 1


class EndedBadly(Exception):
    """The process ended before its work did; what it could say of it stands in the log."""


def apart(work: Callable[[], None]) -> None:
    """Run `work` in a fork of this process and wait for its end. Raises EndedBadly.

    The fork is killed where the wait ends early, by a stop or a time limit, and where this process dies: so `work` has
    to be such that it can be killed at any point.
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
        # Left unreaped, so that its id stays its own until it has been killed.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    finally:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code:
        raise EndedBadly(f"killed by signal {-code}" if code < 0 else f"exit status {code}")


def _run_and_exit(work: Callable[[], None], parent: int, signals: Iterable[int]) -> NoReturn:
    status = 1
    try:
        _die_with(parent)
        for number in signal.valid_signals():
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        # Not the parent's, which one of its threads may just be writing to.
        sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        # What is here from before is not looked through for garbage, which would copy every page of it.
        gc.freeze()
        work()
        status = 0
    except Exception:
        log.exception("work_failed")
    finally:
        os._exit(status)  # nothing that the parent has to do at its end is to be done here


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies; where it is no Linux, it ends its work first."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is None:
        return
    prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
