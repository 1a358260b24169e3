"""Git in one clone, as somebody without any configuration runs it, and what a push is told, read off its lines."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Seconds after which Git is ended that waits for a server: longer than a push waits for its landing.
_PATIENCE = 150.0
# Git gives a connection up on which nothing comes for so long; a push that waits hears something every five seconds.
_SILENCE = 20
_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
_LINE = re.compile(r"^remote: [0-9a-f]{10} Submission (\S+): (\w+)[^\n(]* \(changeset ([0-9A-Z]{26})\)", re.MULTILINE)
_REFUSED = re.compile(r"^ ! \[remote rejected\] \S+ -> \S+ \((.*)\)$", re.MULTILINE)
# What says that a server is away, or nothing of the push: the same push may be answered otherwise later.
_PASSING = re.compile(r"not available now|an older node is at work|too much is waiting|Sluice failed|the token")
# What no valid request gets: Git says it of 400, 403, 404, 413 and 415.
_NEVER = re.compile(r"requested URL returned error: 4(?!01|29)|repository '[^']*' not found|there is no repository")


@dataclass(frozen=True, slots=True)
class Done:
    """What Git said; status -1 if it was ended before its end."""

    status: int
    said: str

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.status == 0

    @property
    def forbidden(self) -> str:
        """The line by which the server refused a request that is valid; empty where it did not."""
        return next((line for line in self.said.splitlines() if _NEVER.search(line)), "")


@dataclass(frozen=True, slots=True)
class Push:
    """The answer to a push."""

    accepted: bool  # its ref counts as pushed
    refusal: str  # why not; empty where it is accepted, and where there is no answer that stays
    told: tuple[tuple[str, str, str], ...]  # of commits by key: status and changeset
    done: Done

    @classmethod
    def read(cls, done: Done) -> Push:
        """Read what Git said."""
        refused = _REFUSED.search(done.said)
        refusal = refused[1] if refused and not _PASSING.search(refused[1]) else ""
        told = tuple((key, status, changeset) for key, status, changeset in _LINE.findall(done.said))
        return cls(done.ok, refusal, told, done)


class Clone:
    """A clone of one slice, or a folder that is to become one."""

    def __init__(self, path: Path, url: str, token: Callable[[], str | None], who: str) -> None:
        """`token` returns that of the moment; commits are of `who`."""
        self.path = path
        self._url = url
        self._token = token
        self._who = who

    def clone(self) -> Done:
        """Clone."""
        return self._run(self.path.parent, ["clone", "--quiet", self._url, str(self.path)])

    def run(self, *arguments: str, kill_after: float | None = None, **environ: str) -> Done:
        """Run Git; it is killed after so many seconds, as by somebody who loses patience."""
        return self._run(self.path, list(arguments), kill_after, environ)

    def git(self, *arguments: str, **environ: str) -> str:
        """Run Git where it needs no server, and return what it prints. Raises AssertionError where it fails."""
        done = self.run(*arguments, **environ)
        assert done.ok, (self.path, arguments, done)
        return done.said.strip()

    def push(self, *options: str, kill_after: float | None = None) -> Push:
        """Push what HEAD has."""
        return Push.read(self.run("push", *options, "origin", "HEAD:refs/for/main", kill_after=kill_after))

    @property
    def is_rebasing(self) -> bool:
        """Whether a rebase has stopped in the middle."""
        return (self.path / ".git/rebase-merge").exists()

    def local(self) -> list[tuple[str, str]]:
        """Return the commits that the branch of the server, as the clone knows it, has not: oldest first, with keys."""
        lines = self.git("log", "--reverse", "--format=%H %s", "origin/main..HEAD").splitlines()
        return [(line.split()[0], line.split()[-1]) for line in lines]

    def _run(
        self, folder: Path, arguments: list[str], kill_after: float | None = None, environ: dict[str, str] | None = None
    ) -> Done:
        running = subprocess.Popen(
            ["git", "-C", str(folder), *arguments], env=_ENVIRONMENT | self._configuration() | (environ or {}),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        number = signal.SIGTERM if kill_after is None else signal.SIGKILL
        try:
            said, _ = running.communicate(timeout=_PATIENCE if kill_after is None else kill_after)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, number)  # what it started is of its session
            said, _ = running.communicate()
            return Done(-1, said.decode(errors="replace"))
        return Done(running.returncode, said.decode(errors="replace"))

    def _configuration(self) -> dict[str, str]:
        """Return configuration by the environment, so that no token is in an argument or a file."""
        token = self._token()
        values = {"http.lowSpeedLimit": "1", "http.lowSpeedTime": str(_SILENCE), "gc.auto": "0", "core.fsync": "none"}
        if token:
            basic = base64.b64encode(f"git:{token}".encode()).decode()
            values["http.extraHeader"] = f"Authorization: Basic {basic}"
        named = {"GIT_CONFIG_COUNT": str(len(values))}
        for number, (name, value) in enumerate(values.items()):
            named |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
        for role in ("AUTHOR", "COMMITTER"):
            named |= {f"GIT_{role}_NAME": self._who, f"GIT_{role}_EMAIL": f"{self._who}@example.org"}
        return named | {"HOME": str(self.path.parent)}
