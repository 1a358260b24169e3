"""16 clones push to one branch: fetch, rebase, push until it wins. What a team has without a queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.git import git, run_git
from benchmarks.workload import Changeset


def run(base: Path, folder: Path, changesets: Sequence[Changeset], writers: int = 16, seconds: float = 25.0) -> tuple[int, float]:
    """Return how many landed and in how many seconds; stops after `seconds`. Every landed one is in the branch."""
    bare = folder / "race.git"
    git(None, "clone", "--quiet", "--bare", "--single-branch", "--branch", "main", str(base), str(bare))
    clones = []
    for i in range(writers):
        clone = folder / f"race-{i}"
        git(None, "clone", "--quiet", "--shared", str(bare), str(clone))
        clones.append(clone)
    todo = list(reversed(changesets))
    landed: list[Changeset] = []
    lock = threading.Lock()
    until = time.monotonic() + seconds

    def write(clone: Path) -> None:
        while time.monotonic() < until:
            with lock:
                if not todo:
                    return
                changeset = todo.pop()
            for path, data in changeset.files:
                (clone / path).write_bytes(data)
            git(clone, "commit", "--quiet", "--all", "--message", f"change {changeset.number}")
            while run_git(clone, "push", "--quiet", "origin", "HEAD:main").returncode:
                if time.monotonic() > until:
                    return
                git(clone, "pull", "--quiet", "--rebase", "origin", "main")
            with lock:
                landed.append(changeset)

    started = time.monotonic()
    threads = [threading.Thread(target=write, args=(clone,)) for clone in clones]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = time.monotonic() - started
    for changeset in landed:
        for path, data in changeset.files:
            stored = run_git(bare, "cat-file", "blob", f"main:{path}").stdout
            if stored != data:
                raise RuntimeError(f"{path} did not land")
    return len(landed), spent
