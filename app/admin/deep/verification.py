"""The full verification: Git, and not Sluice's own code, computes every root again from what was submitted.

In log order, each changeset becomes a full-tree commit on what its writer saw; if that is not the tree of the commit
before, `git merge-tree` merges the two. The result has to be the tree of the changeset's commit, and a changeset that
the log calls conflicted has to conflict. Each merge starts from the tree that the log has for the commit before, which
was verified itself, so many merges run at once. Reads only the bucket. It ends at the first difference, since what
follows from a wrong root is wrong too. docs/merging.md lists the intended differences from Git; these are counted.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from app.admin.deep.git import CommitInfo, GitRefused, Importer, Reader, Workbench
from app.admin.deep.merges import Case, Differs, examine, excuses_of
from app.admin.deep.moves import Relocated, Witness, as_submitted, relocated, same_changes
from app.admin.deep.strategies import apply_strategies
from app.admin.deep.submitted import Manifests, entries, load
from app.admin.deep.versions import Saw, above, versions_seen
from app.admin.submitters import misnamed, submitter_of
from app.judge import HistoryError, Judge
from storage.backends.bucket import Bucket, Missing
from storage.base.errors import Corrupt, Refused
from storage.base.ids import ChangesetId, ObjectId
from storage.base.progress import Progress, no_progress
from storage.base.settings import Settings
from storage.commit import base_said
from storage.git.objects import EMPTY_TREE, SUBMODULE_MODE, Version, as_file
from storage.git.trailers import changeset_of_old
from storage.log.entry import Commits, Entry, Genesis, GlobalCommit, Import
from storage.log.log import Log
from storage.log.manifest import Changeset
from storage.log.records import Decided, Status
from storage.log.summary import LogSummary, read_log

_WINDOW = 500  # changesets that are merged together
_WINDOW_PATHS = 20_000


@dataclass(slots=True)
class Deep:
    """What was made again."""

    entries: int = 0
    changesets: int = 0
    committed: int = 0
    conflicted: int = 0
    merged: int = 0  # made by git merge-tree, since the head was not what the writer saw
    excepted: int = 0  # conflicts that Git has not, for a documented reason
    unchecked: int = 0  # nothing to make them from (collected), or strategies for paths below one another
    difference: str = ""  # the first


@dataclass(frozen=True, slots=True)
class _Known:
    """A changeset that has been verified."""

    committed: bool
    mark: str  # the commit of what its writer saw and submitted; empty where it could not be made
    tree: str
    first: ChangesetId | None  # of a duplicate
    fingerprint: str | None


class _Unmakeable(Refused):
    """What a changeset needs has been collected, was never stored, or is nothing that Git makes a tree of."""


@dataclass(frozen=True, slots=True)
class _Made:
    """A commit of a changeset's changes on something."""

    mark: str
    tree: str
    before: dict[bytes, Version | None]  # the files at its paths before
    wanted: dict[bytes, Version | None]  # and what its writer wants there


def deep(settings: Settings, progress: Progress = no_progress) -> Deep:
    """Make every root again. Safe beside writers: what is appended meanwhile is left out, or looked at as well."""
    bucket = Bucket(settings)
    log, report = Log(bucket), Deep()
    with Workbench() as bench:
        try:
            contents = read_log(log)
            loaded = load(bucket, log, contents, bench, progress)
            manifests = Manifests(Reader(bench), loaded)
            commits = _commits(contents, bench)
            with Importer(bench) as importer, Judge(bench.folder / "objects") as judge:
                _Verification(contents, commits, manifests, importer, judge, report, progress).run(log)
        except Missing as error:
            report.difference = f"bucket: {error.args[0]} is named by the log and missing"
        except (Corrupt, HistoryError) as error:
            report.difference = str(error)
    return report


def _commits(contents: LogSummary, bench: Workbench) -> dict[str, CommitInfo]:
    """Return the commits that entries made, by id: an imported history's tip is one of them, and what is below is not.

    Raises GitRefused.
    """
    if not contents.entries:
        return {}
    if (imported := contents.imported) is None:
        return bench.commits([contents.tip, contents.main])
    begun = bench.commits([contents.genesis, imported.commit], "--no-walk")
    return begun | bench.commits([contents.tip, contents.main, f"^{imported.commit}"])


class _Verification:
    """One full verification; see the module."""

    def __init__(
        self,
        contents: LogSummary,
        commits: dict[str, CommitInfo],
        manifests: Manifests,
        importer: Importer,
        judge: Judge,
        report: Deep,
        progress: Progress,
    ) -> None:
        self._contents = contents
        self._commits = commits
        self._manifests = manifests
        self._importer = importer
        self._judge = judge
        self._report = report
        self._progress = progress
        self._past: set[str] = set()  # commits of the entries so far
        self._known: dict[ChangesetId, _Known] = {}
        self._cases: list[Case] = []
        self._paths = 0
        self._tip = self._main = ""
        self._tips: dict[int, str] = {}  # by entry, of those that no merge has passed
        self._witness = Witness()

    def run(self, log: Log) -> None:
        """Check every entry that was read before. Raises Differs, and GitRefused if Git refuses an object."""
        try:
            for entry in entries(log, self._contents.entries):
                self._entry(entry, f"entry {entry.seq}")
                self._report.entries += 1
        except Differs:
            # What was prepared before it may differ too, and comes first.
            with suppress(GitRefused):
                self._flush()
            raise
        self._flush()
        for commit in self._commits:
            if commit not in self._past:
                raise Differs(f"git: the history has commit {commit}, and no entry has it")

    def _entry(self, entry: Entry, where: str) -> None:
        match entry:
            case Genesis():
                self._tip = self._main = entry.commit
                if self._info(self._tip, where).tree != entry.tree:
                    raise Differs(f"{where}: its tree is not that of its commit")
                self._past.add(self._tip)
            case Import():
                self._tip = self._main = entry.commit
                if self._info(self._tip, where).tree != entry.tree:
                    raise Differs(f"{where}: its tree is not that of its commit")
                self._past.add(self._tip)
            case Commits():
                self._batch(entry, where)
        self._tips[entry.seq] = self._tip
        if (made := entry.global_commit) and not isinstance(entry, Genesis | Import):
            self._merge(made, where)

    def _merge(self, made: GlobalCommit, where: str) -> None:
        """Check that a global commit publishes a commit of the chain as it is."""
        info = self._info(made.commit, where)
        merged = self._tips.get(made.through)
        if merged is None or info.parents != [self._main, merged] or info.changesets or info.submitters:
            raise Differs(f"{where}: {made.commit} is no merge of {merged} into {self._main}")
        if not info.tree == made.tree == self._commits[merged].tree:
            raise Differs(f"{where}: the merge's tree is not that of {merged}, which it merges")
        self._main = made.commit
        self._witness.publish(made.commit, merged)
        self._past.add(self._main)
        for seq in [seq for seq in self._tips if seq < made.through]:
            del self._tips[seq]

    def _batch(self, entry: Commits, where: str) -> None:
        for record in entry.decided:
            at = f"{where}, changeset {record.id}"
            if record.id in self._known:
                raise Differs(f"{at}: it has an outcome already")
            self._report.changesets += 1
            if record.status in (Status.COMMITTED, Status.CONFLICTED):
                self._changeset(record, at, entry.submitters)
            else:
                self._known[record.id] = _known_of(record)
                self._witness.take(record, None)
            self._progress("deep", self._report.changesets, self._contents.changesets)
        if entry.tip != self._tip:
            raise Differs(f"{where}: its tip is {entry.tip}, and its last commit {self._tip}")
        root = self._commits[self._tip].tree
        if entry.root != root:
            raise Differs(f"{where}: its root is {entry.root}, and its tip's tree {root}")

    def _changeset(self, record: Decided, at: str, signed: bool) -> None:
        """Make a committed or conflicted changeset again, and have its merge made with the next ones."""
        chain, committed = self._tip, record.status == Status.COMMITTED
        if committed:
            self._committed(record, at, signed)
        self._known[record.id] = _known_of(record)
        changeset = self._manifests.find(record, at)
        try:
            if changeset is None:
                raise _Unmakeable
            if committed and not same_changes(record, changeset):
                raise Differs(f"{at}: its changes are not those that were submitted")
            case = self._case(changeset, record, at, chain)
        except _Unmakeable:
            self._report.unchecked += 1
            return
        except GitRefused as error:
            raise Differs(f"{at}: Git refuses what it says: {error}") from error
        finally:
            self._witness.take(record, changeset)
        case.tree = self._commits[self._tip].tree if committed else ""
        self._report.committed += committed
        self._report.conflicted += not committed
        self._cases.append(case)
        self._paths += len(changeset.changes)
        if len(self._cases) >= _WINDOW or self._paths >= _WINDOW_PATHS:
            self._flush()

    def _committed(self, record: Decided, at: str, signed: bool) -> None:
        """Check that the chain goes on with a changeset's commit, and go on to it; `signed`: it names its submitter."""
        commit = record.commit or ""
        info = self._info(commit, at)
        if info.parents != [self._tip]:
            raise Differs(f"{at}: the parents of {commit} are {info.parents}, and should be {self._tip}")
        named = info.changesets or [changeset_of_old(self._manifests.reader.message(commit)) or ""]
        if named != [record.id]:
            raise Differs(f"{at}: the trailers of {commit} name {info.changesets}")
        if signed and (difference := misnamed(info.submitters, submitter_of(record))):
            raise Differs(f"{at}: {commit} {difference}")
        self._tip = commit
        self._past.add(self._tip)

    def _case(self, changeset: Changeset, record: Decided, at: str, chain: str) -> Case:
        head, excuses = self._commits[chain].tree, excuses_of(record)
        saw = Saw()
        if changeset.base_versions:
            saw = versions_seen(changeset, self._importer, chain, self._is_stored, self._put)
            base, base_tree, excuses.unknown_base = saw.mark, saw.tree, saw.unknown
        else:
            base, base_tree = self._base(changeset, record, at)
        made = self._commit(changeset, base)
        if record.status == Status.COMMITTED:
            self._seen(changeset, record, at, base_tree, made)
        case = Case(at, base_tree, head, made.tree, excuses)
        moved = as_submitted(changeset, made.before)
        if base_tree != head:
            moved = self._prepare(case, changeset, base, made, chain)
        moved.check(record, at)
        case.must_conflict |= saw.must_conflict or moved.must_conflict
        case.unchecked |= saw.unchecked
        return case

    def _seen(self, changeset: Changeset, record: Decided, at: str, saw: str, made: _Made) -> None:
        """Keep what the writers of a stack on a committed changeset have seen, and compare it with the record."""
        if changeset.base_versions:
            # Its own paths and nothing else.
            saw = EMPTY_TREE.hex()
            for change in changeset.changes:
                brings_none = change.op == "mode" or change.path in {each.source for each in changeset.changes}
                if brings_none and not self._is_stored(change.mode, change.base):
                    return
            made = self._commit(changeset, "")
        for name, tree in (("saw", saw), ("seen", made.tree)):
            recorded = getattr(record, name)
            if recorded not in (None, tree):
                raise Differs(f"{at}: `{name}` is {recorded}, and should be {tree}")
        self._known[changeset.id] = replace(self._known[changeset.id], mark=made.mark, tree=made.tree)

    def _commit(self, changeset: Changeset, base: str) -> _Made:
        """Make the commit of a changeset on `base` (empty: on nothing but the versions that its changes say)."""
        mark = self._importer.begin(base)
        paths = [change.path for change in changeset.changes]
        if base:
            before = {path: as_file(version) for path, version in self._importer.versions(paths).items()}
        else:
            by_path = {change.path: change for change in changeset.changes}
            before = {
                c.seen_at: base_said(c, by_path) for c in sorted(changeset.changes, key=lambda c: c.source or b"")
            }
        wanted = {change.path: change.version(before[change.seen_at]) for change in changeset.changes}
        for path, version in wanted.items():
            if version is None and before[path] is not None:
                self._importer.put(path, None)
        for path, version in wanted.items():
            if version is not None:
                self._put(path, version)
        return _Made(mark, self._importer.end(), before, wanted)

    def _base(self, changeset: Changeset, record: Decided, at: str) -> tuple[str, str]:
        """Return the commit that has what the writer saw, and its tree."""
        if changeset.base_commit is not None:
            commit = changeset.base_commit.hex()
            if commit in self._past:
                return commit, self._commits[commit].tree
            if not self._is_imported(commit):
                raise Differs(f"{at}: its base {commit} is no commit before it")
            return commit, self._manifests.reader.tree_of(commit)
        assert changeset.base_changeset is not None
        base = self._first_of(changeset.base_changeset)
        known = self._known.get(base)
        if known is None or not known.committed:
            raise Differs(f"{at}: its base {base} was not committed before it")
        if not known.mark:
            raise _Unmakeable
        if record.base not in (None, base):
            raise Differs(f"{at}: it is recorded on {record.base}, and was submitted on {base}")
        return known.mark, known.tree

    def _is_imported(self, commit: str) -> bool:
        """Tell whether this is a commit that no entry made, of an imported history."""
        there = self._contents.imported is not None and commit not in self._commits
        return there and self._manifests.reader.kind(commit) == "commit"

    def _first_of(self, changeset: ChangesetId) -> ChangesetId:
        """Return the first changeset of which this one is a duplicate, or the changeset itself."""
        known = self._known.get(changeset)
        first = self._known.get(known.first) if known and known.first else None
        same = known is not None and first is not None and first.fingerprint == known.fingerprint
        return known.first if same and known and known.first else changeset

    def _put(self, path: bytes, version: Version | None) -> None:
        """Set or delete what stands at a path of the open commit.

        Raises _Unmakeable of a submodule whose pointer is the id of a tree or blob here, which Git's import takes for a
        mistake, as it is: no commit anywhere can have that id.
        """
        pointer = version.oid.hex() if version is not None and version.mode == SUBMODULE_MODE else ""
        if pointer and self._manifests.reader.kind(pointer) not in (None, "commit"):
            raise _Unmakeable
        self._importer.put(path, version)

    def _is_stored(self, mode: int, oid: ObjectId | None) -> bool:
        return mode == SUBMODULE_MODE or (oid is not None and self._manifests.reader.blob(oid.hex()) is not None)

    def _prepare(self, case: Case, changeset: Changeset, base: str, made: _Made, chain: str) -> Relocated:
        """Put files where they are by now, apply strategies, and look whether Git might take one for a new one.

        Return what follows from moves.
        """
        # In a commit on the head, since Git reads all directories of a tree anew for each path that it is asked for.
        self._importer.begin(chain)
        heads = {path: as_file(version) for path, version in self._importer.versions(made.before).items()}
        where = partial(self._witness.where, changeset, first_of=self._first_of)
        moved = relocated(changeset, made.before, self._importer.versions, where)
        self._importer.end()
        case.unchecked |= moved.unchecked
        made_of = apply_strategies(case, changeset, made.before, heads, made.wanted, moved.base)
        if (made_of.keep or made_of.over) and _nested([change.path for change in changeset.changes]):
            case.unchecked = True
            return moved
        case.submitted = self._with(made.mark, made_of.keep | moved.submitted, case.submitted)
        case.base = self._with(base, made_of.over | moved.base, case.base)
        case.head = self._with(chain, moved.head, case.head)
        return moved

    def _with(self, commit: str, versions: dict[bytes, Version | None], tree: str) -> str:
        """Return the tree of a commit with other versions at some paths."""
        if not versions:
            return tree
        self._importer.begin(commit)
        for path, version in versions.items():
            self._put(path, version)
        return self._importer.end()

    def _info(self, commit: str, at: str) -> CommitInfo:
        if commit not in self._commits:
            raise Differs(f"{at}: the history has no commit {commit}")
        return self._commits[commit]

    def _flush(self) -> None:
        """Have Git merge what has been prepared, and compare. Raises Differs at the first that differs."""
        self._importer.sync()
        cases, self._cases, self._paths = self._cases, [], 0
        for kind in examine(cases, self._judge):
            setattr(self._report, kind, getattr(self._report, kind) + 1)


def _known_of(record: Decided) -> _Known:
    return _Known(record.status == Status.COMMITTED, "", "", record.first, record.fingerprint)


def _nested(paths: list[bytes]) -> bool:
    """Tell whether one of these paths is below another."""
    return not set(paths).isdisjoint(above(paths))
