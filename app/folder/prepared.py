"""The changeset that `sluice submit` and `sluice check` send, made from a folder or from Git, and notes about it."""

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from app.client.api_client import Client, Json
from app.folder.folder_base import FILE, BaseError, Files, root_of
from app.folder.git_range import RangeError, read_range
from app.folder.ignored import ignore_rules
from app.folder.own_files import data_folder_above
from app.folder.seen import Seen, find_seen
from app.folder.submission import Folder, SubmissionError, changes_to, missing_files, read_folder
from storage.git.run_git import Git
from storage.git.trees import covers

_SHOWN = 3  # names in a message
_HOW_TO_SUBMIT = (
    "--git RANGE submits commits (A..HEAD: those since A), and --base COMMIT all that differs from a commit of Sluice"
)


@dataclass(slots=True)
class Prepared:
    """A changeset, before the options of the command line are added."""

    slice: Json
    changeset: Json
    files: Files  # the mode and id of what stands at each changed path then
    is_new: bool  # whether all of it is files where none was seen
    folder: Path | None = None  # that remembers what its user saw
    seen: Seen | None = None
    notes: list[str] = field(default_factory=list)


def from_range(
    client: Client, slice_name: str, repository: Path, commits: str, moves: bool = False, git: Git | None = None
) -> Prepared:
    """Return a range of commits, read by `git`, by default as its user does. Raises RangeError."""
    range_ = read_range(repository, commits, moves, git)
    slice_ = client.slice(slice_name)
    paths = {path.encode() for path in slice_["paths"]}
    outside = [path for path in range_.files if not covers(paths, os.fsencode(path))]
    if outside:
        raise RangeError(f"the slice {slice_['name']} does not cover {_names(outside)}, which {commits} changes")
    changes = range_.changeset["changes"]
    is_new = all(change["op"] == "put" and change["base"] is None for change in changes)
    prepared = Prepared(slice_, range_.changeset, range_.files, is_new)
    if range_.left_out:
        prepared.notes.append(f"never submitted, left out: {_names(range_.left_out)}")
    return prepared


def from_folder(
    client: Client, slice_name: str, folder: Path | None, delete: bool, base: str | None, ignore: bool
) -> Prepared:
    """Return the changes from what the user of a folder saw to what stands in it.

    Without a folder it is the present one, or the one above it that was checked out. What was seen is found before any
    file is read. Raises SubmissionError, BaseError and IgnoreError.
    """
    directory = _directory(folder, base)
    slice_ = client.slice(slice_name)
    seen = find_seen(client, slice_, directory, base)
    with ExitStack() as stack:
        rules = stack.enter_context(ignore_rules(directory)) if ignore else None
        contents = read_folder(directory, seen.paths, seen.files, rules)
    if not contents.files:
        _check_empty(directory, slice_, seen, contents, delete)
    changes = changes_to(contents.files, seen.files, delete, contents.data_folders)
    files: Files = {}
    for change in changes:
        file = contents.files.get(change["path"])
        files[change["path"]] = {"mode": file.mode, "id": file.id} if file else None
        if seen.by_versions:
            stored = seen.files.get(change["path"])
            change["base"] = stored["id"] if stored else None
    if not changes and seen.by_versions and not client.has_any_file(slice_["id"]):
        raise SubmissionError(
            f"nothing in {directory} differs from HEAD of its Git repository, and {slice_['name']} has no file yet: "
            "--git HEAD submits its last commit, and --base COMMIT compares with a commit of Sluice, such as "
            f"{client.head()['tip']['commit']}"
        )
    missing = _never_submitted(client, slice_, seen, files, delete)
    if missing and not changes:
        raise SubmissionError(
            f"nothing in {directory} differs from HEAD of its Git repository, but HEAD is no commit of Sluice, and in "
            f"{slice_['name']} these are not as in HEAD: {_names(missing)}. {_HOW_TO_SUBMIT}"
        )
    is_new = all(path not in seen.files for path in files)
    changeset = {"changes": changes} | ({} if seen.by_versions else {"base": seen.base.base})
    notes = _notes(slice_, seen, contents, delete)
    if missing:
        notes.append(f"not submitted, as in HEAD, which is no commit of Sluice: {_names(missing)}. {_HOW_TO_SUBMIT}")
    return Prepared(slice_, changeset, files, is_new, directory, seen, notes)


def _never_submitted(client: Client, slice_: Json, seen: Seen, files: Files, delete: bool) -> list[str]:
    """Return files that differ between HEAD and Sluice and are not submitted, if only HEAD says what was seen.

    They may be committed work that counts as seen, or what others landed since: only the user knows.
    """
    if not seen.is_head:
        return []
    there = {entry["path"]: (entry["mode"], entry["id"]) for entry in client.tree(slice_["id"])}
    differing = {path for path, entry in seen.files.items() if there.get(path) != (entry["mode"], entry["id"])}
    if delete:
        differing |= {path for path in there.keys() - seen.files.keys() if covers(seen.paths, os.fsencode(path))}
    return sorted(differing - files.keys())


def _directory(folder: Path | None, base: str | None) -> Path:
    root = root_of(folder or Path())
    if folder is None:
        directory = root or Path()
    elif root is not None and base is None and root != folder.resolve():
        raise BaseError(f"{folder} is within {root}, which was checked out as a whole: submit that folder")
    else:
        directory = folder
    data = data_folder_above(directory)
    if data is not None:
        raise SubmissionError(f"{data} is the data folder of a stack, with its secrets: nothing of it is submitted")
    return directory


def _check_empty(directory: Path, slice_: Json, seen: Seen, contents: Folder, delete: bool) -> None:
    """Refuse a folder without anything to submit, unless it remembers that there was something."""
    if (directory / FILE).exists() and not contents.outside and (delete or not seen.files):
        return
    problem = f"{directory} has no file that the slice {slice_['name']} covers ({_names(slice_['paths'])})"
    if contents.outside:
        outside = _names(contents.outside)
        problem += f"; outside of it: {outside}. Paths begin at the folder: is it one within the right one?"
    elif contents.ignored:
        problem += f"; Git ignores {contents.ignored} (--no-ignore takes them)"
    elif (directory / FILE).exists():
        problem += f"; --delete deletes the {len(seen.files)} that were checked out"
    raise SubmissionError(problem)


def _notes(slice_: Json, seen: Seen, contents: Folder, delete: bool) -> list[str]:
    notes = [f"{lost['id']} was {lost['status']}: what it changed is submitted with the rest" for lost in seen.failed]
    notes += [f"on top of {changeset['id']}, which is {changeset['status']}" for changeset in seen.undecided[-1:]]
    if contents.outside:
        notes.append(f"files outside the slice, left out: {len(contents.outside)}")
    if contents.ignored:
        notes.append(f"files that Git ignores, left out: {contents.ignored} (--no-ignore takes them)")
    shown = [os.fsencode(data_folder).decode(errors="replace") for data_folder in contents.data_folders]
    notes += [f"the data folder of a stack, with its secrets, left out: {name}" for name in shown]
    missing = 0 if delete else missing_files(contents.files, seen.files, contents.data_folders)
    if missing:
        notes.append(f"files of {slice_['name']} that are not in the folder: {missing} (--delete deletes them)")
    return notes


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
