"""Verifying: the bucket against the log, the log against the view, and all of it against Git.

Nothing here trusts what writes: the log's chain is hashed again, the view is folded again from the entries, commits
are counted by their trailers in an export, and `git fsck --strict` has the last word.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.export import ExportError, export, git
from storage.archive import manifest_in, place_in, read_all
from storage.bucket import BucketError, Missing
from storage.entries import NO_HASH, SLOTS, CorruptEntry, EntryKind, Json, Status, effects, place_of
from storage.ids import PackId, changesets_of, ulid_seconds
from storage.load import read_forgotten
from storage.log import follow
from storage.named import Named
from storage.objects import CorruptObject
from storage.packs import read_index
from storage.repository import Repository
from storage.tables import CorruptTable
from storage.view import commands

_MOST_FINDINGS = 100
_MOST_TURNS = 20

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
    outcomes: dict[str, Json] = {}
    named = Named()
    fold = _Fold(repo, findings)
    through, last_hash = 0, NO_HASH
    try:
        # Rows that change are compared when no entry came meanwhile; beside writers that may take a few turns.
        for _ in range(_MOST_TURNS):
            before, through = through, repo.view.head().applied
            for entry, entry_hash in follow(_between(repo, before + 1, through), last_hash):
                last_hash = entry_hash
                findings.entries += 1
                named.add(entry)
                _note_outcomes(entry, outcomes, findings)
                forgotten = read_forgotten(repo.log, repo.bucket, entry)
                fold.add(commands(effects(entry, entry_hash, forgotten)), entry["seq"])
                progress("log", entry["seq"], through)
            differences = fold.changing_differences()
            if repo.view.head().applied == through:
                for difference in differences:
                    findings.differ(difference)
                break
    except CorruptEntry as error:
        findings.differ(f"log: {error}")
    except (Missing, CorruptObject) as error:
        findings.differ(f"bucket: what entry {findings.entries} archived cannot be read: {error}")
    if findings.entries != through:
        findings.differ(f"log: the view has applied {through} entries, the log has {findings.entries}")
    _check_files(repo, named, findings)
    _check_archive(repo, named, outcomes, findings)
    _check_inbox(repo, outcomes, named, findings)
    findings.committed = sum(outcome["status"] == Status.COMMITTED for outcome in outcomes.values())
    findings.changesets = len(outcomes)
    if with_git:
        _check_git(repo, outcomes, findings, progress)
    return findings


def _between(repo: Repository, first: int, last: int) -> Iterator[tuple[Any, bytes]]:
    for seq, data in repo.log.read_from(first, copies=False) if first <= last else ():
        if seq > last:
            return
        yield seq, data


def _note_outcomes(entry: Json, outcomes: dict[str, Json], findings: Findings) -> None:
    if entry["kind"] != EntryKind.COMMITS:
        return
    for index, decided in enumerate(entry["decided"]):
        if decided["id"] in outcomes:
            findings.differ(f"log: changeset {decided['id']} has a second outcome in entry {entry['seq']}")
        outcome = {name: decided.get(name) for name in ("status", "commit", "pack")}
        outcomes[decided["id"]] = outcome | {"place": place_of(entry["seq"], index)}


# Rows that later entries never touch, until they are archived, are compared at once, the others when all entries have
# been folded.
_LASTING = ("outcome:", "chain", "decided:", "batches", "merges", "merge_seqs")
_REMOVALS = {"DEL", "ZREM", "HDEL", "UNINDEX"}
_AT_ONCE = 1000
# Seconds between the time that a store notes with an object and the one at which it answers.
_STORED_WITHIN = 5.0


class _Fold:
    """The rows that the entries make, folded in log order, against those of the view."""

    def __init__(self, repo: Repository, findings: Findings) -> None:
        self._redis = repo.redis
        self._view = repo.view
        self._archived = 0
        self._base = repo.view.key("")
        self._findings = findings
        self._changing: dict[tuple[str, str, Any], Any] = {}  # by command, key and member; None where it is absent

    def add(self, made: Iterator[list[Any]], seq: int) -> None:
        """Fold one entry's commands."""
        lasting: dict[tuple[str, str, Any], Any] = {}
        for command, key, *arguments in made:
            rows = lasting if key.startswith(_LASTING) else self._changing
            if rows is lasting and command in _REMOVALS:
                continue  # of rows of earlier entries, which were compared
            match command:
                case "SET" | "FORGET":
                    _fold_string(rows, command, key, *arguments)
                case "ZADD":
                    scored = zip(arguments[::2], arguments[1::2], strict=True)
                    rows |= {("ZADD", key, member): score for score, member in scored}
                case "ZREM":
                    rows |= {("ZADD", key, member): None for member in arguments}
                case "HDEL":
                    rows |= {("HSET", key, name): None for name in arguments}
                case "HSET":
                    named = zip(arguments[::2], arguments[1::2], strict=True)
                    rows |= {("HSET", key, name): value for name, value in named}
        for difference in self._lasting_differences(lasting, seq):
            self._findings.differ(difference)

    def _lasting_differences(self, rows: dict[tuple[str, str, Any], Any], seq: int) -> list[str]:
        """Compare rows that are there until their entry is archived, and not after."""
        differences: list[str] = []
        if seq > self._archived:
            differences = list(self._compare(rows, f"entry {seq} makes it"))
            if not differences:
                return []
            self._archived = self._view.head().archived  # meanwhile, perhaps
        if seq <= self._archived:
            differences = list(self._compare(dict.fromkeys(rows), f"entry {seq} is archived, which makes it"))
        return differences

    def changing_differences(self) -> list[str]:
        """Compare the rows that more than one entry may have set."""
        rows = list(self._changing.items())
        parts = (dict(rows[start : start + _AT_ONCE]) for start in range(0, len(rows), _AT_ONCE))
        return [difference for part in parts for difference in self._compare(part, "the log makes it")]

    def _compare(self, rows: Mapping[tuple[str, str, Any], Any], who: str) -> Iterator[str]:
        pipeline = self._redis.pipeline(transaction=False)
        for command, key, member in rows:
            match command:
                case "SET":
                    pipeline.get(self._base + key)
                case "ZADD":
                    pipeline.zscore(self._base + key, member)
                case "HSET":
                    pipeline.hget(self._base + key, member)
        for ((_, key, member), value), found in zip(rows.items(), pipeline.execute(), strict=True):
            shown = found.decode() if isinstance(found, bytes) else found
            expected = float(value) if isinstance(found, float) and value is not None else value
            if str(shown) != str(expected):
                yield f"view: {key} {member!r} is {shown!r}, and {who} {value!r}"


def _fold_string(rows: dict[tuple[str, str, Any], Any], command: str, key: str, value: str, *options: str) -> None:
    at = ("SET", key, "")
    if command == "FORGET":
        if rows.get(at) == value:
            rows[at] = None
    elif not options or rows.get(at) is None:  # the option is NX
        rows[at] = value


def _check_files(repo: Repository, named: Named, findings: Findings) -> None:
    findings.packs = len(named.packs)
    for name in sorted(named.files() - {*repo.bucket.names("packs/"), *repo.bucket.names("inbox/")}):
        findings.differ(f"bucket: {name} is named by the log and missing")


def _check_archive(repo: Repository, named: Named, outcomes: dict[str, Json], findings: Findings) -> None:
    """Check that tables have what the log has archived: every changeset and every object."""
    try:
        rows = read_all(repo.bucket, named.tables.values())
        for each, outcome in outcomes.items():
            if outcome["place"] // SLOTS <= named.archived and place_in(rows, each) != outcome["place"]:
                findings.differ(f"archive: changeset {each} is said to be at place {place_in(rows, each)}")
        for pack in named.compacted:
            if manifest_in(rows, pack) is None:
                findings.differ(f"archive: {pack} was compacted, and its manifest is not found")
        for pack, size in named.archives.items():
            lost = [oid for oid in read_index(repo.bucket.get(pack + ".idx"), size) if oid not in rows]
            if lost:
                findings.differ(f"archive: {len(lost)} objects of {pack} are in no table, the first {lost[0].hex()}")
    except (Missing, CorruptTable, CorruptObject, BucketError) as error:
        findings.differ(f"archive: {error}")


def _check_inbox(repo: Repository, outcomes: dict[str, Json], named: Named, findings: Findings) -> None:
    """Check that every accepted changeset has an outcome or waits, and that no outcome is of one never accepted."""
    accepted = {each for pack in named.compacted for each in changesets_of(pack)}
    undecided: list[str] = []
    mark = repo.view.head().mark
    for name, stored in repo.bucket.listing("inbox/"):
        ids = changesets_of(PackId(name.removesuffix(".pack")))
        accepted.update(ids)
        # Nobody was told 202 of what was stored so long after its name: see app/intake.py.
        late = stored - ulid_seconds(ids[0]) > repo.settings.late_put - _STORED_WITHIN
        undecided += [each for each in ids if each not in outcomes and not (late and each <= mark)]
    for start in range(0, len(undecided), 1000):
        chunk = undecided[start : start + 1000]
        for each, standing in zip(chunk, repo.queue.standing(chunk)[1], strict=True):
            if standing.position is not None or standing.held:
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
