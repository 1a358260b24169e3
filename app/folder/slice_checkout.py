"""A slice's files in a folder, written for the first time or updated to another commit, and the file with that commit.

No file of the user is lost: a file that was changed in the folder, or that is in the way, is reported before anything
is written, and stays. Only what differs between the two commits is fetched; all other files stay untouched. Until it is
complete, a checkout is marked as running in the folder's file. So an interrupted one is noticed: nothing can be
submitted from it until the same command has completed it.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from app.client.api_client import Client, Json
from app.folder import folder_base
from app.folder.conflict_files import CheckoutError, inside, write_anew
from app.folder.folder_base import FolderBase
from app.folder.own_files import data_folder_above, is_own
from app.folder.submission import local_file
from storage.git.objects import Kind, ModeText, object_id

_FEW = 100  # so many files are asked for by their paths
_NEW = ".sluice-new"  # in the folder: files that are written, before they take their places
_SHOWN = 10

Entries = Mapping[str, Json]
"""Files as the API lists a tree, by path."""

Progress = Callable[[int, int], None]
"""Called with how many files are written, of how many."""


@dataclass(slots=True)
class Plan:
    """What a checkout does."""

    writes: dict[str, Json] = field(default_factory=dict)
    deletes: list[str] = field(default_factory=list)
    in_the_way: list[str] = field(default_factory=list)  # what would be lost
    not_written: list[str] = field(default_factory=list)  # what is Git's or Sluice's own
    kept: int = 0  # files that stay as they are


def check_out_slice(
    client: Client,
    slice_name: str,
    directory: Path,
    commit: str | None = None,
    force: bool = False,
    progress: Progress = lambda done, total: None,
) -> tuple[str, Plan]:
    """Write the files that a slice has at a commit (by default the tip) into a folder.

    Returns the commit, and what was done. `force` overwrites files that are in the way, never folders. Raises
    CheckoutError and BaseError before anything is written.
    """
    slice_ = client.slice(slice_name)
    # The commit first, and then its files: whatever lands meanwhile is not in the folder, and was not seen.
    target = commit or client.head()["tip"]["commit"]
    after = {entry["path"]: entry for entry in client.tree(slice_["id"], target)}
    remembered = _remembered(directory, slice_, force)
    known = [_before(client, slice_, remembered)] if remembered else []
    if remembered and remembered.checking_out:
        # Of a checkout that was cut short some files are there: they are as good as those of before.
        known.append({entry["path"]: entry for entry in client.tree(slice_["id"], remembered.checking_out)})
    plan = _plan(directory, known, after, force)
    if plan.in_the_way:
        shown = "".join(f"\n  {path}" for path in plan.in_the_way[:_SHOWN])
        more = len(plan.in_the_way) - _SHOWN
        raise CheckoutError(
            f"changed in {directory}, or in the way there, and not in Sluice:{shown}"
            + (f"\n  and {more} more" if more > 0 else "")
            + "\nsubmit or move them; --force overwrites files"
        )
    done = FolderBase(slice_["id"], slice_["paths"], target)
    under_way = replace(remembered or replace(done, commit=None), checking_out=target)
    _carry_out(client, directory, plan, under_way, done, progress)
    return target, plan


def _remembered(directory: Path, slice_: Json, force: bool) -> FolderBase | None:
    """Return what the folder says was checked out there; refuse one that is somebody's and says nothing."""
    data = data_folder_above(directory)
    if data is not None:
        raise CheckoutError(f"{data} is the data folder of a stack")
    if not os.path.lexists(directory):
        return None
    if not directory.is_dir():
        raise CheckoutError(f"{directory} is no folder")
    try:
        remembered = folder_base.read(directory)
    except folder_base.BaseError:
        if not force:
            raise
        remembered = None
    if remembered and remembered.slice != slice_["id"]:
        raise CheckoutError(f"{directory} was checked out from another slice than {slice_['name']}")
    # What one leaves that is stopped while it writes its first file is nobody's.
    others = [entry for entry in directory.iterdir() if entry.name != f"{folder_base.FILE}.new"]
    if remembered is None and not force and others:
        raise CheckoutError(
            f"{directory} is not empty, and was not made by `sluice checkout`: name another folder; with --force it is "
            "taken, and files are overwritten"
        )
    return remembered


def _before(client: Client, slice_: Json, remembered: FolderBase) -> Entries:
    """Return the files that the folder had, as far as they are stored: also those that were committed from it."""
    settled = folder_base.settle(client, remembered)
    if settled.undecided:
        waits = settled.undecided[-1]
        raise CheckoutError(
            f"{waits['id']}, which was submitted from this folder, is {waits['status']}: `sluice status {waits['id']} "
            "--wait` waits for what becomes of it"
        )
    if remembered.commit is None:
        return {}
    stored = {entry["path"]: entry for entry in client.tree(slice_["id"], remembered.commit)}
    return settled.base.over(stored)


def _plan(directory: Path, known: list[Entries], after: Entries, force: bool) -> Plan:
    """Return what has to be done in the folder; `known` are the versions of each commit that may be replaced."""
    plan = Plan()
    for path in sorted({path for entries in known for path in entries} - after.keys()):
        local_path = _local_path(directory, path, plan, None)
        if local_path is None or is_own(path) or not os.path.lexists(local_path):
            continue
        if _is_known(local_path, path, known) or force:
            plan.deletes.append(path)
        elif not local_path.is_dir() or local_path.is_symlink():
            plan.in_the_way.append(path)
    gone = {*plan.deletes}
    for path, entry in after.items():
        if is_own(path):
            plan.not_written.append(path)
        elif known and all(_version(entries.get(path)) == _version(entry) for entries in known):
            plan.kept += 1  # whatever the user made of it is their change to this version
        else:
            _plan_one(directory, path, entry, known, gone, plan, force)
    return plan


def _plan_one(
    directory: Path, path: str, entry: Json, known: list[Entries], gone: set[str], plan: Plan, force: bool
) -> None:
    local_path = _local_path(directory, path, plan, gone)
    if local_path is None:
        return
    if entry["mode"] == ModeText.SUBMODULE:
        if not os.path.lexists(local_path):
            plan.writes[path] = entry
        return
    if local_path.is_dir() and not local_path.is_symlink():
        if not _empties(directory, path, gone):
            plan.in_the_way.append(f"{path}/")
            return
    elif os.path.lexists(local_path):
        if _is_known(local_path, path, [{path: entry}]):
            plan.kept += 1
            return
        if not force and not _is_known(local_path, path, known):
            plan.in_the_way.append(path)
            return
    elif len(known) == 1 and path in known[0] and not force:
        plan.in_the_way.append(f"{path} (deleted)")
        return
    plan.writes[path] = entry


def _local_path(directory: Path, path: str, plan: Plan, gone: set[str] | None) -> Path | None:
    """Return a path within the folder; None where something stands above it that is no folder.

    That is in the way, but for a path that is to be deleted (then `gone` is None), or where `gone` has it as well.
    """
    above = directory
    parts = path.split("/")
    for i, part in enumerate(parts[:-1]):
        above /= part
        if above.is_symlink() or (os.path.lexists(above) and not above.is_dir()):
            name = "/".join(parts[: i + 1])
            if gone is not None and name in gone:
                return directory / path
            if gone is not None and name not in plan.in_the_way:
                plan.in_the_way.append(name)
            return None
    return inside(directory, path)


def _empties(directory: Path, path: str, gone: set[str]) -> bool:
    """Tell whether nothing is left in a folder once `gone` are deleted."""
    walk = os.walk(directory / path)
    return all(os.path.relpath(Path(above) / name, directory) in gone for above, _, names in walk for name in names)


def _is_known(local_path: Path, path: str, known: list[Entries]) -> bool:
    """Tell whether what stands at a path is one of the versions that are stored."""
    there = local_file(local_path)
    return there is not None and any(_version(entries.get(path)) == (there.mode, there.id) for entries in known)


def _version(entry: Json | None) -> tuple[str, str] | None:
    return (entry["mode"], entry["id"]) if entry else None


def _carry_out(
    client: Client, directory: Path, plan: Plan, under_way: FolderBase, done: FolderBase, progress: Progress
) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    folder_base.write(directory, under_way)
    new = directory / _NEW
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    try:
        for path in plan.deletes:
            _delete(directory, path)
        for count, (path, entry, data) in enumerate(_contents(client, done, plan), 1):
            _put(directory, new / "file", path, entry, data)
            progress(count, len(plan.writes))
    finally:
        shutil.rmtree(new, ignore_errors=True)
    folder_base.write(directory, done)


def _contents(client: Client, done: FolderBase, plan: Plan) -> Iterator[tuple[str, Json, bytes]]:
    """Yield the files that are written, with their bytes.

    Most of a slice comes as its archive; few files, and those that an archive lacks that broke off, are asked for.
    """
    left = dict(plan.writes)
    for path in [path for path, entry in left.items() if entry["mode"] == ModeText.SUBMODULE]:
        yield path, left.pop(path), b""
    commit = done.commit
    assert commit is not None
    sources = [lambda: client.files(done.slice, list(left), commit)]
    if len(left) > max(_FEW, plan.kept):
        sources.insert(0, lambda: client.archive(done.slice, commit))
    for source in sources:
        for path, data in source() if left else ():
            entry = left.pop(path, None)
            if entry is None:
                continue
            if object_id(Kind.BLOB, data).hex() != entry["id"]:
                raise CheckoutError(f"{path} came as another content than {entry['id']}")
            yield path, entry, data
    if left:
        raise CheckoutError(f"{next(iter(left))} is not there at {done.commit}")


def _put(directory: Path, new: Path, path: str, entry: Json, data: bytes) -> None:
    """Write one file atomically, by renaming a temporary one; a link at its path is replaced, never followed."""
    local_path = inside(directory, path)
    if local_path.is_dir() and not local_path.is_symlink():
        for above, _, _ in os.walk(local_path, topdown=False):  # nothing is left but folders
            Path(above).rmdir()
    local_path.parent.mkdir(parents=True, exist_ok=True)
    if entry["mode"] == ModeText.SUBMODULE:
        local_path.mkdir(exist_ok=True)
        return
    write_anew(new, entry["mode"], data)
    new.replace(local_path)


def _delete(directory: Path, path: str) -> None:
    """Remove a file, and the folders above it that it leaves empty."""
    local_path = inside(directory, path)
    if local_path.is_dir() and not local_path.is_symlink():
        return  # a submodule's, or somebody's own
    local_path.unlink(missing_ok=True)
    for above in list(local_path.relative_to(directory).parents)[:-1]:
        try:
            (directory / above).rmdir()
        except OSError:
            return
