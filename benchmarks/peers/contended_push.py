"""The same contest by `git push`: agents commit, fetch, rebase and push to one branch until it lands.

Each agent has a clone with a sparse working tree, and starts each change from the commit that all saw. What the rebase
cannot merge is resolved by keeping both sides' lines, or given up. It ends after some seconds, whatever has landed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.contention.plan import Change, Contest, Files, Result
from benchmarks.figures import Disproved, prove
from benchmarks.peers.git_push_race import clone, push
from benchmarks.repos import Repo, stream
from benchmarks.workload import Changeset, Workload

_AT_ONCE = 4  # clones that are prepared at once


class Pushers:
    """A bare repository, and clones that are used for one contest after the other."""

    def __init__(self, bare: Repo, clones: list[Repo]) -> None:
        self._bare, self._clones = bare, clones

    def contend(self, contest: Contest, resolving: bool, seconds: float) -> tuple[list[Result], float]:
        """Hold the contest for so many seconds; return each change's result, and the seconds until the last landed.

        Raises Disproved where the tree at the end is not that of the changes that landed.
        """
        seen = self._commit(contest.base)
        start = self._commit(contest.rival)
        clones = self._clones[: contest.agents]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda i: _prepare(clones[i], contest.of_agent(i)), range(contest.agents)))
        with ThreadPoolExecutor(len(clones)) as pool:
            began = time.perf_counter()
            agents = [_Agent(repo, seen, began + seconds, resolving) for repo in clones]
            running = [pool.submit(agent.run, contest.of_agent(i)) for i, agent in enumerate(agents)]
            results = [result for future in running for result in future.result()]
        spent = max((agent.landed_at for agent in agents if agent.landed_at), default=began + seconds) - began
        landed = {result.number for result in results if result.status == "landed"}
        done = [Changeset(one.number, one.slice, "", one.landed) for one in contest.changes if one.number in landed]
        prove("contended push", self._bare.resolve("main^{tree}"), self._bare.expected_tree(start, done))
        return results, spent

    def _commit(self, files: Files) -> str:
        """Put files on the branch, where there are any, and return its commit."""
        if files:
            self._bare.fast_import(stream("refs/heads/main", "refs/heads/main^0", [("Contend", files)]))
        return self._bare.resolve("main")


@contextmanager
def pushers(workload: Workload, folder: Path, agents: int) -> Iterator[Pushers]:
    """Make the repository, and a clone for each of so many agents."""
    bare = Repo.create(folder / "contended.git", workload)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        clones = list(pool.map(lambda i: clone(bare, folder / f"agent{i}", "--sparse"), range(agents)))
    yield Pushers(bare, clones)


def _prepare(repo: Repo, changes: Iterable[Change]) -> None:
    """Have a clone know the commits, and its working tree only the directories of these changes: all that Git needs."""
    repo.git("fetch", "--quiet", "origin")
    folders = {path.rpartition("/")[0] for change in changes for path, _ in change.files}
    repo.git("sparse-checkout", "set", "--cone", *sorted(folders))


class _Agent:
    def __init__(self, repo: Repo, seen: str, deadline: float, resolving: bool) -> None:
        self._repo, self._seen, self._deadline, self._resolving = repo, seen, deadline, resolving
        self.landed_at = 0.0  # when its last change landed, by the clock of the deadline

    def run(self, changes: Iterable[Change]) -> list[Result]:
        results = []
        for change in changes:
            if time.perf_counter() >= self._deadline:
                results.append(Result(change.number, "late", 0, 0, 0.0))
            else:
                results.append(self._land(change))
        return results

    def _land(self, change: Change) -> Result:
        started, pushes, conflicts = time.perf_counter(), 0, 0
        self._repo.git("checkout", "--quiet", "--detach", self._seen)
        self._write(change.files)
        self._repo.git("commit", "--quiet", "-m", str(change.number), "--", *[path for path, _ in change.files])
        status = "late"
        while time.perf_counter() < self._deadline:
            self._repo.git("fetch", "--quiet", "origin")
            if not self._repo.succeeds("rebase", "--quiet", "origin/main"):
                if not change.conflict:
                    raise Disproved(f"change {change.number} is disjoint, and git rebase failed")
                conflicts += 1
                if not self._resolving:
                    self._repo.git("rebase", "--abort")
                    status = "conflicted"
                    break
                self._resolve(change)
            pushes += 1
            if push(self._repo):
                status, self.landed_at = "landed", time.perf_counter()
                break
        return Result(change.number, status, pushes, conflicts, time.perf_counter() - started)

    def _write(self, files: Files) -> None:
        for path, content in files:
            (self._repo.path / path).write_bytes(content)

    def _resolve(self, change: Change) -> None:
        self._write(change.landed)
        self._repo.git("add", "--", *[path for path, _ in change.files])
        self._repo.git("-c", "core.editor=true", "rebase", "--continue")
