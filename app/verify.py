"""Verifying: the bucket against the log, the log against the view, and all of it against Git.

Nothing here trusts what writes: the log's chain is hashed again, the view is folded again from the entries, commits
are counted by their trailers in an export, and `git fsck --strict` has the last word.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.export import ExportError, export, git
from storage.bucket import BucketError
from storage.entries import CorruptEntry, EntryKind, Json, Status, effects
from storage.ids import PackId, changesets_of
from storage.log import follow
from storage.objects import CorruptObject
from storage.repository import Repository
from storage.view import commands

_MOST_FINDINGS = 100

Progress = Callable[[str, int, int], None]


@dataclass(slots=True)
class Findings:
    """What was looked at, and every difference that was found."""

    entries: int = 0
    changesets: int = 0
    committed: int = 0
    packs: int = 0
    queued: int = 0
    differences: list[str] = field(default_factory=list)

    def differ(self, text: str) -> None:
        """Note a difference."""
        if len(self.differences) < _MOST_FINDINGS:
            self.differences.append(text)


def verify(repo: Repository, with_git: bool = True, progress: Progress = lambda stage, done, total: None) -> Findings:
    """Return what was found. Safe beside writers: what is appended meanwhile is left for the next time.

    Raises BucketError, ViewAbsent and redis.RedisError.
    """
    findings = Findings()
    through = repo.view.head().applied
    outcomes: dict[str, Json] = {}
    named: set[str] = set()
    try:
        for entry, entry_hash in follow(_until(repo, through)):
            _check_entry(repo, entry, entry_hash, findings, outcomes, named, is_last=entry["seq"] == through)
            progress("log", entry["seq"], through)
    except CorruptEntry as error:
        findings.differ(f"log: {error}")
    if findings.entries != through:
        findings.differ(f"log: the view has applied {through} entries, the log has {findings.entries}")
    _check_packs(repo, named, findings)
    _check_inbox(repo, outcomes, findings)
    findings.committed = sum(outcome["status"] == Status.COMMITTED for outcome in outcomes.values())
    findings.changesets = len(outcomes)
    if with_git:
        _check_git(repo, outcomes, findings, progress)
    return findings


def _until(repo: Repository, through: int) -> Iterator[tuple[Any, bytes]]:
    for seq, data in repo.log.read_from(1):
        if seq > through:
            return
        yield seq, data


def _check_entry(
    repo: Repository,
    entry: Json,
    entry_hash: str,
    findings: Findings,
    outcomes: dict[str, Json],
    named: set[str],
    is_last: bool,
) -> None:
    findings.entries += 1
    named.update(pack for pack, _ in entry.get("packs", []))
    if entry["kind"] == EntryKind.COMMITS:
        for decided in entry["decided"]:
            if decided["id"] in outcomes:
                findings.differ(f"log: changeset {decided['id']} has a second outcome in entry {entry['seq']}")
            outcomes[decided["id"]] = {name: decided.get(name) for name in ("status", "commit", "pack")}
    rows = effects(entry, entry_hash)
    pipeline = repo.redis.pipeline(transaction=False)
    expected: list[tuple[str, Any]] = []
    base = repo.view.key("")
    for command in commands(rows):
        name, key, *arguments = command
        if name == "SET":
            pipeline.get(base + key)
            expected.append((key, arguments[0]))
        elif name == "ZADD":
            for score, member in zip(arguments[::2], arguments[1::2], strict=True):
                pipeline.zscore(base + key, member)
                expected.append((f"{key} {member!r}", score))
        elif key != "head" or is_last:
            for field_name, value in zip(arguments[::2], arguments[1::2], strict=True):
                pipeline.hget(base + key, field_name)
                expected.append((f"{key} {field_name}", value))
    for (what, value), found in zip(expected, pipeline.execute(), strict=True):
        shown = found.decode() if isinstance(found, bytes) else found
        if str(shown) != str(float(value) if isinstance(found, float) else value):
            findings.differ(f"view: {what} is {shown!r}, and entry {entry['seq']} makes it {value!r}")


def _check_packs(repo: Repository, named: set[str], findings: Findings) -> None:
    stored = set(repo.bucket.names("packs/"))
    findings.packs = len(named)
    for pack in sorted(named):
        for suffix in (".pack", ".idx"):
            if pack + suffix not in stored:
                findings.differ(f"bucket: {pack}{suffix} is named by the log and missing")


def _check_inbox(repo: Repository, outcomes: dict[str, Json], findings: Findings) -> None:
    """Check that every accepted changeset has an outcome or waits, and that no outcome is of one never accepted."""
    accepted: set[str] = set()
    undecided: list[str] = []
    for name in repo.bucket.names("inbox/"):
        ids = changesets_of(PackId(name.removesuffix(".pack")))
        accepted.update(ids)
        undecided += [each for each in ids if each not in outcomes]
    for start in range(0, len(undecided), 1000):
        chunk = undecided[start : start + 1000]
        for each, standing in zip(chunk, repo.queue.standing(chunk)[1], strict=True):
            if standing.position is not None:
                findings.queued += 1
            elif standing.outcome is None:
                findings.differ(f"inbox: changeset {each} has no outcome and is not queued")
    for each in outcomes.keys() - accepted:
        findings.differ(f"log: changeset {each} has an outcome and was never accepted")


def _check_git(repo: Repository, outcomes: dict[str, Json], findings: Findings, progress: Progress) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "export.git"
        try:
            export(repo.settings, directory, progress)
            git(directory, "fsck", "--strict", "--no-dangling", "--no-progress")
            trailers = git(
                directory, "log", "next", "--format=%H %(trailers:key=Changeset-Id,valueonly,separator=%x20)"
            )
            main = git(
                directory, "log", "main", "--format=%(trailers:key=Changeset-Id,valueonly,separator=%x20)"
            ).split()
        except (ExportError, CorruptObject, CorruptEntry, BucketError, KeyError) as error:
            findings.differ(f"git: {error}")
            return
        _check_trailers(trailers, main, outcomes, findings)


def _check_trailers(trailers: str, main: list[str], outcomes: dict[str, Json], findings: Findings) -> None:
    commits: dict[str, list[str]] = {}
    for line in trailers.splitlines():
        commit, *ids = line.split()
        for each in ids:
            commits.setdefault(each, []).append(commit)
    for each, outcome in outcomes.items():
        found = commits.pop(each, [])
        expected = [outcome["commit"]] if outcome["status"] == Status.COMMITTED else []
        if found != expected:
            findings.differ(f"git: changeset {each} stands in the commits {found}, and should in {expected}")
    for each, count in Counter(main).items():
        if count != 1:
            findings.differ(f"git: changeset {each} stands {count} times in main")
        if each not in outcomes:
            findings.differ(f"git: main has the changeset {each}, of which the log knows nothing")
