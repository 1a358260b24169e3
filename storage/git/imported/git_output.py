"""What a running Git prints, read while it runs: its lines, its progress, what `git fsck` complains of."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple

from storage.base.progress import Progress
from storage.git.run_git import Git, GitFailed

_READ = 64 << 10
_ENDS = re.compile(rb"[\r\n]+")
_PROGRESS = re.compile(
    rb"(?:[A-Z][a-z]+ (?:objects|object directories|connectivity|reachability|references)\b|Total \d)"
)
_CHECKING = re.compile(rb"Checking objects:.*\((\d+)/(\d+)\)")
_COMPLAINT = re.compile(r"(?:error|warning) in (\w+) ([0-9a-f]{40}): (\w+): (.*)")

ODD = frozenset(
    {
        # Modes of files that old programs wrote, and Git reads as the usual ones.
        "badFilemode", "zeroPaddedFilemode", "largePathname",
        # Who and when, in commits and tags.
        "badDate", "badDateOverflow", "badEmail", "badName", "badTimezone", "missingEmail", "missingNameBeforeEmail",
        "missingSpaceBeforeDate", "missingSpaceBeforeEmail", "zeroPaddedDate", "multipleAuthors", "nulInCommit",
        "badTagName", "missingTaggerEntry", "extraHeaderEntry", "badHeaderContinuation",
        # What only a checkout would follow.
        "gitmodulesBlob", "gitmodulesLarge", "gitmodulesMissing", "gitmodulesName", "gitmodulesParse", "gitmodulesPath",
        "gitmodulesSymlink", "gitmodulesUpdate", "gitmodulesUrl", "gitattributesBlob", "gitattributesLarge",
        "gitattributesLineLength", "gitattributesMissing", "gitattributesSymlink", "gitignoreSymlink",
        "mailmapSymlink", "symlinkPointsToGitDir", "symlinkTargetBlob", "symlinkTargetLength", "symlinkTargetMissing",
    }
)  # fmt: skip
"""What `git fsck` calls things, by its names, that a history may have and that change nothing of what it says."""
INHERITED = frozenset({"badFilemode", "zeroPaddedFilemode", "largePathname"})
"""Those that a tree has from the tree before it, whatever else is changed in it."""


class Complaint(NamedTuple):
    """What `git fsck` says of one object; of anything else only the text, which no history may have."""

    text: str
    name: str = ""  # as fsck.<name> in Git's configuration
    kind: str = ""
    oid: str = ""


def complaints(git: Git, progress: Progress) -> Iterator[Complaint]:
    """Yield what `git fsck --strict` finds in a repository. Raises GitFailed where it was ended."""
    process = git.start(
        "fsck", "--strict", "--full", "--no-dangling", "--no-reflogs", "--progress", stderr=subprocess.STDOUT
    )
    assert process.stdout
    with ended(process):
        for line in lines(process.stdout):
            if found := _CHECKING.match(line):
                progress("fsck", int(found[1]), int(found[2]))
            elif line and not is_progress(line):
                text = line.decode(errors="backslashreplace")
                one = _COMPLAINT.fullmatch(text)
                yield Complaint(text, one[3], one[1], one[2]) if one else Complaint(text)
        if (status := process.wait()) not in _FOUND:
            raise GitFailed("fsck", status, "it came to no end")


_FOUND = range(64)  # bits for what was found; 128 and above, or a signal: it could not go on


def is_progress(line: bytes) -> bool:
    """Tell whether a line only says how far Git is."""
    return _PROGRESS.match(line) is not None


def lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield lines as soon as they are there; those of progress end with a carriage return."""
    rest = b""
    while data := os.read(stream.fileno(), _READ):
        *whole, rest = _ENDS.split(rest + data)
        yield from (line.strip() for line in whole)
    yield rest.strip()


def listed(git: Git, command: str, *arguments: str) -> Iterator[bytes]:
    """Yield the lines that a command of Git prints, while it runs. Raises GitFailed where it comes to no good end."""
    process = git.start(command, *arguments)
    assert process.stdout
    with ended(process):
        yield from process.stdout
        if status := process.wait():
            raise GitFailed(command, status, "")


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a process with this block, and close its pipes."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                stream.close()
