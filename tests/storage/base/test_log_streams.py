"""Whatever a process writes is one JSON line an event: what libraries log, what is printed, warned of, and raised."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
BEGIN = """
import logging, sys, threading, traceback, warnings
from storage.base import log_streams, logging_setup
logging_setup.configure("test", secrets=["s3cr3t/key", "abc"])
log_streams.take_over()
"""


def written(script: str) -> list[dict[str, Any]]:
    """Return the events that a process writes in which everything is taken over."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + script], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    return [json.loads(line) for line in (done.stderr + done.stdout).splitlines()]


def test_a_librarys_record_is_an_event_with_its_logger_and_level() -> None:
    [event] = written('logging.getLogger("kombu").warning("lost %s\\nand found", "it")')
    assert (event["event"], event["logger"], event["level"]) == ("lost it\nand found", "kombu", "warning")
    assert event["process"] == "test"


def test_a_record_whose_arguments_do_not_fit_is_written_all_the_same() -> None:
    [event] = written('logging.getLogger("kombu").warning("lost %d", "it")')
    assert event["event"] == "lost %d" and "malformed" in event


def test_libraries_say_nothing_of_each_task_and_each_tick() -> None:
    assert written('for n in ("celery.app.trace", "celery.beat", "kombu"): logging.getLogger(n).debug("x")') == []
    assert written('for n in ("celery.app.trace", "celery.beat"): logging.getLogger(n).info("x")') == []


def test_what_a_task_has_said_of_its_failure_is_not_said_again() -> None:
    script = """
try:
    raise ValueError("wrong")
except ValueError as error:
    error.is_logged = {}
    logging.getLogger("celery.app.trace").exception("Task raised unexpected")
"""
    assert written(script.format(True)) == []
    [event] = written(script.format(False))
    assert "ValueError: wrong" in event["exception"]


def test_a_printed_line_is_an_event_and_half_a_line_is_kept() -> None:
    found = written('print("one"); sys.stderr.write("tw"); sys.stderr.write("o\\n\\n")')
    assert sorted(each["event"] for each in found) == ["one", "two"]
    assert {each["event"]: each["stream"] for each in found} == {"one": "stdout", "two": "stderr"}


def test_a_printed_traceback_is_one_event() -> None:
    found = written("""
try:
    {}["a\\nb"]
except KeyError:
    traceback.print_exc()
print("after")
""")
    assert [each["event"] for each in found] == ["KeyError: 'a\\nb'", "after"]
    assert found[0]["exception"].startswith("Traceback (most recent call last):\n")


@pytest.mark.parametrize(
    ("script", "event"),
    [
        ('raise ValueError("a\\nb")', "process_failed"),
        ('t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()', "thread_failed"),
        ('class A:\n    def __del__(self): 1 / 0\na = A()\ndel a', "exception_ignored"),
        ('warnings.warn("old")', "<string>:6: UserWarning: old"),
    ],
)  # fmt: skip
def test_what_fails_or_is_warned_of_is_one_event(script: str, event: str) -> None:
    [found] = written(script)
    assert found["event"].splitlines()[0] == event
    assert "Traceback" in found.get("exception", "Traceback")


def test_a_secret_is_hidden_anywhere_and_a_short_one_only_by_its_name() -> None:
    found = written("""
logging.getLogger("x").warning("key s3cr3t/key of abc")
logging_setup.log.error("failed", error=ValueError("s3cr3t/key"), where=[{"a": "s3cr3t/key"}])
raise ValueError("redis://:pass@host and s3cr3t/key")
""")
    assert "abc" in found[0]["event"]
    assert "s3cr3t" not in json.dumps(found) and "pass@" not in json.dumps(found)
