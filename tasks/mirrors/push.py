"""One run for one mirror: what landed goes to its server, forward only, or the mirror stops.

How far a mirror has come is what its server says, when it is asked, or by taking or refusing a push; so nothing is
noted in the log. What Redis notes saves questions, and is what the API shows. One run at a time pushes to a mirror. If
two did, or a worker is killed in the middle and its Git goes on, the server takes one push: each names the id that the
branch has before it.
"""

from __future__ import annotations

import random
import threading
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import structlog
from msgspec.structs import replace

from storage.coordination import Lease, LeaseName
from storage.git.run_git import Git, plain_environment
from storage.metrics.counts import mirror_ran
from storage.mirrors.plan import TAGS, Plan, plan
from storage.mirrors.records import Mirror, Stopped
from storage.mirrors.remote import Remote, RemoteFailed
from storage.operations.git import mirrors
from storage.queue import MirrorProgress
from storage.repository import Repository
from storage.view.mirrors import mirror_of
from storage.view.snapshot import Head
from tasks.mirrors.due import is_due, is_old, is_pushed, wait
from tasks.mirrors.sending import Sending
from tasks.mirrors.source import Source

log = structlog.get_logger()

_LIFE = 3600.0  # of the lease; its owner's process ends it long before
_JITTER = 0.2


def push(repo: Repository, name: str, source: Source, stopping: threading.Event) -> str:
    """Have a mirror's server take what landed, unless somebody else does; return what was done, or nothing.

    Raises Unavailable, RedisError and GitFailed; what the server does is noted, and no error.
    """
    with Lease(repo.view, LeaseName.MIRRORING, _LIFE, repo.heartbeat, name).held() as alone:
        if not alone:
            return ""
        mirror, progress, head = _look(repo, name)
        if mirror is None or not is_due(repo, progress, head, time.time()):
            return ""
        if progress and (seconds := wait(progress, time.time())):
            # Most of what there is to be caught up with is there by then.
            with source.ready(mirror, head):
                pass
            if stopping.wait(min(seconds, wait(progress, time.time()))):
                return ""
            mirror, progress, head = _look(repo, name)
            if mirror is None:
                return ""
        run = _Run(repo, mirror, progress or MirrorProgress(even_at=time.time()), head)
        with source.ready(mirror, head) as folder:
            did = run.go(folder)
    repo.mirrors.answered(name)
    return did


def _look(repo: Repository, name: str) -> tuple[Mirror | None, MirrorProgress | None, Head]:
    """Return a mirror as it is now, None where nothing is to be pushed to it; how far it has come; and the head."""
    mirror = mirror_of(repo.view, name)
    [progress] = repo.mirrors.progress([name])
    return mirror if mirror and is_pushed(mirror) else None, progress, repo.view.head()


class _Run:
    def __init__(self, repo: Repository, mirror: Mirror, progress: MirrorProgress, head: Head) -> None:
        self._repo = repo
        self._mirror = mirror
        self._progress = progress
        self._head = head
        self._pushed = 0.0  # when a push began
        self._pushes = 0  # of this run
        self._has_taken = False  # the server, something
        self._tags: dict[str, Any] = {}  # what is known of tags now

    def go(self, folder: Path) -> str:
        """Look, and push what is to be pushed from the bare repository `folder`."""
        local = _Local(folder)
        landed, tags = local.landed(), {} if self._mirror.slice else local.tags()
        if not landed:
            return self._note(self._now(local=""), "")
        given = _digest(tags)
        is_same = (landed, given, landed) == (self._progress.local, self._progress.tags, self._progress.remote)
        if is_same and not self._progress.failed and not is_old(self._repo, self._progress, time.time()):
            return self._note(self._even(self._now(local=landed)), "")
        remote = Remote(self._repo.settings, self._mirror.url, folder)
        try:
            seen = self._shortly(remote, local, landed, tags) or self._asked(remote, local, landed, tags)
        except RemoteFailed as error:
            return self._fail(error, local, landed)
        if isinstance(seen, str):
            return seen
        wanted, at = seen
        behind = local.between(at, landed)
        others = len(wanted.other_tags)
        progress = self._now(local=landed, remote=at, behind=behind, looked=time.time(), other_tags=others)
        progress = replace(progress, **self._tags)
        if not behind and at == landed:
            progress = self._even(replace(progress, tags=given))
        did = ""
        if self._has_taken:
            progress = replace(progress, pushed=time.time())
            log.info("mirror_pushed", mirror=self._mirror.name, commit=at, refs=len(wanted.refs), behind=behind)
            did = f"pushed {at[:12]} to {self._mirror.name}"
        mirror_ran("pushed" if self._has_taken else "current")
        return self._note(progress, did)

    def _asked(self, remote: Remote, local: _Local, landed: str, tags: dict[str, str]) -> tuple[Plan, str] | str:
        """Ask the server what it has, and push. Returns what was planned and what the branch is then; or it stopped.

        Raises RemoteFailed.
        """
        there = remote.refs(self._mirror.ref)
        wanted = self._planned(local, landed, tags, there)
        if wanted.diverged:
            return self._stop(there[self._mirror.ref], landed, local.between(self._progress.remote, landed))
        at, again = there.get(self._mirror.ref, ""), self._tries_tags()
        sending = Sending(remote, self._mirror.ref, self._progress, again)
        try:
            self._pushed = time.time() if wanted.refs else 0.0
            at = sending.send(wanted, at)
        finally:
            self._pushes, self._has_taken = sending.count, sending.has_taken
        if at == landed:
            self._tags = sending.seen(wanted, time.time())
            self._tell_tags()
        return wanted, at

    def _shortly(self, remote: Remote, local: _Local, landed: str, tags: dict[str, str]) -> tuple[Plan, str] | None:
        """Push the branch alone, on what it was a moment ago, without a question: the push itself finds out otherwise.

        Returns None where the server has to be asked. Raises RemoteFailed.
        """
        known = self._progress
        if not known.remote or known.failed or known.other_tags or known.tags != _digest(tags):
            return None
        if known.refused_tags and self._tries_tags():
            return None
        if known.remote == landed or is_old(self._repo, known, time.time()):
            return None
        there = {self._mirror.ref: known.remote, **{TAGS + name: oid for name, oid in tags.items()}}
        wanted = self._planned(local, landed, tags, there)
        if wanted.diverged:
            return None
        try:
            self._pushed, self._pushes = time.time(), 1
            at = Sending(remote, self._mirror.ref, known, False).send(wanted, known.remote)
            self._has_taken = True
            return wanted, at
        except RemoteFailed as error:
            if error.word != "moved":
                raise
            return None

    def _planned(self, local: _Local, landed: str, tags: dict[str, str], there: dict[str, str]) -> Plan:
        most = self._repo.settings.mirror_commits
        return plan(
            self._mirror.ref, landed, tags, there, local.is_ancestor, lambda old, new: local.step(old, new, most)
        )

    def _tries_tags(self) -> bool:
        """Tell whether tags that the server has refused are tried again now."""
        known = self._progress
        return not known.refused_tags or time.time() - known.tags_tried >= self._repo.settings.mirror_check

    def _tell_tags(self) -> None:
        refused, detail = self._tags["refused_tags"], self._tags["refused_detail"]
        if refused and self._tags["tags_tried"] != self._progress.tags_tried:
            log.warning("mirror_tags_refused", mirror=self._mirror.name, tags=refused, detail=detail)

    def _stop(self, there: str, landed: str, behind: int) -> str:
        detail = f"{self._mirror.ref} is {there} there, which is not in the history of {landed}, the newest that landed"
        mirrors.stop(self._repo, self._mirror.name, Stopped.DIVERGED, detail)
        mirror_ran("diverged")
        log.error("mirror_diverged", mirror=self._mirror.name, remote=there, landed=landed)
        seen = self._now(local=landed, remote=there, looked=time.time(), behind=behind)
        return self._note(seen, f"{self._mirror.name} diverged")

    def _fail(self, error: RemoteFailed, local: _Local, landed: str) -> str:
        """Note that a try failed, and when the next one is: waits double up to a limit."""
        failed = self._progress.failed + 1
        settings = self._repo.settings
        wait = min(settings.mirror_wait, settings.mirror_interval * 2.0 ** min(failed - 1, 20))
        behind = local.between(self._progress.remote, landed)
        seen = self._now(
            local=landed, behind=behind, failed=failed, error=error.word, detail=error.detail,
            due=time.time() + wait * random.uniform(1.0, 1.0 + _JITTER),
        )  # fmt: skip
        mirror_ran("failed")
        log.warning("mirror_failed", mirror=self._mirror.name, reason=error.word, detail=error.detail, tries=failed)
        return self._note(seen, f"{self._mirror.name} failed: {error.word}")

    def _now(self, **seen: object) -> MirrorProgress:
        """Return the progress with what was seen, as of the head that was read first."""
        # After a question alone, what lands next need not wait.
        due = self._pushed + self._pushes * self._repo.settings.mirror_interval if self._pushes else self._progress.due
        known = {"failed": 0, "error": "", "detail": "", "due": due}
        at = {"merged": self._head.merged, "applied": self._head.applied}
        return replace(self._progress, **{**known, **at, **seen})

    def _even(self, progress: MirrorProgress) -> MirrorProgress:
        return replace(progress, behind=0, even_seq=self._head.applied, even_at=time.time())

    def _note(self, progress: MirrorProgress, did: str) -> str:
        self._repo.mirrors.save(self._mirror.name, progress)
        return did


class _Local:
    """What the local repository has."""

    def __init__(self, folder: Path) -> None:
        self._git = Git(folder, plain_environment())

    def landed(self) -> str:
        """Return the newest landed commit, empty where there is none."""
        done = self._git.run("rev-parse", "--verify", "--quiet", "refs/heads/main", accept=(0, 1))
        return done.stdout.decode().strip()

    def tags(self) -> dict[str, str]:
        """Return the tags' ids by their names."""
        rows = self._git.output("for-each-ref", "--format=%(objectname) %(refname:lstrip=2)", "refs/tags/")
        return {name: oid for oid, _, name in (row.partition(" ") for row in rows.decode().splitlines())}

    def is_ancestor(self, old: str, new: str) -> bool:
        """Tell whether a commit is there, and in the history of another."""
        if self._git.run("cat-file", "-e", f"{old}^{{commit}}", accept=(0, 1, 128)).returncode:
            return False
        return not self._git.run("merge-base", "--is-ancestor", old, new, accept=(0, 1)).returncode

    def between(self, old: str, new: str) -> int:
        """Return how many commits the second has in its history that the first lacks."""
        if old == new:
            return 0
        known = old and not self._git.run("cat-file", "-e", f"{old}^{{commit}}", accept=(0, 1, 128)).returncode
        return int(self._git.output("rev-list", "--count", new, *([f"^{old}"] if known else [])))

    def step(self, old: str, new: str, most: int) -> str:
        """Return the commit up to which a push takes `most` of the line from one commit to another."""
        limits = [f"^{old}"] if old else []
        count = int(self._git.output("rev-list", "--count", "--first-parent", new, *limits))
        if count <= most:
            return new
        # Newest first: all but the first `most` of them are skipped.
        found = self._git.output(
            "rev-list", "--first-parent", f"--skip={count - most}", "--max-count=1", new, *limits
        )  # fmt: skip
        return found.decode().strip()


def _digest(tags: dict[str, str]) -> str:
    return sha256(repr(sorted(tags.items())).encode()).hexdigest()[:16] if tags else ""
