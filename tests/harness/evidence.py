"""What the API says at the end, and what stands in an export: read by Git alone, and judged by nobody yet."""

from __future__ import annotations

import io
import json
import re
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from app.admin.export import ExportError, export, git
from storage.base.settings import Settings
from storage.log.entry import Access
from storage.log.log import follow
from storage.repository import Repository
from tests.harness.history import Edit, FileAnswer, History, Json
from tests.harness.pushers.judge import Cloned
from tests.harness.rights.judge import DecidedBy, Limit, LoggedRights
from tests.harness.wire import Answer, Wire

_ASKERS = 4
# Above so many changesets, those that landed are read from the pages of their slice's commits: asking about each of
# 100,000 takes a quarter of an hour. The others, and this many of those that landed, are asked about one by one.
_ASKED_ALONE = 1_000
_A_PAGE = 60.0  # seconds for which a page is asked for again
_SLICE = "everything"  # the one that all of a large history is submitted to
KEY = re.compile(r"^Submission (\S+)$", re.MULTILINE)
_TRAILER = re.compile(r"^Changeset-Id: (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit of the chain."""

    id: str
    parents: tuple[str, ...]
    tree: str
    changesets: tuple[str, ...]  # its trailers
    key: str | None  # of the submission, from its message
    edits: dict[str, Edit]  # against its first parent


@dataclass(frozen=True, slots=True)
class GlobalCommit:
    """A commit of the first-parent line of main."""

    id: str
    parents: tuple[str, ...]
    tree: str


@dataclass(slots=True)
class Evidence:
    """Everything that there is at the end."""

    final: dict[str, Answer] = field(default_factory=dict)  # what the API answers about a changeset, by id
    chain: list[Commit] = field(default_factory=list)  # oldest first
    main: list[GlobalCommit] = field(default_factory=list)  # oldest first
    main_changesets: list[str] = field(default_factory=list)  # the trailers of everything that main reaches
    files: dict[str, list[str]] = field(default_factory=dict)  # of main, by path
    misread: list[str] = field(default_factory=list)  # answers about files that the export contradicts
    git: list[str] = field(default_factory=list)  # what Git found fault with
    differences: list[str] = field(default_factory=list)  # what `verify` found
    rights: LoggedRights = field(default_factory=LoggedRights)  # what the log says about rights
    clones: Cloned | None = None  # what Git gets from the gateway, where somebody pushed
    seconds: float = 0.0


def gather(wire: Wire, history: History, settings: Settings, differences: list[str], patience: float) -> Evidence:
    """Ask about everything that was accepted, and export everything. Never raises for what is wrong."""
    began = time.monotonic()
    evidence = Evidence(differences=differences)
    ids = [changeset for submission in list(history.submissions.values()) for changeset in submission.ids]
    if len(ids) > _ASKED_ALONE:
        listed = {row["changeset"]: row for row in _commits(wire) if row["status"] == "landed"}
        paged = [changeset for changeset in ids if changeset in listed][:-_ASKED_ALONE]
        evidence.final |= {changeset: Answer(200, json.dumps(listed[changeset]).encode()) for changeset in paged}
        ids = [changeset for changeset in ids if changeset not in evidence.final]
    _ask(wire, ids, evidence, began + patience)
    firsts = [_document(answer).get("first") for answer in evidence.final.values()]
    _ask(wire, [first for first in firsts if first and first not in evidence.final], evidence, began + patience)
    try:
        evidence.rights = _logged_rights(settings)
    except Exception as error:  # noqa: BLE001 - whatever keeps it from being read is a finding
        evidence.differences.append(f"log: {type(error).__name__}: {error}")
    with tempfile.TemporaryDirectory(prefix="export-") as folder:
        directory = Path(folder) / "export.git"
        try:
            export(settings, directory)
            git(directory, "fsck", "--strict", "--no-progress")
            _read(directory, history, evidence)
        except (ExportError, subprocess.CalledProcessError) as error:
            evidence.git.append(str(error))
        except Exception as error:  # noqa: BLE001 - whatever keeps it from being exported is a finding
            evidence.git.append(f"{type(error).__name__}: {error}")
    evidence.seconds = time.monotonic() - began
    return evidence


def _logged_rights(settings: Settings) -> LoggedRights:
    """Read policies, tokens and decisions off the log."""
    logged = LoggedRights()
    for entry, _ in follow(Repository(settings).log.read_from(1)):
        if isinstance(entry, Access):
            logged.issued |= {token.id: Limit(token.role, token.paths, token.principal) for token in entry.issued}
            logged.revoked |= {token.id for token in entry.revoked}
            if entry.policy is not None:
                marks = [person.name for person in entry.policy.people.values()]
                logged.policies.append((entry.seq, marks[0] if marks else "", entry.policy))
        for record in entry.decided:
            by, paths = record.by, tuple(change.path for change in record.changes)
            logged.decided.append(
                DecidedBy(
                    entry.seq, record.id, record.status, record.reason, by.principal if by else None,
                    by.token if by else "", paths,
                )
            )  # fmt: skip
    return logged


def _ask(wire: Wire, ids: Iterable[str], evidence: Evidence, until: float) -> None:
    ids = list(ids)
    with ThreadPoolExecutor(_ASKERS) as pool:
        answers = pool.map(lambda changeset: _get(wire, f"/v1/changesets/{changeset}", until), ids)
        evidence.final |= zip(ids, answers, strict=True)


def _get(wire: Wire, path: str, until: float) -> Answer:
    """Ask until there is an answer that stays, or time is over."""
    while True:
        answer = wire("GET", path)
        if not answer.passing or time.monotonic() > until:
            return answer
        time.sleep(0.1)


def _commits(wire: Wire) -> Iterator[Json]:
    """Yield every commit of the slice of large histories, oldest first; none any more once a page has no answer."""
    cursor: str | None = ""
    while cursor is not None:
        path = f"/v1/slices/{_SLICE}/commits?limit=1000{cursor and f'&cursor={cursor}'}"
        page = _get(wire, path, time.monotonic() + _A_PAGE)
        if page.status != 200:
            return
        yield from page.document["items"]
        cursor = page.document["next"]


def _document(answer: Answer) -> Json:
    return answer.document if answer.status == 200 else {}


def _read(directory: Path, history: History, evidence: Evidence) -> None:
    evidence.chain = list(_chain(directory))
    for line in git(directory, "log", "--first-parent", "--reverse", "--format=%H %T %P", "main").splitlines():
        commit, tree, *parents = line.split()
        evidence.main.append(GlobalCommit(commit, tuple(parents), tree))
    trailers = "%(trailers:key=Changeset-Id,valueonly,separator=%x20)"
    evidence.main_changesets = git(directory, "log", f"--format={trailers}", "main").split()
    with tarfile.open(fileobj=io.BytesIO(_raw(directory, ["archive", "--format=tar", "main"]))) as archive:
        for member in archive.getmembers():
            if member.isfile():
                content = archive.extractfile(member)
                assert content
                evidence.files[member.name] = content.read().decode().splitlines()
    evidence.misread = list(_misread(directory, list(history.files)))


def _chain(directory: Path) -> Iterator[Commit]:
    log = git(
        directory,
        *("log", "--reverse", "--no-renames", "--unified=0", "--no-color", "-p"),
        *("--format=%x00%H %T %P%n%B%x01", "next"),
    )
    for part in log.split("\0")[1:]:
        header, _, diff = part.partition("\1")
        heading, _, message = header.partition("\n")
        commit, tree, *parents = heading.split()
        key = KEY.search(message)
        yield Commit(
            commit, tuple(parents), tree, tuple(_TRAILER.findall(message)), key[1] if key else None, edits_of_diff(diff)
        )


def edits_of_diff(diff: str) -> dict[str, Edit]:
    """Read a diff of files that hold nothing but unique lines."""
    edits: dict[str, tuple[list[str], list[str]]] = {}
    lists: tuple[list[str], list[str]] = [], []
    for line in diff.splitlines():
        if line.startswith("diff --git a/"):
            path = line.rpartition(" b/")[2]
            lists = edits[path] = [], []
        elif line.startswith("+") and not line.startswith("+++ "):
            lists[0].append(line[1:])
        elif line.startswith("-") and not line.startswith("--- "):
            lists[1].append(line[1:])
    return {path: Edit(tuple(added), tuple(removed)) for path, (added, removed) in edits.items()}


def _misread(directory: Path, answers: list[FileAnswer]) -> Iterator[str]:
    """Yield which answers about a file differ from the export."""
    asked = "".join(f"{answer.commit}:{answer.path}\n" for answer in answers)
    stream = io.BytesIO(_raw(directory, ["cat-file", "--batch"], asked.encode()))
    for answer in answers:
        heading = stream.readline().split()
        lines = None
        if heading[-1] != b"missing":
            lines = tuple(stream.read(int(heading[2])).decode().splitlines())
            stream.read(1)
        if lines != answer.lines:
            yield f"{answer.path} at {answer.commit} was answered with {answer.lines}, and has {lines}"


def _raw(directory: Path, command: list[str], data: bytes | None = None) -> bytes:
    done = subprocess.run(["git", "-C", str(directory), *command], input=data, capture_output=True, check=True)
    return done.stdout
