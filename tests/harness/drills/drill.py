"""A drill: a stack of default settings under load, what is done to it, and the judgement of every answer."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from app.admin.verify import verify
from app.stack.stack import Stack
from storage.repository import Repository
from tests.harness.checker import Violation, check, outcomes
from tests.harness.drills.clients import Listener, Poller
from tests.harness.drills.tally import Tally
from tests.harness.evidence import gather
from tests.harness.heartbeat import Heartbeat
from tests.harness.history import Edit, Submission
from tests.harness.rounds import Load, Say
from tests.harness.session import Session
from tests.harness.wire import Http
from tests.harness.writers import message_of

# Longer than any answer may take: above request_budget and above the longest poll.
_PATIENCE = 45.0
CALM = 10
_GOES_ON = 60.0  # seconds after which landing has stopped for good
_SETTLE = 90.0


@dataclass(slots=True)
class Report:
    """What a drill came to."""

    drill: str
    s3: str
    seed: str
    seconds: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)  # seconds, by what took them
    answers: Counter[int] = field(default_factory=Counter)  # by status
    slowest: float = 0.0  # the request that took longest, in seconds
    streams: int = 0  # how often the stream of events was taken up
    outcomes: Counter[str] = field(default_factory=Counter)
    breaches: list[str] = field(default_factory=list)  # answers that no client may get
    late: list[str] = field(default_factory=list)  # what took longer than is promised
    memory: dict[str, tuple[int, int]] = field(default_factory=dict)  # bytes of Redis before and at the end of a phase
    violations: list[Violation] = field(default_factory=list)  # what was lost, twice or wrong

    @property
    def kept(self) -> bool:
        """Whether every promise was kept, but for those about time."""
        return not self.breaches and not self.violations


@dataclass(slots=True)
class Scene:
    """What a drill works with."""

    stack: Stack
    tally: Tally
    heartbeat: Heartbeat
    session: Session  # of a writer that is none of the load's
    report: Report
    say: Say
    calm: int  # global commits before anything is done, and after it
    _keys: Iterator[int] = field(default_factory=count)

    def await_landing(self, after: str) -> float:
        """Wait until something lands, and return how long that took (seconds)."""
        return self._within(self.heartbeat.next_landing(_GOES_ON), f"nothing landed for {_GOES_ON:g} s after {after}")

    def await_recovery(self, after: str) -> float:
        """Wait until all that is accepted by now has ended, and return how long that took (seconds)."""
        text = f"not all that was accepted ended within {_GOES_ON:g} s after {after}"
        return self._within(self.heartbeat.recovery(_GOES_ON), text)

    def submit(self, hold: bool = False) -> str:
        """Submit a changeset beside the load, until it is accepted, and return its id."""
        key = f"{self.session.name}-{next(self._keys)}"
        path, line = f"own/{self.session.name}/{key}.txt", f"{key}.0"
        submission = Submission(key, self.session.name, {path: Edit((line,))}, held=hold)
        changes = [{"op": "put", "path": path, "content": line + "\n", "base": None}]
        body = {"message": message_of(key), "changes": changes} | ({"hold": True} if hold else {})
        made = None
        while made is None:  # as any writer it may give up, and then nobody knows: the next try has the same key
            made = self.session.submit("everything", submission, body)
        return made

    def await_landed(self, changeset: str) -> None:
        """Wait until a changeset has landed."""
        until = time.monotonic() + _GOES_ON
        while time.monotonic() < until:
            document = self.session.look(changeset, wait=5)
            if document and document["status"] == "landed":
                return
        self._within(None, f"{changeset} did not land within {_GOES_ON:g} s")

    def carry_on(self) -> None:
        """Let the writers write for a while."""
        for _ in range(self.calm):
            self.await_landing("landing went on")

    def _within(self, took: float | None, otherwise: str) -> float:
        if took is None:
            self.report.violations.append(Violation("landing-goes-on", otherwise))
        return _GOES_ON if took is None else took

    def note(self, what: str, seconds: float) -> None:
        """Keep a figure, and say it."""
        self.report.figures[what] = round(seconds, 2)
        self.say(f"{what}: {seconds:.2f} s")


Plan = Callable[[Scene], None]


def run(
    name: str,
    plan: Plan,
    folder: Path,
    s3: str,
    seed: str,
    writers: int = 8,
    calm: int = CALM,
    settings: Mapping[str, Any] | None = None,
    s3_program: str | None = None,
    say: Say = lambda text: None,
    kind: type[Stack] = Stack,
) -> Report:
    """Do what `plan` does to a stack (of this kind) under load, and return what came of it."""
    report = Report(name, s3, seed)
    began = time.monotonic()
    with kind(folder, settings, s3=s3, s3_program=s3_program, abrupt=True, with_webhooks=True) as stack:
        tally = Tally(Http(stack.url, _PATIENCE))
        load = Load(tally, seed, writers)
        listener = Listener(stack.url, tally)
        listener.start()
        listener.open.wait(_GOES_ON)
        with Heartbeat(tally, load.history) as heartbeat:
            session = Session("beside", tally, load.history, random.Random(seed), threading.Event())
            scene = Scene(stack, tally, heartbeat, session, report, say, calm)
            load.begin()
            held = scene.submit(hold=True)
            poller = Poller(tally, held)
            poller.start()
            scene.carry_on()
            plan(scene)
            scene.carry_on()
            poller.end()
            session.post(held, "release")
            load.settle(_SETTLE)
            poller.join()
        evidence = gather(tally, load.history, stack.settings, _differences(stack), _SETTLE)
        report.violations += check(load.history, evidence)
        report.outcomes = outcomes(load.history, evidence)
        landed = {
            changeset for changeset, answer in evidence.final.items() if answer.document.get("status") == "landed"
        }
        report.violations += _event_violations(listener, landed)
        listener.end()
    report.answers, report.slowest, report.breaches = tally.answers, tally.slowest, tally.breaches
    report.streams, report.seconds = listener.streams, time.monotonic() - began
    return report


def _event_violations(listener: Listener, landed: set[str]) -> list[Violation]:
    """Return where the stream does not have each landed changeset once, however often it was resumed."""
    missed = listener.await_landed(landed, _GOES_ON)
    twice = sorted(changeset for changeset, times in listener.landed.items() if times > 1)
    wrong = {f"landed, without an event: {sorted(missed)}": missed}
    wrong |= {f"has two events or more: {twice}": set(twice)}
    return [Violation("events-come-once", text) for text, changesets in wrong.items() if changesets]


def _differences(stack: Stack) -> list[str]:
    try:
        return verify(Repository(stack.settings)).differences
    except Exception as error:  # noqa: BLE001 - that it cannot be verified is a finding too
        return [f"{type(error).__name__}: {error}"]
