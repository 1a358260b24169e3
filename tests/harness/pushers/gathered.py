"""What Git gets from the gateway once everything has ended: fresh clones, and what nobody may get."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from tests.harness.checker import Case
from tests.harness.evidence import KEY, Evidence
from tests.harness.history import History
from tests.harness.pushers.clone import Clone
from tests.harness.pushers.judge import PART, WHOLE, Cloned, Repository, did_not_land
from tests.harness.pushers.pusher import Door
from tests.harness.writers import SLICES

# Of the commits that did not land, at most so many are asked for by their ids, the newest ones.
_ASKED = 60
_PAUSE = 0.5
# What Git says of an object that the server does not have.
_NOT_THERE = ("not our ref", "upload-pack: not our ref", "couldn't find remote ref")


def gather_clones(door: Door, history: History, evidence: Evidence, patience: float) -> Cloned:
    """Clone everything anew, have Git judge it and the pushers' own clones, and ask for what did not land."""
    cloned = Cloned()
    until = time.monotonic() + patience
    fresh = {}
    for name in (*SLICES, WHOLE):
        clone = Clone(door.folder / f"fresh-{name.replace('/', '-')}", door.of(name), lambda: door.token, "judge")
        said = _cloned(clone, until)
        if said:
            cloned.unsound.append(f"{name} cannot be cloned at the end: {said[-300:]}")
            continue
        fresh[name] = clone
        cloned.repositories[name] = Repository(tuple(SLICES.get(name, ["/"])), list(_log(clone)), dict(_files(clone)))
    for path in sorted(door.folder.iterdir()):
        if (path / ".git").exists():
            cloned.unsound += _faults(path)
    for key, (name, commit) in list(did_not_land(Case(history, evidence)).items())[-_ASKED:]:
        if name in fresh:
            cloned.asked += 1
            if _can_be_had(fresh[name], commit, until):
                cloned.had.append((key, commit))
    return cloned


def _cloned(clone: Clone, until: float) -> str:
    """Clone, again as long as there is time; return what Git said of the last try, empty where it succeeded."""
    while True:
        done = clone.clone()
        if done.ok:
            return ""
        if time.monotonic() > until:
            return done.said or "it says nothing"
        time.sleep(_PAUSE)


def _log(clone: Clone) -> Iterator[tuple[str, str | None]]:
    for part in clone.git("log", "--reverse", "--first-parent", "--format=%x00%H%n%B").split("\0")[1:]:
        commit, _, message = part.partition("\n")
        key = KEY.search(message)
        is_part = message.strip().lower() == PART
        yield commit, PART if is_part else key[1] if key else None


def _files(clone: Clone) -> Iterator[tuple[str, str]]:
    for line in clone.git("ls-tree", "-r", "HEAD").splitlines():
        file, _, path = line.partition("\t")
        mode, _, oid = file.split()
        yield path, f"{mode} {oid}"


def _faults(path: Path) -> list[str]:
    done = Clone(path, "", lambda: None, "judge").run("fsck", "--strict", "--no-progress")
    return [] if done.ok else [f"{path.name}: {done.said[-300:]}"]


def _can_be_had(clone: Clone, commit: str, until: float) -> bool:
    """Ask the server for a commit by its id, until the answer is clear."""
    while True:
        done = clone.run("fetch", "--quiet", "origin", commit)
        if done.ok or any(words in done.said for words in _NOT_THERE) or time.monotonic() > until:
            return done.ok
        time.sleep(_PAUSE)
