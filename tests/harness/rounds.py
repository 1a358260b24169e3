"""A round: a fresh stack, writers under load, nemeses one after another and two at once, heal, settle, check."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from app.admin.verify import verify
from app.stack.processes import ProcessFailed
from storage.base.errors import ViewAbsent
from storage.repository import Repository
from tests.harness.checker import Violation, check, outcomes
from tests.harness.evidence import gather
from tests.harness.heartbeat import Heartbeat
from tests.harness.history import History
from tests.harness.nemeses import Nemesis, make
from tests.harness.report import Report
from tests.harness.rig import Rig
from tests.harness.wire import Http, Wire
from tests.harness.writers import Writer, begin

_STARTS = 3

Strike = tuple[str, ...]
"""Nemeses that strike together."""

_HOLD, _CALM = 3.0, 1.0  # most seconds that a fault lasts beyond its least, and between two
_STRIDE = 10  # from the first nemesis of one round to that of the next
_RECOVERY = 60.0  # most seconds of a recovery
_REST, _LOOK_EVERY = 6.0, 0.2  # the log has come to rest when it did not grow for so long
_SETTLE = 60.0  # and everything has ended so many seconds after the last


Say = Callable[[str], None]


class Load:
    """Writers on an API, from `begin` to `settle`."""

    def __init__(self, wire: Wire, seed: str, writers: int) -> None:
        self.history = History()
        self._wire = wire
        self._stop, self._over = threading.Event(), threading.Event()
        self._writers = [Writer(seed, i, wire, self.history, self._stop, self._over) for i in range(writers)]

    def begin(self) -> None:
        """Put there what the writers write on, and let them begin."""
        begin(self._wire, self.history)
        for writer in self._writers:
            writer.start()

    def settle(self, patience: float) -> None:
        """Let the writers end, who wait until they know what became of everything, at most so many seconds."""
        self._stop.set()
        until = time.monotonic() + patience
        for writer in self._writers:
            writer.join(max(0.0, until - time.monotonic()))
        self._over.set()
        for writer in self._writers:
            writer.join()
            if writer.failure:
                raise writer.failure


def singles_and_pairs(names: Sequence[str], seed: str, number: int, until: float) -> Iterator[Strike]:
    """Yield each nemesis alone and in between pairs of them, over and over until a moment.

    The order of those that come alone is that of the seed; a round begins somewhat behind the one before it, so that
    rounds which are too short for all of them have all of them together.
    """
    alone = list(names)
    random.Random(f"{seed}/alone").shuffle(alone)
    rng = random.Random(f"{seed}/{number}/pairs")
    for at in itertools.count(number * _STRIDE):
        for strike in ((alone[at % len(alone)],), tuple(rng.sample(alone, min(2, len(alone))))):
            if time.monotonic() > until:
                return
            yield strike


def run(
    folder: Path,
    s3: str,
    seed: str,
    names: Sequence[str],
    schedule: Iterable[Strike],
    toxiproxy: str | None,
    writers: int = 6,
    hold: float = _HOLD,
    s3_program: str | None = None,
    say: Say = lambda text: None,
) -> Report:
    """Run one round in `folder` and return its report."""
    report = Report(s3, rounds=1)
    began = time.monotonic()
    with _started(folder, s3, toxiproxy, s3_program) as rig:
        nemeses, report.missing = make(rig, list(names), seed)
        wire = Http(rig.entrance)
        load = Load(wire, seed, writers)
        with Heartbeat(wire, load.history) as pulse:
            load.begin()
            for nemesis in nemeses.values():
                nemesis.prepare()
            rng = random.Random(f"{seed}/times")
            for strike in schedule:
                chosen = [nemeses[name] for name in strike if name in nemeses]
                if chosen:
                    _break(chosen, rng, hold, pulse, report, say)
            load.settle(_SETTLE)
        _await_rest(Repository(rig.settings))
        evidence = gather(wire, load.history, rig.settings, _differences(rig), _SETTLE)
        report.violations += check(load.history, evidence)
        report.outcomes = outcomes(load.history, evidence)
        report.unknown = load.history.unknown
    report.seconds = time.monotonic() - began
    say(f"settled and checked: {dict(report.outcomes)}, {len(report.violations)} violations")
    return report


@contextmanager
def _started(folder: Path, s3: str, toxiproxy: str | None, s3_program: str | None) -> Iterator[Rig]:
    """Start a stack, again where another program took one of its ports between the choice and the use."""
    with ExitStack() as around:
        for number in range(_STARTS):
            rig = Rig(folder / f"stack-{number}", s3, toxiproxy, s3_program)
            try:
                around.enter_context(rig)
                break
            except ProcessFailed:
                if number == _STARTS - 1:
                    raise
        yield rig


def _break(chosen: list[Nemesis], rng: random.Random, hold: float, pulse: Heartbeat, report: Report, say: Say) -> None:
    """Have nemeses strike together, heal them, and wait for the recovery."""
    struck: list[Nemesis] = []
    names: list[str] = []
    for nemesis in chosen:
        point = nemesis.strike()
        report.struck(nemesis.name, point)
        if point is not None:
            struck.append(nemesis)
            names.append(f"{nemesis.name} ({point})" if point else nemesis.name)
    lasts = rng.uniform(0.0, hold)
    if any(nemesis.least for nemesis in struck):
        time.sleep(max(nemesis.least for nemesis in struck) + lasts)
    # The last one first: what it took away, an earlier one may need to heal.
    for nemesis in reversed(struck):
        nemesis.heal()
    name = " + ".join(names)
    recovery = pulse.recovery(_RECOVERY)
    if recovery is None:
        report.violations.append(Violation("all-goes-on", f"no recovery within {_RECOVERY:g} s after {name}"))
        recovery = _RECOVERY
    for nemesis in struck:
        report.recovered(nemesis.name, recovery)
    say(f"{name or 'nothing'}: recovered after {recovery:.1f} s")
    time.sleep(rng.uniform(0.0, min(hold, _CALM)))


def _await_rest(repo: Repository) -> None:
    """Wait until the log grows no more: what is retired is deleted after seconds here, so nobody reads beside that."""
    until = time.monotonic() + _SETTLE
    seq, since = 0, time.monotonic()
    while time.monotonic() < until and time.monotonic() - since < _REST:
        time.sleep(_LOOK_EVERY)
        try:
            now = int(repo.view.head().applied)
        except ViewAbsent:
            now = 0
        if now != seq:
            seq, since = now, time.monotonic()


def _differences(rig: Rig) -> list[str]:
    try:
        return verify(Repository(rig.settings)).differences
    except Exception as error:  # noqa: BLE001 - that it cannot be verified is a finding too
        return [f"{type(error).__name__}: {error}"]
