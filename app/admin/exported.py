"""The part of a verification that is Git's: the objects of an export, and the trailers of its commits."""

import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from app.admin.export import git
from app.admin.findings import Decided, Findings
from app.admin.submitters import SUBMITTERS, misnamed
from storage.base.batched import batched
from storage.base.ids import oid_of
from storage.base.progress import no_progress
from storage.git.imported.git_output import INHERITED, complaints
from storage.git.run_git import Git, plain_environment
from storage.git.trailers import changeset_of_old
from storage.log.records import Status
from storage.log.summary import LogSummary
from storage.repository import Repository

_AT_ONCE = 1000


class Names(NamedTuple):
    """What the trailers of a commit name."""

    changesets: list[str]
    submitters: str  # as SUBMITTERS has Git print them


def check_objects(repo: Repository, exported: LogSummary, directory: Path, findings: Findings) -> None:
    """Check every object as `git fsck --strict` does; an imported history may be as odd as its import says."""
    known = {odd.name: odd.count for odd in exported.imported.odd} if exported.imported else {}
    excused: dict[str, list[str]] = {}
    for complaint in complaints(Git(directory, plain_environment()), no_progress):
        if complaint.name in known:
            excused.setdefault(complaint.name, []).append(complaint.oid)
        else:
            findings.differ(f"git: {complaint.text}")
    for name, oids in excused.items():
        count = 0
        for some in batched(oids, _AT_ONCE):
            located = repo.archive.locate([oid_of(oid) for oid in some])
            own = [
                oid
                for oid, at in zip(some, located, strict=True)
                if at is None or at.pack not in exported.named.imported
            ]
            count += len(some) - len(own)
            if name not in INHERITED:
                findings.differ(*(f"git: {oid}, which was not imported: {name}" for oid in own))
        if count > known[name]:
            findings.differ(f"git: {count} imported objects have {name}, and the import had {known[name]}")


def check_tags(directory: Path, exported: LogSummary, findings: Findings) -> None:
    """Check that Git has the tags of the log; that their objects are good, fsck has found."""
    form = "--format=%(refname:lstrip=2) %(objectname)"
    found = dict(line.split(" ") for line in git(directory, "for-each-ref", form, "refs/tags").splitlines())
    for name in sorted(found.keys() | exported.tags.keys()):
        if found.get(name) != exported.tags.get(name):
            findings.differ(f"git: the tag {name} names {found.get(name)}, and should {exported.tags.get(name)}")


def named(directory: Path, branch: str, below: str) -> dict[str, Names]:
    """Return the commits of a branch above an imported history, and what each names, as Git reads trailers.

    A commit in which Git finds none may be of the form in which Sluice wrote them at first: then what that says.
    """
    form = f"--format=%H%x09%(trailers:key=Changeset-Id,valueonly,separator=%x20)%x09{SUBMITTERS}"
    above = [f"^{below}"] if below else []
    rows = [each.split("\t", 2) for each in git(directory, "log", "-z", branch, *above, form).split("\0") if each]
    read = {commit: Names(ids.split(), submitters) for commit, ids, submitters in rows}
    if not read:
        return {}
    with tempfile.TemporaryFile() as others:
        others.write("".join([f"{commit}\n" for commit, names in read.items() if not names.changesets]).encode())
        others.seek(0)
        messages = git(directory, "log", "--no-walk", "--stdin", "-z", "--format=%H%n%B", stdin=others)
    for commit, _, message in (text.partition("\n") for text in messages.split("\0")):
        if old := changeset_of_old(message):
            read[commit] = read[commit]._replace(changesets=[old])
    return read


def check_trailers(
    chain: dict[str, Names], main: dict[str, Names], outcomes: dict[str, Decided], findings: Findings
) -> None:
    """Check that each committed changeset is named by its commit and no other, and by main at most once."""
    commits: dict[str, list[str]] = {}
    for commit, names in chain.items():
        for changeset in names.changesets:
            commits.setdefault(changeset, []).append(commit)
    for changeset, outcome in outcomes.items():
        actual = commits.pop(changeset, [])
        expected = [outcome.commit] if outcome.status == Status.COMMITTED else []
        if actual != expected:
            findings.differ(f"git: changeset {changeset} stands in the commits {actual}, and should in {expected}")
        elif outcome.submitter is not None and actual:
            difference = misnamed(chain[actual[0]].submitters, outcome.submitter)
            if difference:
                findings.differ(f"git: the commit {outcome.commit} of changeset {changeset} {difference}")
    for changeset, actual in commits.items():
        findings.differ(f"git: changeset {changeset}, of which the log knows nothing, stands in the commits {actual}")
    for changeset, count in Counter(changeset for names in main.values() for changeset in names.changesets).items():
        if count != 1:
            findings.differ(f"git: changeset {changeset} stands {count} times in main")
        if changeset not in outcomes:
            findings.differ(f"git: main has the changeset {changeset}, of which the log knows nothing")
