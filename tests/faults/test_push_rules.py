"""The rules about pushes: each with a forged history that it must find fault with, and with a real bug of a gateway."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from app.gateway.receive import incoming
from app.gateway.receive.incoming import Incoming
from app.gateway.receive.known import Known, KnownCommits
from storage.base.ids import ObjectId
from storage.base.settings import Settings
from storage.git.run_git import isolated_environment
from tasks import notify
from tests.harness.checker import Violation, by_rule, check
from tests.harness.evidence import Commit, Evidence, gather
from tests.harness.history import Edit, History, Submission, Told
from tests.harness.pushers.gathered import gather_clones
from tests.harness.pushers.judge import PART, PUSH_RULES, WHOLE, Cloned, Repository
from tests.harness.pushers.pusher import Door
from tests.harness.rounds import Load
from tests.harness.small import Small
from tests.harness.wire import Answer
from tests.support.pushing import serving

ID, OTHER = "01K0M8XJ5E3Q4T7N9V2B6C8D0F", "01K0M8XJ5E3Q4T7N9V2B6C8D1G"
FIRST, LANDED, LOST = "1" * 40, "2" * 40, "3" * 40
PATH, FILE = "own/p0/p0-0.txt", "100644 " + "a" * 40
LINE = ("a line",)


def forged(*told: Told, branches: Sequence[tuple[str, str]] = (), cloned: Cloned | None = None) -> dict[str, list[str]]:
    """Return what the rules find where one push has landed and another is in conflict, by name."""
    history = History()
    edits = {PATH: Edit(LINE)}
    history.submissions = {
        "p0-0": Submission("p0-0", "p0", edits, ids={ID: 1.0}, pushed=LANDED, slice="parts"),
        "p0-1": Submission("p0-1", "p0", edits, ids={OTHER: 2.0}, pushed=LOST, slice="parts"),
    }
    history.told = list(told)
    history.branches = set(branches)
    chain = [Commit(FIRST, (), "", (), None, {}), Commit(LANDED, (FIRST,), "", (ID,), "p0-0", edits)]
    final = {ID: Answer(200, b'{"status": "landed"}'), OTHER: Answer(200, b'{"status": "conflicted"}')}
    evidence = Evidence(final, chain, clones=cloned or clones())
    return by_rule(PUSH_RULES, history, evidence)


def clones(log: Sequence[tuple[str, str | None]] = ((LANDED, "p0-0"),), files: dict[str, str] | None = None) -> Cloned:
    """Return what a fresh clone of the slice has, and a whole that is right."""
    part = Repository(("own/",), list(log), {PATH: FILE} if files is None else files)
    whole = Repository(("/",), [(FIRST, None), (LANDED, "p0-0")], {PATH: FILE, "rooms/x": FILE})
    return Cloned({"parts": part, WHOLE: whole}, asked=1)


TOLD = Told(3.0, "p0", "p0-0", "landed", ID)


def test_what_is_right_is_no_violation() -> None:
    conflict = Told(3.0, "p0", "p0-1", "conflicted", OTHER)
    queued = Told(2.0, "p0", "p0-1", "queued", OTHER)
    as_it_is = replace(TOLD, changeset=None)
    assert forged(TOLD, conflict, queued, as_it_is, branches=[("parts", LANDED), ("texts", LOST)]) == {}


@pytest.mark.parametrize(
    "told",
    [
        Told(3.0, "p0", "p0-1", "landed", OTHER),  # it is in conflict
        Told(3.0, "p0", "p0-1", "landed", None),
        Told(3.0, "p0", "p0-1", "committed", OTHER),
        replace(TOLD, status="conflicted"),  # it has landed
        replace(TOLD, status="rejected"),
        Told(3.0, "p0", "p0-1", "rejected", OTHER),  # it is in conflict
    ],
)
def test_a_push_that_was_told_what_is_not_true_is_found(told: Told) -> None:
    assert forged(told).keys() == {"pushes-were-told-the-truth"}


def test_a_branch_that_went_back_is_found() -> None:
    assert forged(branches=[("parts", LOST)]).keys() == {"what-git-saw-is-still-there"}


@pytest.mark.parametrize(
    "log",
    [
        [],  # it has landed
        [(LANDED, "p0-0"), ("4" * 40, "p0-0")],  # twice
        [(LANDED, "p0-0"), (LOST, "p0-1")],  # what did not land
        [(LANDED, PART)],  # it has no other paths
        [(LANDED, "p0-0"), ("4" * 40, PART)],
    ],
)
def test_a_slice_without_what_landed_or_with_more_is_found(log: list[tuple[str, str | None]]) -> None:
    assert forged(cloned=clones(log)).keys() == {"slices-have-what-landed-once"}


@pytest.mark.parametrize("files", [{}, {PATH: "100644 " + "b" * 40}, {PATH: FILE, "own/other": FILE}])
def test_a_slice_with_other_files_than_the_whole_is_found(files: dict[str, str]) -> None:
    assert forged(cloned=clones(files=files)).keys() == {"a-slice-is-its-part-of-the-whole"}


def test_a_whole_that_is_not_the_chain_is_found() -> None:
    wrong = clones()
    wrong.repositories[WHOLE].log.append((LOST, None))
    assert forged(cloned=wrong).keys() == {"a-slice-is-its-part-of-the-whole"}


def test_a_clone_that_git_finds_fault_with_is_found() -> None:
    wrong = clones()
    wrong.unsound.append("p0-0: missing blob")
    assert forged(cloned=wrong).keys() == {"clones-are-whole"}


def test_a_refused_commit_that_can_be_had_is_found() -> None:
    wrong = clones()
    wrong.had.append(("p0-1", LOST))
    assert forged(cloned=wrong).keys() == {"what-was-refused-cannot-be-had"}


# --- Real pushers, and a gateway with a bug -------------------------------------------------------------------------

_FOUND_WITHIN = 240.0
# Seconds of pushing before the judge is asked, and of waiting for what a bug may have made endless.
_PUSHING, _SETTLING = 8.0, 60.0
# So many pushes are enough, where a bug hides that some are in conflict.
_PUSHES = 60

Bug = Callable[[pytest.MonkeyPatch], None]


def forgets_what_was_pushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that was pushed before is taken for a new one, under a new key."""
    number = itertools.count()

    def find(known: KnownCommits, oids: Sequence[ObjectId]) -> tuple[dict[ObjectId, Known], dict[ObjectId, str]]:
        return {}, {oid: f"{oid.hex()}-{next(number)}" for oid in oids}

    monkeypatch.setattr(KnownCommits, "find", find)


def receives_into_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """The objects of a push go where the slice's own are, before anybody knows whether it lands."""
    begin = Incoming.__init__

    def beside(self: Incoming, folder: Path, store: Path) -> None:
        begin(self, folder, store)
        self._git = incoming.Git(environment=isolated_environment(store))

    monkeypatch.setattr(Incoming, "__init__", beside)
    monkeypatch.setattr("app.gateway.receive.small.in_memory.MOST_BYTES", 0)  # else a small one has none


def tells_conflicts_as_landed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A push is told that all went well, whatever became of it."""
    monkeypatch.setattr("app.gateway.receive.outcomes.refusal", lambda known, who: None)
    monkeypatch.setattr(
        "app.gateway.receive.outcomes.told",
        lambda oid, subject, known: f"{oid.hex()[:10]} {subject}: landed (changeset {known.changeset})",
    )


BUGS: dict[Bug, set[str]] = {
    forgets_what_was_pushed: {"one-changeset-a-key", "pushes-were-told-the-truth", "slices-have-what-landed-once"},
    receives_into_the_store: {"what-was-refused-cannot-be-had"},
    tells_conflicts_as_landed: {"pushes-were-told-the-truth"},
}
"""Each with rules that it must break, one of them at least."""


@pytest.fixture
def s3_kind() -> str:
    """What finds a bug does not depend on the S3 server."""
    return "seaweedfs"


@pytest.fixture(autouse=True)
def no_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "send", lambda app, task, token=None: None)


def judge(settings: Settings, seed: str, folder: Path) -> list[Violation]:
    """Return what is found after some seconds of pushing, in which some pushes were in conflict."""
    # What a clone store reads while it follows the log is not to be deleted under it.
    with Small(settings, gc_grace=60.0) as small, serving(small.settings, folder) as (_, url):
        door = Door(url, folder / "clones", small.token, number=3)
        load = Load(small.wire, seed, writers=1, guests=1, door=door)
        load.begin()
        until, pause, done = time.monotonic() + _PUSHING, threading.Event(), load.history.by_git
        while time.monotonic() < until or not (done["pushes in conflict"] > 1 or done["pushes"] > _PUSHES):
            assert time.monotonic() < until + _FOUND_WITHIN, done
            pause.wait(0.2)
        load.settle(_SETTLING)
        small.rest()
        evidence = gather(small.wire, load.history, small.settings, small.differences(), 2.0)
        evidence.clones = gather_clones(door, load.history, evidence, 20.0)
        return check(load.history, evidence)


def test_without_a_bug_nothing_is_found(settings: Settings, tmp_path: Path) -> None:
    found = judge(settings, "none", tmp_path)
    assert not found, "\n".join(map(str, found))


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__.replace("_", "-"))
def test_a_bug_is_found_by_what_it_does(
    settings: Settings, bug: Bug, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bug(monkeypatch)
    until = time.monotonic() + _FOUND_WITHIN
    found: list[Violation] = []
    for number in itertools.count():
        # In a repository of its own: its pushers begin with the same keys.
        fresh = replace(settings, repository=f"{settings.repository}-{number}")
        (tmp_path / str(number)).mkdir()
        found = judge(fresh, f"{bug.__name__}/{number}", tmp_path / str(number))
        if BUGS[bug] & {violation.rule for violation in found} or time.monotonic() > until:
            break
    assert BUGS[bug] & {violation.rule for violation in found}, "\n".join(map(str, found))
