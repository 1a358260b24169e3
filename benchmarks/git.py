"""Git as the benchmarks call it: without this user's configuration."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

WHO = {
    "GIT_AUTHOR_NAME": "B",
    "GIT_AUTHOR_EMAIL": "b@example.org",
    "GIT_COMMITTER_NAME": "B",
    "GIT_COMMITTER_EMAIL": "b@example.org",
}


def environ() -> dict[str, str]:
    """Return the environment for git."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return kept | {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C"} | WHO


def run_git(directory: Path | None, *arguments: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run git and return how it ended, whatever that was."""
    command = ["git", *(("-C", str(directory)) if directory else ()), *arguments]
    return subprocess.run(command, input=data, capture_output=True, env=environ(), check=False)


def git(directory: Path | None, *arguments: str, data: bytes | None = None) -> str:
    """Run git and return what it printed; raises RuntimeError where it fails."""
    done = run_git(directory, *arguments, data=data)
    if done.returncode:
        raise RuntimeError(f"git {' '.join(arguments)}: {done.stderr.decode(errors='replace')}")
    return done.stdout.decode().strip()
