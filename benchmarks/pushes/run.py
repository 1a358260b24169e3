"""Pushes a second of a gateway and of `git http-backend`, in turns, and many pushers at once.

The same packs are pushed to both: to `refs/for/main` of a slice, and to a branch for each client of a copy of the
slice's repository. A push to the gateway is durable when it is answered (`wait=no`), or has landed; one to the peer is
in files that nobody has synced. Many pushers at once push to one branch, by plain Git: to the peer again and again,
until nobody was faster, or for a minute.
"""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.gateway.wire.pkt_lines import pkt
from benchmarks.clones.run import Address, peer
from benchmarks.figures import Disproved, Figure, at_least, percentiles, rounded
from benchmarks.landing import Phase, Say, site
from benchmarks.pushes import crowd
from benchmarks.pushes.load import Load, Packed, Target, drive
from benchmarks.workload import Workload

CLIENTS = (1, 8, 32)
GOAL = 1.5
WAITS = ("no", "landed")
_THREADS = 260
_IN_CONFLICT = 5  # every fifth
# A branch is pushed to by one of them after the other: 200 would take half an hour.
_PEER_SECONDS = 60.0


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    changesets: int = 200
    clients: tuple[int, ...] = CLIENTS
    pushes: int = 192  # of all clients together, in a round
    crowd: int = 200


FULL = Plan()
QUICK = Plan(changesets=20, clients=(1, 8), pushes=32, crowd=12)


def run(
    workload: Workload, folder: Path, say: Say, *, rounds: int = 3, plan: Plan = FULL, s3: str = "auto"
) -> list[Figure]:
    """Measure. Raises Refused and Disproved."""
    options = {"s3": s3, "with_gateway": True, "with_flower": False, "settings": {"gateway_threads": _THREADS}}
    name, [where, *_] = next(iter(workload.slices().items()))
    with site(workload, folder / "judge", say, **options) as bench:
        bench.land(Phase("history", 8, 50, plan.changesets), list(workload.changesets(plan.changesets)))
        url = f"{bench.stack.git_url}/git/{name}.git"
        copies = folder / "peer"
        copies.mkdir()
        crowd.must(folder, "clone", "-q", "--bare", url, str(copies / "slice.git"))
        crowd.must(copies / "slice.git", "config", "http.receivepack", "true")
        host, port = bench.stack.git_url.removeprefix("http://").rsplit(":", 1)
        ours = (host, int(port)), f"/git/{name}.git"
        with peer(copies, folder) as theirs:
            sides = {"gateway": ours, "git http-backend": (theirs, "/slice.git")}
            figures = []
            for wait in WAITS:
                for clients in plan.clients:
                    say(f"{clients} clients, wait={wait}")
                    figures.append(_compare(copies / "slice.git", where, wait, clients, sides, rounds, plan, workload))
            urls = {"gateway": url, "git http-backend": f"http://127.0.0.1:{theirs[1]}/crowd.git"}
            for conflicting in (False, True):
                say(f"{plan.crowd} pushers at once" + (", every fifth in conflict" if conflicting else ""))
                figures += _crowds(urls, copies, folder, where, conflicting, plan.crowd, workload.seed)
    return figures


def _compare(
    repository: Path,
    where: str,
    wait: str,
    clients: int,
    sides: Mapping[str, tuple[Address, str]],
    rounds: int,
    plan: Plan,
    workload: Workload,
) -> Figure:
    each = max(1, plan.pushes // clients)
    option = pkt(f"wait={wait}".encode())
    targets: dict[str, Target] = {
        "gateway": lambda client, number: (b"refs/for/main", option),
        "git http-backend": lambda client, number: (b"refs/heads/c%d" % client, b""),
    }
    measured: dict[str, list[Load]] = {side: [] for side in sides}
    for number in range(rounds):
        commits = _packed(repository, where, f"{wait}-{clients}-{number}", clients, each)
        for side in list(sides)[:: -1 if number % 2 else 1]:
            measured[side].append(drive(*sides[side], commits, targets[side]))
        for client in range(clients):
            crowd.must(repository, "update-ref", "-d", f"refs/heads/c{client}")
    ours, theirs = measured.values()
    ratios = tuple(one.per_s / other.per_s for one, other in zip(ours, theirs, strict=True))
    details = {
        **at_least(GOAL),
        "per_s": {side: [rounded(load.per_s, 3) for load in loads] for side, loads in measured.items()},
        "ms": {side: percentiles([took for load in loads for took in load.times]) for side, loads in measured.items()},
    }
    name = f"pushes, wait={wait}, {clients} clients"
    return Figure(name, "a second, times git http-backend", "ratio", workload.seed, ratios, details)


def _packed(repository: Path, where: str, what: str, clients: int, each: int) -> list[list[Packed]]:
    """Return commits on the branch as it was at first, each with a new file, and their packs."""
    base = crowd.must(repository, "rev-parse", "refs/heads/main")
    made = []
    for client in range(clients):
        own = []
        for number in range(each):
            name = f"{where}pushed-{what}-{client}-{number}"
            lines = [
                f"commit refs/pushed/{client}", "committer B <b@example.org> 1700000000 +0000", "data <<E", name, "E",
                f"from {base}", f"M 100644 inline {name}", "data <<E", name * 20, "E", "",
            ]  # fmt: skip
            subprocess.run(
                ["git", "-C", str(repository), "fast-import", "--quiet", "--force"], input="\n".join(lines).encode(),
                check=True,
            )  # fmt: skip
            commit = crowd.must(repository, "rev-parse", f"refs/pushed/{client}")
            crowd.must(repository, "update-ref", "-d", f"refs/pushed/{client}")
            packed = subprocess.run(
                ["git", "-C", str(repository), "pack-objects", "--revs", "--thin", "--stdout", "-q"],
                input=f"{commit}\n^{base}\n".encode(), check=True, capture_output=True,
            ).stdout  # fmt: skip
            own.append(Packed(commit.encode(), packed))
        made.append(own)
    return made


def _crowds(
    urls: Mapping[str, str], copies: Path, folder: Path, where: str, conflicting: bool, count: int, seed: int
) -> list[Figure]:
    """Have a crowd push to both. Raises Disproved where something did not land."""
    crowds = {}
    what = "conflict" if conflicting else "disjoint"
    paths = [f"{where}{what}-{number}.txt" for number in range(count)]
    fifth = paths[::_IN_CONFLICT] if conflicting else []
    for side, url in urls.items():
        ref = "refs/for/main" if side == "gateway" else "refs/heads/main"
        if side != "gateway":
            shutil.rmtree(copies / "crowd.git", ignore_errors=True)
            crowd.must(folder, "clone", "-q", "--bare", urls["gateway"], str(copies / "crowd.git"))
            crowd.must(copies / "crowd.git", "config", "http.receivepack", "true")
        own = folder / f"{what}-{side.split()[0]}"
        before = [{path: f"{side}\nold\n".encode() for path in fifth}] if fifth else []
        for pusher in crowd.clones(url, own / "before", before):
            crowd.until_landed(pusher, ref)
        pushers = crowd.clones(url, own / "clones", [{path: f"{side} {path}\n".encode()} for path in paths])
        after = [{path: f"{side}\nmoved\n".encode() for path in fifth}] if fifth else []
        for pusher in crowd.clones(url, own / "after", after):
            crowd.until_landed(pusher, ref)
        crowds[side] = made = crowd.rush(pushers, ref, math.inf if side == "gateway" else _PEER_SECONDS)
        _have_landed(url, own, [path for path, landed in zip(paths, made.landed, strict=True) if landed], side)
    ours, theirs = crowds.values()
    most = [1 + (path in fifth) for path in paths]
    if any(pushes > allowed for pushes, allowed in zip(ours.pushes, most, strict=True)):
        raise Disproved(f"to the gateway some pushed {max(ours.pushes)} times: {list(ours.pushes)}")
    details = {
        "landed": {side: sum(each.landed) for side, each in crowds.items()},
        "seconds": {side: rounded(each.seconds, 3) for side, each in crowds.items()},
        "pushes": {side: sum(each.pushes) for side, each in crowds.items()},
        "most_pushes_of_one": {side: max(each.pushes) for side, each in crowds.items()},
    }
    name = f"{count} pushers at once, {'every fifth in conflict' if conflicting else 'disjoint files'}"
    return [
        Figure(name, "landed a second, times git http-backend and a retry loop", "ratio", seed,
               (ours.per_s / theirs.per_s,), details)
    ]  # fmt: skip


def _have_landed(url: str, folder: Path, paths: list[str], side: str) -> None:
    crowd.must(folder, "clone", "-q", url, "landed")
    for path in paths:
        content = folder / "landed" / path
        if not content.exists() or content.read_bytes() != f"{side} {path}\n".encode():
            raise Disproved(f"{side}: {path} has not landed")
