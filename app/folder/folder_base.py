"""What the user of a folder saw: stored in the folder by `sluice checkout`, and updated by each submission from there.

`.sluice-base.json` has a commit, and the versions of files that were submitted from the folder since. The tree of a
landed changeset also has what others landed meanwhile, which is not in the folder. So a submission's commit is never
what its user saw; the changeset's id is, since it means what was seen plus what was submitted. Until a changeset is
decided the file keeps the previous base too, in case it is never committed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from app.client.api_client import Client, Json
from storage.base.errors import BadInput
from storage.git.trees import covers

FILE = ".sluice-base.json"
_VERSION = 1
_COMMITTED = {"committed", "landed"}
_UNDECIDED = {"queued", "held"}

Files = dict[str, Json | None]
"""Modes and ids by path; None where there is no file."""


class BaseError(BadInput):
    """What a folder's user saw is not known."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A changeset that was submitted from the folder and was not decided when the file was written."""

    changeset: str
    files: Files


@dataclass(frozen=True, slots=True)
class FolderBase:
    """The contents of the file."""

    slice: str  # the id of the slice that was checked out
    paths: list[str]  # the slice's paths then: nothing was seen outside of them
    commit: str | None  # a commit of Sluice; None where `head` is what was seen, or nothing yet
    head: str | None = None  # HEAD of the folder's own Git repository, if it is what says what was seen
    changeset: str | None = None  # the last committed one from here; it stands for the commit, `files` and it
    files: Files = field(default_factory=dict)  # how the folder differed from the commit then
    submitted: list[Submitted] = field(default_factory=list)  # oldest first, each on the one before
    checking_out: str | None = None  # a commit whose files are being written; some may be there

    @property
    def base(self) -> str | None:
        """The base of the next changeset; None: its changes carry the versions that were seen."""
        if self.commit is None:
            return None
        return self.submitted[-1].changeset if self.submitted else self.changeset or self.commit

    def over(self, stored: Mapping[str, Json]) -> dict[str, Json]:
        """Return what was seen: the commit's files, as the API lists them, and what was submitted since."""
        paths = {path.encode() for path in self.paths}
        seen: Files = {path: entry for path, entry in stored.items() if covers(paths, os.fsencode(path))}
        for files in (self.files, *(submitted.files for submitted in self.submitted)):
            seen |= files
        return {path: entry for path, entry in seen.items() if entry is not None}

    def after(self, changeset: str, files: Files) -> FolderBase:
        """Return what was seen once a changeset was submitted that sets `files`."""
        return replace(self, submitted=[*self.submitted, Submitted(changeset, files)])


def read(directory: Path) -> FolderBase | None:
    """Return what the folder's file says; None where there is none. Raises BaseError."""
    path = directory / FILE
    try:
        stored = json.loads(path.read_bytes())
        if stored.pop("version") != _VERSION:
            raise BaseError(f"{path} is of another version of sluice")
        stored["submitted"] = [Submitted(**fields) for fields in stored["submitted"]]
        return FolderBase(**stored)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BaseError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BaseError(
            f"{path} is damaged ({error}): `sluice checkout` into another folder makes a new one"
        ) from error


def write(directory: Path, base: FolderBase) -> None:
    """Write the folder's file atomically."""
    new = directory / f"{FILE}.new"
    new.unlink(missing_ok=True)  # a link in its place would be written through
    text = json.dumps({"version": _VERSION, **asdict(base)}, indent=1, ensure_ascii=False)
    # A byte of a path that is not UTF-8 is half of a surrogate pair, and becomes the escape that JSON has for it.
    with new.open("x", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(directory / FILE)


def root_of(directory: Path) -> Path | None:
    """Return the nearest folder with such a file: this one, or one above it."""
    there = directory.resolve()
    return next((above for above in (there, *there.parents) if (above / FILE).is_file()), None)


@dataclass(frozen=True, slots=True)
class Settled:
    """What a folder's user saw, after asking for the outcomes of what was submitted from the folder."""

    base: FolderBase
    failed: list[Json] = field(default_factory=list)  # changesets that did not make it: what they changed is not seen
    undecided: list[Json] = field(default_factory=list)


def settle(client: Client, base: FolderBase) -> Settled:
    """Ask for the outcomes of the changesets that were submitted from the folder, and return what was seen with these.

    If one was not committed, the base is again the one before it; the same holds for those that were based on it.
    """
    waiting: list[Submitted] = []
    undecided: list[Json] = []
    for submitted in base.submitted:
        changeset = client.changeset(submitted.changeset)
        if changeset["status"] in _COMMITTED and not waiting:
            base = replace(base, changeset=submitted.changeset, files=base.files | submitted.files)
        elif changeset["status"] in _COMMITTED | _UNDECIDED:
            waiting.append(submitted)
            undecided += [changeset] if changeset["status"] in _UNDECIDED else []
        else:
            return Settled(replace(base, submitted=waiting), [changeset], undecided)
    return Settled(replace(base, submitted=waiting), [], undecided)
