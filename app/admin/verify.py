"""Verification: the bucket against the log, the log against the view, and an export against Git.

It trusts nothing that was written: the log's chain is hashed again, the view is computed again from the entries,
commits are counted by their trailers in an export, and `git fsck --strict` checks that export.
"""

import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from app.admin.export import ExportError, export
from app.admin.exported import check_objects, check_tags, check_trailers, named
from app.admin.findings import Decided, Findings
from app.admin.submitters import submitter_of
from storage.backends.bucket import BucketError, Missing
from storage.base.batched import batched
from storage.base.errors import Corrupt
from storage.base.ids import ObjectId, PackId, changesets_of, made_at, submission_pack
from storage.base.progress import Progress, no_progress
from storage.git.objects import CorruptObject
from storage.git.packs import read_index
from storage.git.run_git import GitFailed
from storage.log.entry import SLOTS, Close, Commits, CorruptEntry, Entry, log_position
from storage.log.log import Log, follow
from storage.log.records import Status
from storage.log.summary import LogSummary, catch_up
from storage.lookup.archive import CLOSED_BY, GLOBAL_COMMITS, MANIFESTS, POSITIONS, PUSHED, read_all
from storage.queue import UNREADABLE, read_pack
from storage.repository import Repository
from storage.view.load import read_forgotten
from storage.view.rows import LASTING, effects
from storage.view.view import commands

_MAX_FINDINGS = 100
_MAX_TURNS = 20
# Upkeeps that may be due before a changeset that nobody queued is called lost, and the seconds between two looks.
_TURNS_OF_UPKEEP, _PAUSE = 4, 0.2


def verify(repo: Repository, with_git: bool = True, progress: Progress = no_progress) -> Findings:
    """Return the findings. Writers may continue: entries that are appended meanwhile cause no findings."""
    findings = Findings()
    contents = _Contents(findings)
    fold = _Fold(repo, findings)
    through = 0
    try:
        # Rows that change are compared when no entry came meanwhile; beside writers that may take a few turns.
        for _ in range(_MAX_TURNS):
            before, through = through, repo.view.head().applied
            fresh = islice(repo.log.read_from(before + 1, copies=False), max(0, through - before))
            for entry, entry_hash in follow(fresh, contents.hash):
                contents.add(entry, entry_hash)
                forgotten = read_forgotten(repo.log, repo.bucket, entry)
                fold.add(commands(effects(entry, entry_hash, forgotten)), entry.seq)
                progress("log", entry.seq, through)
            differences = fold.changing_differences()
            if repo.view.head().applied == through:
                findings.differ(*differences)
                break
    except CorruptEntry as error:
        findings.differ(f"log: {error}")
    except (Missing, CorruptObject) as error:
        findings.differ(f"bucket: what entry {contents.entries} archived cannot be read: {error}")
    findings.entries = contents.entries
    if findings.entries != through:
        findings.differ(f"log: the view has applied {through} entries, the log has {findings.entries}")
    findings.changesets = len(contents.outcomes)
    findings.committed = sum(outcome.status == Status.COMMITTED for outcome in contents.outcomes.values())
    findings.packs = len(contents.named.packs)
    _check_files(repo, contents, findings)
    _check_archive(repo, contents, findings)
    _check_inbox(repo, contents, findings)
    if with_git:
        _check_git(repo, contents, findings, progress)
    return findings


class _Contents(LogSummary):
    """What the log says, with every outcome."""

    def __init__(self, findings: Findings) -> None:
        super().__init__()
        self.outcomes: dict[str, Decided] = {}
        self.closed: dict[str, list[tuple[str, int]]] = {}  # what closed a changeset's conflict, and in which entry
        self.commits: dict[str, int] = {}  # global ones, with their entries
        self.pushed: dict[str, list[tuple[str, int]]] = {}  # the changesets that a pushed commit became, in which entry
        self._findings = findings

    def add(self, entry: Entry, entry_hash: str) -> None:
        """Take the next entry."""
        super().add(entry, entry_hash)
        signed = isinstance(entry, Commits) and entry.submitters
        for index, decided in enumerate(entry.decided):
            if decided.id in self.outcomes:
                self._findings.differ(f"log: changeset {decided.id} has a second outcome in entry {entry.seq}")
            submitter = sys.intern(submitter_of(decided)) if signed else None  # there are few, of many changesets
            position = log_position(entry.seq, index)
            self.outcomes[decided.id] = Decided(decided.status, decided.commit, position, submitter)
            if decided.closes:
                self.closed.setdefault(decided.closes.id, []).append((decided.id, entry.seq))
            if decided.pushed:
                self.pushed.setdefault(decided.pushed.commit, []).append((decided.id, entry.seq))
        if isinstance(entry, Close):
            for closed in entry.closed:
                self.closed.setdefault(closed.id, []).append((closed.by or "", entry.seq))
        if made := entry.global_commit:
            self.commits[made.commit] = entry.seq

    def catch_up(self, log: Log) -> None:
        """Take what was appended meanwhile, as far as it fits: a compaction tells what it had deleted."""
        try:
            catch_up(log, self)
        except CorruptEntry as error:
            difference = f"log: {error}"
            if difference not in self._findings.differences:
                self._findings.differ(difference)

    def until(self, seq: int) -> dict[str, Decided]:
        """Return the outcomes up to an entry."""
        return {changeset: outcome for changeset, outcome in self.outcomes.items() if outcome.position // SLOTS <= seq}


_REMOVALS = {"DEL", "ZREM", "HDEL", "UNINDEX"}
_AT_ONCE = 1000
# Seconds between the time that a store notes with an object and the one at which it answers.
_STORED_WITHIN = 5.0


class _Fold:
    """The rows that the entries make, folded in log order, against those of the view.

    LASTING rows are compared at once, the others when all entries have been folded.
    """

    def __init__(self, repo: Repository, findings: Findings) -> None:
        self._view = repo.view
        self._archived = 0
        self._epoch = repo.view.snapshot().epoch
        self._findings = findings
        self._changing: dict[tuple[str, str, Any], Any] = {}  # by command, key and member; None where it is absent

    def add(self, made: Iterator[list[Any]], seq: int) -> None:
        """Fold one entry's commands."""
        lasting: dict[tuple[str, str, Any], Any] = {}
        for command, key, *arguments in made:
            rows = lasting if key.startswith(LASTING) else self._changing
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
        self._findings.differ(*self._lasting_differences(lasting, seq))

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
        parts = batched(self._changing.items(), _AT_ONCE)
        return [difference for part in parts for difference in self._compare(dict(part), "the log makes it")]

    def _compare(self, rows: Mapping[tuple[str, str, Any], Any], who: str) -> Iterator[str]:
        for ((_, key, member), value), stored in zip(rows.items(), self._view.values(self._epoch, rows), strict=True):
            shown = stored.decode() if isinstance(stored, bytes) else stored
            expected = float(value) if isinstance(stored, float) and value is not None else value
            if str(shown) != str(expected):
                yield f"view: {key} {member!r} is {shown!r}, and {who} {value!r}"


def _fold_string(rows: dict[tuple[str, str, Any], Any], command: str, key: str, value: str, *options: str) -> None:
    at = ("SET", key, "")
    if command == "FORGET":
        if rows.get(at) == value:
            rows[at] = None
    elif not options or rows.get(at) is None:  # the option is NX
        rows[at] = value


def _check_files(repo: Repository, contents: _Contents, findings: Findings) -> None:
    missing = contents.named.files() - {*repo.bucket.list_keys("packs/"), *repo.bucket.list_keys("inbox/")}
    contents.catch_up(repo.log)
    for name in sorted(missing & contents.named.files()):
        findings.differ(f"bucket: {name} is named by the log and missing")


def _check_archive(repo: Repository, contents: _Contents, findings: Findings) -> None:
    """Check that tables have what the log has archived: changesets, what closed them, global commits, objects."""
    try:
        rows, named = _archived_rows(repo, contents), contents.named
        for changeset, outcome in contents.until(named.archived).items():
            if (position := POSITIONS.find(rows, changeset)) != outcome.position:
                findings.differ(f"archive: changeset {changeset} is listed at position {position}")
        for changeset, closers in contents.closed.items():
            # Two resolutions may both have been on their way: either is right.
            archived = {by for by, seq in closers if seq <= named.archived}
            if archived and (closer := CLOSED_BY.find(rows, changeset)) not in archived:
                findings.differ(f"archive: changeset {changeset} is listed as closed by {closer}")
        _check_pushed(rows, contents, findings)
        for commit, seq in contents.commits.items():
            if seq <= named.archived and GLOBAL_COMMITS.find(rows, commit) != seq:
                findings.differ(f"archive: commit {commit} is listed under entry {GLOBAL_COMMITS.find(rows, commit)}")
        for pack in named.compacted:
            if MANIFESTS.find(rows, pack) is None:
                findings.differ(f"archive: {pack} was compacted, and its manifest is not found")
        for pack, size in named.archives.items():
            index = read_index(repo.bucket.get(pack + ".idx"), size)
            absent = _not_located(repo, index) if pack in named.imported else [oid for oid in index if oid not in rows]
            if absent:
                findings.differ(
                    f"archive: {len(absent)} objects of {pack} are in no table, the first {absent[0].hex()}"
                )
    except (Missing, Corrupt, BucketError) as error:
        findings.differ(f"archive: {error}")


def _not_located(repo: Repository, oids: Iterable[ObjectId]) -> list[ObjectId]:
    """Return those objects of an import that the archive does not find: its tables are looked into, as they are large.

    In order, so that rows that are neighbours are read together.
    """
    absent: list[ObjectId] = []
    for some in batched(sorted(oids), _AT_ONCE):
        located = repo.archive.locate(some)
        absent += [oid for oid, at in zip(some, located, strict=True) if at is None]
    return absent


def _check_pushed(rows: Mapping[bytes, bytes], contents: _Contents, findings: Findings) -> None:
    for commit, became in contents.pushed.items():
        archived = {changeset for changeset, seq in became if seq <= contents.named.archived}
        if archived and (found := PUSHED.find(rows, commit)) not in archived:
            findings.differ(f"archive: pushed commit {commit} is listed as {found}")


def _archived_rows(repo: Repository, contents: _Contents) -> dict[bytes, bytes]:
    """Return all rows of the tables that the log names, though some of them are merged and deleted meanwhile."""
    while True:
        try:
            return read_all(repo.bucket, contents.named.own_tables)
        except Missing as error:
            contents.catch_up(repo.log)
            if contents.named.files().intersection(error.args):
                raise


def _check_inbox(repo: Repository, contents: _Contents, findings: Findings) -> None:
    """Check that every accepted changeset has an outcome or waits, and that no outcome is of one never accepted."""
    outcomes = dict(contents.outcomes)
    accepted: set[str] = set()
    undecided: dict[str, PackId] = {}
    mark = repo.view.head().mark
    for name, stored in repo.bucket.listing("inbox/"):
        pack = submission_pack(name)
        if pack is None:
            continue
        ids = changesets_of(pack)
        accepted.update(ids)
        # No writer got 202 for what was stored so long after its name: see app/intake/intake.py.
        late = stored - made_at(pack) > repo.settings.late_put - _STORED_WITHIN
        undecided |= {id_: pack for id_ in ids if id_ not in outcomes and not (late and id_ <= mark)}
    # An API process that died between a pack and its queue leaves it to upkeep, which has its turn first.
    findings.queued, lost = _undecided(repo, list(undecided))
    until = time.monotonic() + _TURNS_OF_UPKEEP * repo.settings.upkeep_interval
    while lost and time.monotonic() < until:
        time.sleep(_PAUSE)
        findings.queued, lost = _undecided(repo, list(undecided))
    for changeset in lost:
        findings.differ(f"inbox: changeset {changeset} has no outcome and is not queued")
    for pack in dict.fromkeys(undecided[changeset] for changeset in lost):
        try:
            read_pack(repo.archive, pack)
        except UNREADABLE as error:
            findings.differ(f"inbox: {pack} cannot be read: {error}")
    contents.catch_up(repo.log)  # what was compacted while the inbox was listed
    accepted.update(changeset for pack in contents.named.compacted for changeset in changesets_of(pack))
    for key in outcomes.keys() - accepted:
        findings.differ(f"log: changeset {key} has an outcome and was never accepted")


def _undecided(repo: Repository, changesets: Sequence[str]) -> tuple[int, list[str]]:
    """Return how many are queued or held, and which have neither a position nor an outcome."""
    queued, lost = 0, []
    for chunk in batched(changesets, 1000):
        for changeset, state in zip(chunk, repo.queue.states(chunk)[1], strict=True):
            if state.position is not None or state.held:
                queued += 1
            elif state.outcome is None:
                lost.append(changeset)
    return queued, lost


def _check_git(repo: Repository, contents: _Contents, findings: Findings, progress: Progress) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "export.git"
        try:
            exported = export(repo.settings, directory, progress)
            check_objects(repo, exported, directory, findings)
            below = exported.imported.commit if exported.imported else ""
            check_tags(directory, exported, findings)
            chain, main = named(directory, "next", below), named(directory, "main", below)
        except (GitFailed, ExportError, Corrupt, BucketError, Missing) as error:
            findings.differ(f"git: {error}")
            return
        contents.catch_up(repo.log)
        check_trailers(chain, main, contents.until(exported.entries), findings)
