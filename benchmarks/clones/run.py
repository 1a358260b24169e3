"""Clones and fetches a second of a gateway and of `git http-backend`, in turns, on one repository.

Both are as many processes of gunicorn's threads. The peer's repository is a copy of the gateway's own store, packs and
all. First plain Git clones from both, and both clones have to be the same and pass fsck.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.stack.processes import Command, Supervisor
from app.stack.servers import free_ports
from benchmarks.clones.load import Kind, Load, drive, once
from benchmarks.figures import Disproved, Figure, at_least, at_most, percentiles, rounded
from benchmarks.landing import Phase, Say, site
from benchmarks.workload import Workload
from storage.base.settings import Settings, environment

CLIENTS = (1, 8, 32, 128)
GOALS = {
    "full": 1.0,
    "depth 1": 5.0,
    "blob:none": 1.0,
    "fetch": 1.5,
    "full, asked first": 1.0,
    "fetch, asked first": 1.5,
}
HISTORY = Phase("history", 8, 50, 5000)
_THREADS = 160
_PATIENCE = 600.0  # seconds for which a clone is tried again
_WHOLE = "-/repository"
Address = tuple[str, int]


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    changesets: int = 1000
    clients: tuple[int, ...] = CLIENTS
    seconds: float = 4.0


FULL = Plan()
QUICK = Plan(changesets=100, clients=(1, 8), seconds=1.0)


def run(
    workload: Workload,
    folder: Path,
    say: Say,
    *,
    rounds: int = 3,
    plan: Plan = FULL,
    s3: str = "auto",
) -> list[Figure]:
    """Measure. Raises Refused and Disproved."""
    options = {"s3": s3, "with_gateway": True, "with_flower": False, "settings": {"gateway_threads": _THREADS}}
    figures = []
    with site(workload, folder / "judge", say, **options) as bench:
        bench.land_many(HISTORY, workload, plan.changesets, say)
        ours = _address(bench.stack.git_url)
        for what, name in (("the whole", _WHOLE), ("a slice", next(iter(workload.slices())))):
            say(f"{what}: cloned by Git")
            path = f"/git/{name}.git"
            store = _clone(f"{bench.stack.git_url}{path}", folder / f"ours-{what.split()[-1]}", bench.stack.data)
            copy = folder / "peer" / f"{what.split()[-1]}.git"
            shutil.copytree(store, copy)
            _git(copy, "config", "uploadpack.allowFilter", "true")
            _git(copy, "config", "safe.directory", "*")
            with peer(folder / "peer", folder) as theirs:
                sides = {"gateway": (ours, path), "git http-backend": (theirs, f"/{copy.name}")}
                _clone(f"http://127.0.0.1:{theirs[1]}/{copy.name}", folder / f"theirs-{what.split()[-1]}", None)
                _same(folder / f"ours-{what.split()[-1]}", folder / f"theirs-{what.split()[-1]}")
                for kind in kinds(copy):
                    for clients in plan.clients:
                        say(f"{what}: {kind.name}, {clients} clients")
                        figures += _compare(what, kind, clients, sides, rounds, plan.seconds, workload.seed)
    return figures


def kinds(repository: Path) -> list[Kind]:
    """Return what is measured: clones of the branch, and a fetch of its last commit."""
    main, before = _git(repository, "rev-parse", "refs/heads/main", "refs/heads/main~1").split()
    return [
        Kind("full", (f"want {main}",)),
        Kind("depth 1", (f"want {main}", "deepen 1")),
        Kind("blob:none", (f"want {main}", "filter blob:none")),
        Kind("fetch", (f"want {main}", f"have {before}")),
        Kind("full, asked first", (f"want {main}",), is_first=True),
        Kind("fetch, asked first", (f"want {main}", f"have {before}"), is_first=True),
    ]


@contextmanager
def peer(repositories: Path, folder: Path) -> Iterator[Address]:
    """Serve the repositories in a folder by `git http-backend`."""
    [port] = free_ports(1)
    workers = str(Settings().gateway_workers)
    argv = [
        *(sys.executable, "-m", "gunicorn", "-k", "gthread", "-w", workers, "-b", f"127.0.0.1:{port}"),
        *("--threads", str(_THREADS), "--worker-connections", "4096", "--keep-alive", "30", "--no-control-socket"),
        f"benchmarks.peers.git_http_backend:application({str(repositories)!r})",
    ]
    environ = environment(Settings(), {"PYTHONPATH": str(Path(__file__).parents[2])})
    kind = Kind("capabilities", ())

    def ready() -> bool:
        try:
            drive(("127.0.0.1", port), "/none", kind, 1, 0.01)
        except Disproved as answer:
            return "404" in str(answer)
        return True

    with Supervisor(folder / "logs", restart=False) as supervisor:
        supervisor.start(Command("http-backend", argv, environ, folder, ready))
        yield "127.0.0.1", port


def _compare(
    what: str,
    kind: Kind,
    clients: int,
    sides: Mapping[str, tuple[Address, str]],
    rounds: int,
    seconds: float,
    seed: int,
) -> list[Figure]:
    for address, path in sides.values():
        once(address, path, kind)  # caches are warm: the system's, and the gateway's
    measured: dict[str, list[Load]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in list(sides)[:: -1 if number % 2 else 1]:
            measured[side].append(drive(*sides[side], kind, clients, seconds))
    ours, theirs = measured.values()
    ratios = tuple(one.per_s / other.per_s for one, other in zip(ours, theirs, strict=True))
    details = {
        **at_least(GOALS[kind.name]),
        "per_s": {side: [rounded(load.per_s, 3) for load in loads] for side, loads in measured.items()},
        "bytes": {side: loads[-1].bytes // max(1, loads[-1].done) for side, loads in measured.items()},
        "ms": {side: percentiles([each for load in loads for each in load.times]) for side, loads in measured.items()},
    }
    figures = [Figure(f"{kind.name}, {what}, {clients} clients", "a second, times git http-backend", "ratio", seed,
                      ratios, details)]  # fmt: skip
    if kind.name.startswith("fetch") and clients == 1:
        medians = [[statistics.median(load.times) for load in loads] for loads in (ours, theirs)]
        slower = tuple(one / other for one, other in zip(*medians, strict=True))
        figures.append(
            Figure(f"{kind.name}, {what}, p50", "time, times git http-backend", "ratio", seed, slower, at_most(1.0))
        )
    return figures


def _clone(url: str, into: Path, data: Path | None) -> Path:
    """Clone by Git, and return where the gateway has the store; of another server, where the clone is.

    As often as the gateway says 503: behind many landings, its store is not up to date within `gateway_patience`.
    """
    command = ["git", "clone", "-q", "--bare", url, str(into)]
    until = time.monotonic() + _PATIENCE
    while True:
        done = subprocess.run(command, check=False, text=True, stderr=subprocess.PIPE, env=_environment())
        if not done.returncode:
            break
        if " 503" not in done.stderr or time.monotonic() > until:
            raise Disproved(f"git clone {url}: {done.stderr.strip()}")
        time.sleep(1)
    if data is None:
        return into
    main = _git(into, "rev-parse", "refs/heads/main")
    stores = [path for path in (data / "gateway" / "clones").glob("*/repository.git")
              if _git(path, "rev-parse", "refs/heads/main") == main]  # fmt: skip
    return stores[0]


def _same(one: Path, other: Path) -> None:
    for clone in (one, other):
        _git(clone, "fsck", "--strict")
    commits = [_git(clone, "rev-parse", "refs/heads/main") for clone in (one, other)]
    if len(set(commits)) != 1:
        raise Disproved(f"the clones have {commits}")


def _git(repository: Path, *arguments: str) -> str:
    environ = {**_environment(), "GIT_DIR": str(repository)}
    return subprocess.run(["git", *arguments], env=environ, check=True, text=True, capture_output=True).stdout.strip()


def _environment() -> Mapping[str, str]:
    return environment(
        Settings(), {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_TERMINAL_PROMPT": "0"}
    )


def _address(url: str) -> Address:
    host, port = url.removeprefix("http://").rsplit(":", 1)
    return host, int(port)
