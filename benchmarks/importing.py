"""What an import of a Git history costs, beside what Git itself takes to copy and pack it.

In turns: `git clone --bare` of the history and `git repack -a -d` of the clone; and `sluice import` of that clone into
a new repository of a stack. Both are timed as processes, with the memory of all of their processes together. The result
is proved: an export has the same tip and tags, and `git fsck --strict` says as much of it as of the source, byte for
byte.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from app.admin.export import export
from app.stack.stack import Stack
from benchmarks.figures import Disproved, Figure
from benchmarks.landing import Say
from benchmarks.repos import isolated
from storage.base.settings import Settings, environment
from storage.operations.slices import define
from storage.repository import Repository

HERE = Path(__file__).parents[1]
_EVERY = 0.05  # seconds between two looks at the memory


@dataclass(frozen=True)
class _Ran:
    """What a run of processes took."""

    seconds: float
    peak: int  # bytes of memory, all of its processes together
    output: str


def run(folder: Path, say: Say, *, histories: Sequence[Path], rounds: int, s3: str = "auto") -> list[Figure]:
    """Measure every history. Raises Disproved."""
    figures = []
    with Stack(s3=s3, with_flower=False, settings={}) as stack:
        for number, history in enumerate(histories):
            into = folder / f"{number}"
            into.mkdir()
            figures += _measure(stack, history, into, say, rounds)
    return figures


def _measure(stack: Stack, history: Path, folder: Path, say: Say, rounds: int) -> list[Figure]:
    name = history.resolve().name if history.resolve().name != "repo" else history.name
    cloned, packed, took = [], [], []
    details: dict[str, Any] = {}
    for turn in range(rounds):
        source = folder / f"{turn}.git"
        say(f"{name}: git clone --bare, and git repack -a -d")
        cloned.append(_run(["git", "clone", "--quiet", "--bare", f"file://{history.resolve()}", str(source)], folder))
        packed.append(_run(["git", "-C", str(source), "repack", "-a", "-d", "--quiet"], folder))
        say(f"{name}: sluice import")
        settings = replace(stack.settings, repository=f"import{uuid.uuid4().hex[:12]}")
        command = [str(Path(sys.executable).with_name("sluice")), "import", str(source), "--json"]
        took.append(_run(command, folder, environment(settings)))
        imported = json.loads(took[-1].output)
        details = _proved(settings, source, folder / f"{turn}-export.git", say) | {
            "commits": imported["commits"], "objects": imported["objects"], "tags": imported["tags"],
            "odd": {each["name"]: each["count"] for each in imported["odd"]},
        }  # fmt: skip
    slices = list(_slices(settings, source, name, folder, say))
    both = tuple(clone.seconds + repack.seconds for clone, repack in zip(cloned, packed, strict=True))
    peers = {"peak_mb": round(max(one.peak for one in [*cloned, *packed]) / 1e6, 1)}
    mine = {"peak_mb": round(max(one.peak for one in took) / 1e6, 1), **details}
    axis = f"{name}: {details['commits']:,} commits, {details['objects']:,} objects"
    return [
        Figure("git clone and repack", axis, "seconds", 0, both, peers),
        Figure("import", axis, "seconds", 0, tuple(one.seconds for one in took), mine),
        *slices,
    ]


def _slices(settings: Settings, source: Path, name: str, folder: Path, say: Say) -> Iterator[Figure]:
    """Yield what the clone stores take of a slice of the largest directory, and of one of everything, one by one.

    The first one fetches the history's packs. Raises Disproved.
    """
    listed = _git(source, "ls-tree", "-r", "--name-only", "HEAD").splitlines()
    directories = Counter(path.partition("/")[0] + "/" for path in listed if "/" in path)
    for slice_name, path in (("largest", directories.most_common(1)[0][0]), ("everything", "/")):
        say(f"{name}: a clone store of {path}")
        define(Repository(settings), slice_name, [path])
        command = [sys.executable, "-m", "benchmarks.imported_slices", slice_name, str(folder / "stores")]
        ran = _run(command, folder, environment(settings))
        made = json.loads(ran.output.splitlines()[-1])
        where = path if path != "/" else "."
        expected = int(_git(source, "rev-list", "--count", "HEAD", "--", where))
        store = next((folder / "stores").glob(f"{Repository(settings).view.slice(slice_name).id}.*")) / "repository.git"
        trees = [_git(each, "ls-tree", "-r", at, *more) for each, at, more in (
            (store, made["main"], ()), (source, "HEAD", ("--", where)))]  # fmt: skip
        if trees[0] != trees[1] or made["commits"] != expected:
            raise Disproved(f"the store of {path} has {made['commits']} commits and not {expected}, or other files")
        details = {"peak_mb": round(ran.peak / 1e6, 1), **made}
        axis = f"{name}, {path}: {expected:,} commits"
        yield Figure("slice of an import", axis, "seconds", 0, (ran.seconds,), details)


def _run(command: Sequence[str], folder: Path, environ: dict[str, str] | None = None) -> _Ran:
    """Run a command and watch it. Raises Disproved where it fails."""
    started = time.monotonic()
    process = subprocess.Popen(
        command, env=environ or isolated(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=HERE
    )
    peak, over = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        root = psutil.Process(process.pid)
        while not over.wait(_EVERY):
            peak = max(peak, _memory(root))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        output, errors = process.communicate()
        seconds = time.monotonic() - started
    finally:
        over.set()
        watcher.join()
    if process.returncode:
        raise Disproved(f"{' '.join(command[:4])} ended with {process.returncode}: {errors[-500:]}")
    return _Ran(seconds, peak, output)


def _memory(root: psutil.Process) -> int:
    """Return the bytes of memory that belong to a process and those that it started, shared ones counted once."""
    total = 0
    try:
        for process in [root, *root.children(recursive=True)]:
            total += process.memory_info().rss - process.memory_info().shared
    except psutil.Error:
        return 0  # one has ended meanwhile
    return total


def _proved(settings: Any, source: Path, exported: Path, say: Say) -> dict[str, Any]:
    """Compare an export with the source; return how many bytes each has. Raises Disproved."""
    say("export, and git fsck --strict of both")
    export(settings, exported)
    tags = "for-each-ref", "--format=%(objectname) %(refname)", "refs/tags", "--merged=HEAD"
    for question in (("rev-parse", "HEAD"), tags):
        if (answers := [_git(each, *question) for each in (source, exported)])[0] != answers[1]:
            raise Disproved(f"git {question[0]} differs between the source and an export of it")
    said = [sorted(_git(each, "fsck", "--strict", "--no-dangling").splitlines()) for each in (source, exported)]
    if set(said[1]) - set(said[0]):
        raise Disproved(f"git fsck says of an export what it does not say of the source: {said[1][:3]}")
    bucket = Repository(settings).bucket
    stored: dict[str, int] = {}
    for key in bucket.list_keys("packs/"):
        suffix = key.rpartition(".")[2]
        stored[suffix] = stored.get(suffix, 0) + len(bucket.get(key))
    packs = sum(file.stat().st_size for file in (source / "objects" / "pack").glob("*.pack"))
    return {"source_pack_bytes": packs, "bucket_bytes": sum(stored.values()), "bucket": stored, "fsck": len(said[1])}


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", folder, *arguments], env=isolated(folder), check=False, text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.stdout
