"""A round: a fresh stack, writers under load, nemeses one after another and two at once, heal, settle, check."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast

from app.admin.verify import verify
from app.stack.processes import ProcessFailed
from storage.base.errors import ViewAbsent
from storage.repository import Repository
from tests.harness.checker import Violation, check, outcomes
from tests.harness.evidence import gather
from tests.harness.heartbeat import Heartbeat
from tests.harness.history import History
from tests.harness.logged import lines_about
from tests.harness.nemeses import Nemesis, make
from tests.harness.pushers.gathered import gather_clones
from tests.harness.pushers.pusher import Door, Pusher
from tests.harness.report import Report
from tests.harness.rig import Rig
from tests.harness.rights.badge import Badge
from tests.harness.rights.guests import PLANTED, ROOM_SLICES, Guest
from tests.harness.rights.registrar import Registrar
from tests.harness.session import Session
from tests.harness.wire import Doors, Http, Wire
from tests.harness.writers import SLICES, Writer, begin

_STARTS = 3
GUESTS = 3
PUSHERS = 4

Strike = tuple[str, ...]
"""Nemeses that strike together."""

_HOLD, _CALM = 3.0, 1.0  # most seconds that a fault lasts beyond its least, and between two
_STRIDE = 10  # from the first nemesis of one round to that of the next
# Most seconds of a recovery, and how many more for each pusher: their Git takes the CPU that a killed process needs to
# start again.
_RECOVERY, _RECOVERY_BESIDE = 60.0, 1.0
_REST, _LOOK_EVERY = 6.0, 0.2  # the log has come to rest when it did not grow for so long
_SETTLE = 60.0  # and everything has ended so many seconds after the last


Say = Callable[[str], None]


class Load:
    """Writers on an API, from `begin` to `settle`.

    With `guests`, everybody has a token, and the wire has to send the root token: somebody changes the policy and
    replaces tokens all the time, and the guests try what they may not. With a `door` there are pushers too.
    """

    def __init__(self, wire: Wire, seed: str, writers: int, guests: int = 0, door: Door | None = None) -> None:
        self.history = History()
        self._wire = wire
        self._stop, self._over = threading.Event(), threading.Event()
        self._held: list[str] = []  # by guests
        wires: list[Wire] = [wire] * writers
        self._around: list[Guest | Registrar | Pusher] = []
        pushers = door.number if door else 0
        tokens: list[Callable[[], str | None]] = [lambda: door.token if door else None] * pushers
        self._registrar: Registrar | None = None
        if guests:
            slices = {**SLICES, **ROOM_SLICES}
            doors = cast(Doors, wire)
            badges = [
                [Badge(doors, self.history, f"agent:{kind}{i}", slices) for i in range(number)]
                for kind, number in (("w", writers), ("p", pushers), ("g", guests))
            ]
            wires[:] = badges[0]
            tokens = [badge.secret for badge in badges[1]]
            writing = [*badges[0], *badges[1]]
            self._registrar = Registrar(seed, wire, self.history, writing, badges[2], self._stop, self._over)
            self._around += [Guest(seed, badge, self.history, self._held, self._stop) for badge in badges[2]]
            self._around.append(self._registrar)
        if door:
            door.folder.mkdir(parents=True, exist_ok=True)
            for i, token in enumerate(tokens):
                self._around.append(Pusher(seed, i, door, token, self.history, self._stop, self._over))
        self._writers = [Writer(seed, i, own, self.history, self._stop, self._over) for i, own in enumerate(wires)]

    def begin(self) -> None:
        """Put there what the writers write on, and let them begin."""
        begin(self._wire, self.history, ROOM_SLICES if self._registrar else {}, PLANTED if self._registrar else {})
        if self._registrar:
            self._registrar.begin()
        for thread in (*self._writers, *self._around):
            thread.start()

    def settle(self, patience: float) -> None:
        """Let the writers end, who wait until they know what became of everything, at most so many seconds."""
        self._stop.set()
        until = time.monotonic() + patience
        for thread in (*self._around, *self._writers):
            thread.join(max(0.0, until - time.monotonic()))
        self._let_go(until)
        self._over.set()
        for thread in (*self._around, *self._writers):
            thread.join()
            if thread.failure:
                raise thread.failure

    def _let_go(self, until: float) -> None:
        """Release what guests left held, and wait until everything of theirs has ended."""
        session = Session("end", self._wire, self.history, random.Random(0), self._over, until)
        for changeset in self._held:
            session.post(changeset, "release")
        guests = [each for each in self.history.submissions.values() if each.writer.startswith("g")]
        for changeset in [changeset for each in guests for changeset in each.ids]:
            while changeset not in self.history.ended and time.monotonic() < until:
                session.look(changeset, 2.0)


def about_rights(history: History) -> Counter[str]:
    """Count the policies that were set, the tokens that were revoked, and the requests of guests that were refused."""
    refused = Counter(asked.status for asked in history.asked if asked.principal.startswith("agent:g"))
    return Counter(
        policies=sum(policy.acknowledged is not None for policy in history.policies.values()),
        revoked=sum(token.revoked is not None for token in history.tokens.values()),
        refused=sum(refused[status] for status in (401, 403, 404)),
    )


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
    guests: int = GUESTS,
    pushers: int = PUSHERS,
    hold: float = _HOLD,
    s3_program: str | None = None,
    say: Say = lambda text: None,
) -> Report:
    """Run one round in `folder` and return its report."""
    report = Report(s3, rounds=1)
    began = time.monotonic()
    with _started(folder, s3, toxiproxy, s3_program) as rig:
        nemeses, report.missing = make(rig, list(names), seed)
        wire = Http(rig.entrance, token=rig.token)
        door = Door(rig.git_entrance, folder / "clones", rig.token, pushers)
        load = Load(wire, seed, writers, guests, door)
        with Heartbeat(wire, load.history) as pulse:
            load.begin()
            for nemesis in nemeses.values():
                nemesis.prepare()
            rng = random.Random(f"{seed}/times")
            patience = _RECOVERY + pushers * _RECOVERY_BESIDE
            for strike in schedule:
                chosen = [nemeses[name] for name in strike if name in nemeses]
                if chosen:
                    _break(chosen, rng, hold, patience, pulse, report, say)
            load.settle(_SETTLE)
        _await_rest(Repository(rig.settings))
        evidence = gather(wire, load.history, rig.settings, _differences(rig), _SETTLE)
        evidence.clones = gather_clones(door, load.history, evidence, _SETTLE)
        report.violations += check(load.history, evidence)
        for line in lines_about(rig.data / "logs", map(str, report.violations)):
            say(line)
        report.outcomes = outcomes(load.history, evidence)
        report.unknown = load.history.unknown
        report.rights = about_rights(load.history)
        report.by_git = load.history.by_git + Counter({"commits asked for": evidence.clones.asked})
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


def _break(
    chosen: list[Nemesis],
    rng: random.Random,
    hold: float,
    patience: float,
    pulse: Heartbeat,
    report: Report,
    say: Say,
) -> None:
    """Have nemeses strike together, heal them, and wait for the recovery, `patience` seconds at most."""
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
    recovery = pulse.recovery(patience)
    if recovery is None:
        report.violations.append(Violation("all-goes-on", f"no recovery within {patience:g} s after {name}"))
        recovery = patience
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
