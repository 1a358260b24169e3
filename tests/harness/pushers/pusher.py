"""Pushers: each clones a slice, and then commits, pushes, pulls and resolves with Git alone, as docs/git.md says.

A commit is a submission of the history: its key stands in its message, and what it does is read off its diff before it
is pushed. As long as nobody knows what became of a push, the same is pushed again; only what is decided, or was never
pushed, is rebased. Commits that are rebased behind a conflict get new keys, for they are pushed as new ones.
"""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import quote

from tests.harness.evidence import edits_of_diff
from tests.harness.history import FINAL, History, Submission
from tests.harness.pushers.clone import Clone, Push
from tests.harness.writers import HOT, SHARED, SLICES, both_sides, message_of

_FIRST_PAUSE, _MOST_PAUSE = 0.1, 1.5
_MOST_LOCAL = 4  # commits that are not pushed, or not known to have landed
_GIVES_UP = 0.06  # after a push without an answer: then nobody knows, and either is right
_LOSES_PATIENCE = 0.05  # and kills Git in the middle of a push
_REPEATS = 0.08  # a push though its answer was clear
_MOST_STOPS = 40  # of one rebase


@dataclass(frozen=True)
class Door:
    """Where pushers come in."""

    url: str  # below which repositories are
    folder: Path  # for clones
    token: str | None  # of who may read everything; None where nobody is asked for one
    number: int = 4  # of pushers

    def of(self, slice_name: str) -> str:
        """Return the address of a slice, or of the whole."""
        return f"{self.url}/{quote(slice_name)}.git"


class Pusher(threading.Thread):
    """One pusher: pushes until `stop`, then until it knows what became of everything, or `over`."""

    def __init__(
        self, seed: str, number: int, door: Door, token: Callable[[], str | None], history: History,
        stop: threading.Event, over: threading.Event,
    ) -> None:  # fmt: skip
        super().__init__(name=f"p{number}", daemon=True)
        self.failure: BaseException | None = None
        self._rng = random.Random(f"{seed}/{self.name}")
        self._door = door
        self._token = token
        self._history = history
        self._stop_pushing, self._over = stop, over
        self._keys = (f"{self.name}-{i}" for i in count())
        self._numbers = count()
        self._status: dict[str, str] = {}  # of what was pushed, by key; empty where nothing is known of it
        self._slice = ""
        self._clone: Clone | None = None

    def run(self) -> None:
        """Push."""
        actions = {self._commit: 4, self._push: 5, self._pull: 2, self._begin_anew: 0.3}
        try:
            pause = _FIRST_PAUSE
            while not self._stop_pushing.wait(self._rng.uniform(0.0, pause)):
                if self._clone is None:
                    self._begin()
                    continue
                [action] = self._rng.choices(list(actions), list(actions.values()))
                pause = min(2 * pause, _MOST_PAUSE) if action(self._clone) is False else _FIRST_PAUSE
            if self._clone:
                self._finish(self._clone)
        except BaseException as failure:  # noqa: BLE001 - whoever joins it raises it
            self.failure = failure

    # --- What it does: each returns False where a server did not answer -------------------------------------------

    def _begin(self) -> bool:
        """Clone some slice."""
        self._slice = self._rng.choice(list(SLICES))
        clone = Clone(
            self._door.folder / f"{self.name}-{next(self._numbers)}", self._door.of(self._slice), self._token, self.name
        )
        done = clone.clone()
        if not done.ok:
            shutil.rmtree(clone.path, ignore_errors=True)
            self._check(done.forbidden, "clone")
            return False
        self._history.count("clones")
        self._clone = clone
        self._see_branch(clone)
        return True

    def _begin_anew(self, clone: Clone) -> bool:
        """Throw the clone away, unless something in it has to be pushed again; Git has to find it whole."""
        if self._is_open(clone):
            return True
        found = clone.run("fsck", "--strict", "--no-progress")
        if not found.ok:
            self._history.note_unsound(f"{self.name}, {self._slice}: {found.said[-300:]}")
        shutil.rmtree(clone.path)
        self._clone = None
        return True

    def _commit(self, clone: Clone) -> bool:
        """Commit something."""
        if len(clone.local()) >= _MOST_LOCAL:
            return self._push(clone)
        key = next(self._keys)
        for number in range(self._rng.randint(1, 2)):
            self._edit(clone.path, key, number)
        clone.git("add", "--all")
        if clone.git("status", "--porcelain"):
            clone.git(
                "commit", "--quiet", "-m", f"{message_of(key)}\nChange-Id: I{self.name}{self._rng.getrandbits(64):016x}"
            )
        return True

    def _push(self, clone: Clone) -> bool:
        """Push what there is, if anything, and do what its answer asks for."""
        keys = self._sent(clone)
        if not keys:
            return True
        options = self._rng.choice([[], [], [], ["-o", "wait=committed"], ["-o", "wait=no"]])
        patience = self._rng.uniform(0.02, 0.8) if self._rng.random() < _LOSES_PATIENCE else None
        self._history.count("pushes")
        push = clone.push(*options, kill_after=patience)
        self._note(keys, push)
        if push.accepted:
            if self._rng.random() < _REPEATS:
                self._note(keys, clone.push("-o", "wait=no"))
            return True
        if not push.refusal:
            self._check(push.done.forbidden, "push")
            for key in keys:
                if self._status[key] not in FINAL:
                    self._history.note_unknown(self._history.submissions[key])
            if self._rng.random() < _GIVES_UP:
                return self._forget(clone)
            return False
        statuses = {self._status[key] for key in keys}
        if "conflicted" in statuses:
            self._history.count("pushes in conflict")
            return self._resolve(clone)
        if not statuses & {"rejected", "abandoned"}:
            self._history.note_refused(self.name, f"push to {self._slice}", 0, {"detail": push.refusal})
        return self._forget(clone)

    def _pull(self, clone: Clone) -> bool:
        """Get what others landed, and put on top what was never pushed."""
        if self._is_open(clone):
            return True
        if not self._rebase(clone):
            return False
        self._history.count("pulls")
        local = [key for _, key in clone.local()]
        if local and all(self._status.get(key) == "landed" for key in local):
            # Git takes up a line again that others have taken out behind it: it has landed once, and that is enough.
            clone.git("reset", "--quiet", "--hard", "origin/main")
        return True

    def _resolve(self, clone: Clone) -> bool:
        """Rebase what did not land, resolving as it comes, and give it new keys: it is pushed as something new."""
        while not self._rebase(clone):
            if self._over.wait(self._rng.uniform(0.2, _MOST_PAUSE)):
                return False
        parent, tree = "origin/main", clone.git("rev-parse", "origin/main^{tree}")
        for commit, key in clone.local():
            own = clone.git("rev-parse", f"{commit}^{{tree}}")
            if own == tree or self._status.get(key) == "landed":
                continue
            message = clone.git("log", "-1", "--format=%B", commit).replace(
                message_of(key), message_of(next(self._keys)), 1
            )
            parent, tree = clone.git("commit-tree", own, "-p", parent, "-m", message), own
        clone.git("reset", "--quiet", "--hard", parent)
        return True

    def _forget(self, clone: Clone) -> bool:
        """Give up whatever has not landed."""
        fetched = clone.run("fetch", "--quiet")
        clone.git("reset", "--quiet", "--hard", "origin/main")
        self._see_branch(clone)
        return fetched.ok

    def _finish(self, clone: Clone) -> None:
        """Push again what was pushed, until it is known what became of it."""
        local = clone.local()
        pushed = [commit for commit, key in local if key in self._status]
        clone.git("reset", "--quiet", "--hard", pushed[-1] if pushed else "origin/main")
        while self._is_open(clone) and not self._over.is_set():
            self._note(self._sent(clone), clone.push())
            self._over.wait(self._rng.uniform(0.1, 0.5))

    # --- How ----------------------------------------------------------------------------------------------------------

    def _is_open(self, clone: Clone) -> bool:
        """Tell whether something was pushed of which the end is not known."""
        return any(self._status.get(key, "landed") not in FINAL for _, key in clone.local())

    def _sent(self, clone: Clone) -> list[str]:
        """Note what is pushed for the first time, and return the keys of everything that is pushed."""
        below: str | None = None
        keys = []
        for commit, key in clone.local():
            if key not in self._status:
                diff = clone.git("show", "--no-renames", "--unified=0", "--no-color", "--format=", commit)
                made = Submission(key, self.name, edits_of_diff(diff), below, pushed=commit, slice=self._slice)
                self._history.note_sent(made)
                self._status[key] = ""
            below = key
            keys.append(key)
        return keys

    def _note(self, keys: list[str], push: Push) -> None:
        """Write down what a push was told."""
        told = {key: (status, changeset) for key, status, changeset in push.told}
        for key in keys:
            submission = self._history.submissions[key]
            if key in told:
                self._status[key], changeset = told[key]
                self._history.note_told(submission, self._status[key], changeset)
            elif push.accepted:  # it need not be told of what the slice has as it is
                self._status[key] = "landed"
                self._history.note_told(submission, "landed", None)

    def _rebase(self, clone: Clone) -> bool:
        """Pull, and resolve each conflict with both sides; tell whether the server answered."""
        local = clone.local()
        landed = [commit for commit, key in local if self._status.get(key) == "landed"]
        if landed and landed[-1] != local[-1][0]:
            if not clone.run("fetch", "--quiet").ok:
                return False
            done = clone.run("rebase", "--quiet", "--onto", "origin/main", landed[-1])
        else:
            done = clone.run("pull", "--quiet", "--rebase")
        stops = 0
        while clone.is_rebasing and stops < _MOST_STOPS:
            stops += 1
            for path in clone.git("diff", "--name-only", "--diff-filter=U").splitlines():
                self._settle(clone, path)
            done = clone.run("rebase", "--continue", GIT_EDITOR="true")
            if (
                not done.ok
                and "git rebase --skip" in done.said
                and not clone.git("diff", "--name-only", "--diff-filter=U")
            ):
                done = clone.run("rebase", "--skip")
        if clone.is_rebasing:
            raise AssertionError(f"{clone.path}: a rebase does not end: {done.said}")
        self._check(done.forbidden, "pull")
        self._see_branch(clone)
        return done.ok

    def _settle(self, clone: Clone, path: str) -> None:
        """Resolve a file in conflict: the lines of the branch, and one's own behind them; gone where either is gone."""
        stages = {line.split()[2] for line in clone.git("ls-files", "--unmerged", "--", path).splitlines()}
        if stages >= {"2", "3"}:
            head = clone.git("show", f":2:{path}").splitlines()
            marked = (clone.path / path).read_text().splitlines()
            (clone.path / path).write_text("".join(f"{line}\n" for line in both_sides(marked, head)))
            clone.git("add", "--", path)
        elif "2" in stages:  # taken out here, and changed there
            clone.git("checkout", "--quiet", "--ours", "--", path)
            clone.git("add", "--", path)
        else:
            clone.git("rm", "--quiet", "--force", "--", path)

    def _edit(self, folder: Path, key: str, number: int) -> None:
        """Write a line of its own into some file: a shared one, a hot one, a new one, or one of its own."""
        line = f"{key}.{number}"
        own = sorted((folder / "own" / self.name).glob("*.txt"))
        match self._rng.choices(["shared", "new", "own", "hot"], [10, 6, 3, 3])[0]:
            case "shared":
                file = folder / self._rng.choice(SHARED)
                lines = file.read_text().splitlines()
                lines.insert(self._rng.randrange(len(lines) + 1), line)
            case "hot":
                file, lines = folder / self._rng.choice(HOT), [line]
            case "own" if own and self._rng.random() < 0.3:
                self._rng.choice(own).unlink()
                return
            case "own" if own:
                file = self._rng.choice(own)
                lines = [*file.read_text().splitlines(), line]
            case _:
                file, lines = folder / "own" / self.name / f"{key}-{number}.txt", [line]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{each}\n" for each in lines))

    def _see_branch(self, clone: Clone) -> None:
        found = clone.run("rev-parse", "--verify", "--quiet", "origin/main")
        if found.ok:
            self._history.note_branch(self._slice, found.said.strip())

    def _check(self, forbidden: str, what: str) -> None:
        """Note what a valid request must never be answered."""
        if forbidden:
            self._history.note_refused(self.name, f"{what} of {self._slice}", 0, {"detail": forbidden})
