"""What reading a whole slice costs, beside Git on a bare repository of the same files: its manifest and its archive.

Git and Sluice take turns, and who goes first alternates. Both are read by the same loop, to their end. Every round
begins with a new API process, whose first manifest is measured by itself.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benchmarks.figures import Disproved, Figure, at_least, at_most, rounded
from benchmarks.landing import Say, Site, address, site
from benchmarks.workload import Workload

WORKLOAD = Workload(files=100_000, width=100, fan=25, slice_leaves=50)
SLICE = "/v1/slices/everything"
_LINES = {"Accept": "application/x-ndjson"}
_PIECE = 1 << 20
_RECORD = 512
# Of a tar header: the time and the checksum, which are another commit's.
_TIME_AND_CHECKSUM = slice(136, 156)

Read = Callable[[Callable[[bytes], object]], float]
"""Hands over all that is read, piece by piece; returns the seconds from the request to the end."""


@dataclass(frozen=True)
class _Pair:
    """The same thing read from Git and from Sluice."""

    git: Read
    sluice: Read

    def measure(self, number: int) -> tuple[float, float]:
        """Return the seconds of both, in the order of the round."""
        seconds = {read: read(len) for read in ((self.git, self.sluice), (self.sluice, self.git))[number % 2]}
        return seconds[self.git], seconds[self.sluice]


def run(
    workload: Workload, folder: Path, say: Say, *, rounds: int = 3, s3: str = "auto"
) -> list[Figure]:  # fmt: skip
    """Measure in rounds. Raises Refused and Disproved."""
    with site(workload, folder / "reads.git", say, s3=s3, with_flower=False) as bench:
        git = folder / "reads.git"
        manifest = _Pair(_git(git, "ls-tree", "-r", "main"), _sluice(bench, "/tree", _LINES))
        archive = _Pair(_git(git, "archive", "--format=tar", "main"), _sluice(bench, "/files?format=tar", {}))
        say("comparing the manifest and the archive with Git's")
        _prove_manifest(manifest)
        _prove_archive(archive, folder)
        first: list[float] = []
        manifests: list[tuple[float, float]] = []
        archives: list[tuple[float, float]] = []
        for number in range(rounds):
            say(f"reads: round {number + 1} of {rounds}")
            for _ in bench.stack.restart("api"):
                first.append(manifest.sluice(len))
            manifests.append(manifest.measure(number))
            archives.append(archive.measure(number))
    axis = f"{workload.files:,} files in {workload.files // workload.width:,} directories"
    return [
        _figure("manifest, to git ls-tree -r", f"time, {axis}", workload, _slower(manifests), manifests, at_most(15)),
        _figure(
            "manifest of a new process, to git ls-tree -r", f"time, {axis}", workload,
            tuple(spent / git for spent, (git, _) in zip(first, manifests, strict=True)),
            [(git, spent) for spent, (git, _) in zip(first, manifests, strict=True)], at_most(15),
        ),
        _figure("tar archive, to git archive", f"rate, {axis}", workload,
                tuple(git / sluice for git, sluice in archives), archives, at_least(0.5)),
    ]  # fmt: skip


def _slower(pairs: list[tuple[float, float]]) -> tuple[float, ...]:
    return tuple(sluice / git for git, sluice in pairs)


def _figure(
    name: str,
    axis: str,
    workload: Workload,
    ratios: tuple[float, ...],
    pairs: list[tuple[float, float]],
    goal: dict[str, object],
) -> Figure:
    seconds = {"git_seconds": [rounded(git) for git, _ in pairs], "sluice_seconds": [rounded(own) for _, own in pairs]}
    return Figure(name, axis, "ratio", workload.seed, ratios, {**goal, **seconds})


def _git(folder: Path, *arguments: str) -> Read:
    def read(take: Callable[[bytes], object]) -> float:
        started = time.perf_counter()
        argv = ["git", "-c", "tar.umask=0002", *arguments]
        with subprocess.Popen(argv, cwd=folder, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            while piece := process.stdout.read(_PIECE):
                take(piece)
        if process.returncode:
            raise Disproved(f"{argv} ended with {process.returncode}")
        return time.perf_counter() - started

    return read


def _sluice(bench: Site, path: str, headers: dict[str, str]) -> Read:
    def read(take: Callable[[bytes], object]) -> float:
        connection = http.client.HTTPConnection(*address(bench.stack), timeout=120)
        started = time.perf_counter()
        connection.request("GET", SLICE + path, headers=headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise Disproved(f"GET {path}: {answer.status} {answer.read()[:500]!r}")
        while piece := answer.read(_PIECE):
            take(piece)
        connection.close()
        return time.perf_counter() - started

    return read


def _prove_manifest(manifest: _Pair) -> None:
    theirs, own = bytearray(), bytearray()
    manifest.git(theirs.extend)
    manifest.sluice(own.extend)
    first, *lines, last = map(json.loads, own.splitlines())
    listed = [f"{line['mode']} {line['type']} {line['id']}\t{line['path']}" for line in lines if "path" in line]
    if last != {"next": None, "files": len(listed)} or "commit" not in first:
        raise Disproved(f"the manifest begins with {first} and ends with {last}")
    if listed != theirs.decode().splitlines():
        raise Disproved("the manifest is not what git ls-tree -r lists")


def _prove_archive(archive: _Pair, folder: Path) -> None:
    """Raise Disproved unless both have the same entries; their commits, and so their times, are different."""
    files = folder / "git.tar", folder / "sluice.tar"
    for read, path in zip((archive.git, archive.sluice), files, strict=True):
        with path.open("wb") as target:
            read(target.write)
    with files[0].open("rb") as theirs, files[1].open("rb") as own:
        for expected, entry in zip(_entries(theirs), _entries(own), strict=True):
            if entry != expected:
                raise Disproved(f"the archive has {entry[:200]!r} where git archive has {expected[:200]!r}")
    for path in files:
        path.unlink()


def _entries(tar: IO[bytes]) -> Iterator[bytes]:
    """Yield the entries of a tar without their times; the first, which names the commit, is left out."""
    number = 0
    while header := tar.read(_RECORD):
        size = int(header[124:135] or b"0", 8) if header.strip(b"\0") else 0
        content = tar.read(-(-size // _RECORD) * _RECORD)
        if number:
            yield header[: _TIME_AND_CHECKSUM.start] + header[_TIME_AND_CHECKSUM.stop :] + content
        number += 1
