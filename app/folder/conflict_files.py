"""Conflicts as files: written into a directory for an editor, and read from there once they are resolved.

A path whose texts were compared is written with conflict markers. For any other path its sides are written beside it
(PATH.base, PATH.ours, PATH.theirs), and the user leaves PATH, or removes them all. A state file lists what was written.
"""

import base64
import json
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from app.client.api_client import Client, Json, content
from storage.base.errors import BadInput
from storage.git.objects import Kind, ModeText, object_id

STATE = ".sluice-resolve.json"
_VERSION = 1  # of the state file
_SIDES = {"base": "base", "head": "ours", "submitted": "theirs"}
# Separators alone may be the underline of a heading.
_MARKERS = re.compile(rb"^(<{7,}|\|{7,}|>{7,})( |\r?$)", re.MULTILINE)


class CheckoutError(BadInput):
    """The files in the directory, or the kind of conflict, do not allow it."""


@dataclass(slots=True)
class Put:
    """The files that were written for one path in conflict."""

    path: str
    kind: str  # the class of the conflict
    marked: bool = False
    files: dict[str, str] = field(default_factory=dict)  # the id of each file's content, by name
    missing: list[str] = field(default_factory=list)  # the sides whose content could not be had
    stood: str | None = None  # the id of what lay at the path itself and was left there: it resolves nothing by itself


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    data: bytes
    mode: str


def check_out(client: Client, changeset: str, directory: Path, force: bool = False) -> list[Put]:
    """Put a changeset's conflicts into a directory, and return what was put for each.

    Whatever lies there is overwritten only if it is a version of the conflict, or by `force`. Raises CheckoutError,
    before anything is written.
    """
    conflicted = client.changeset(changeset)
    if conflicted["status"] != "conflicted":
        raise CheckoutError(f"{changeset} is {conflicted['status']}, not conflicted")
    count = conflicted["conflict_count"]
    if count > len(conflicted["conflicts"]):
        raise CheckoutError(f"{changeset} has {count} conflicts, too many to be resolved by path")
    other = _state(directory)
    if not force and other is not None and other["changeset"] != conflicted["id"]:
        raise CheckoutError(f"{directory / STATE} is of {other['changeset']}, which is not resolved: --force drops it")
    puts: list[Put] = []
    files: list[_File] = []
    taken = {conflict["path"] for conflict in conflicted["conflicts"]}
    for conflict in client.conflicts_of(changeset):
        put = Put(conflict["path"], conflict["class"])
        made = list(_files_of(client, conflicted["id"], conflict, put, taken))
        known = {conflict[side]["id"] for side in _SIDES if conflict[side]} | {_id(file.data) for file in made}
        for file in made:
            local_path = inside(directory, file.name)
            if not force and os.path.lexists(local_path) and _id_at(local_path) not in known:
                raise CheckoutError(f"{directory / file.name} is in the way: --force overwrites it")
            put.files[file.name] = _id(file.data)
        files += made
        puts.append(put)
    directory.mkdir(parents=True, exist_ok=True)
    for put in puts:
        put.stood = None if put.marked else _stands(inside(directory, put.path))
    for file in files:
        local_path = inside(directory, file.name)
        local_path.parent.mkdir(parents=True, exist_ok=True)
        write_anew(local_path, file.mode, file.data)
    paths = {put.path: {"class": put.kind, "files": put.files, "stood": put.stood} for put in puts}
    state = {"version": _VERSION, "changeset": conflicted["id"], "paths": paths}
    text = json.dumps(state, indent=1, ensure_ascii=False) + "\n"
    # As in folder_base.py: the escape that JSON has for half of a surrogate pair.
    (directory / STATE).write_text(text, "utf-8", errors="backslashreplace")
    return puts


def _files_of(client: Client, changeset: str, conflict: Json, put: Put, taken: set[str]) -> Iterator[_File]:
    path = conflict["path"]
    marked = base64.b64decode(conflict["marked_base64"]) if "marked_base64" in conflict else conflict.get("marked")
    if marked is not None:
        put.marked = True
        modes = [conflict[side]["mode"] for side in ("submitted", "head") if conflict[side]] or [""]
        yield _File(path, marked.encode() if isinstance(marked, str) else marked, modes[0])
        return
    for side, word in _SIDES.items():
        if conflict[side] is None:
            continue
        data = client.side_of(changeset, side, path)
        if data is None:
            put.missing.append(word)
            continue
        name = f"{path}.{word}"
        while name in taken:
            name += "~"
        taken.add(name)
        yield _File(name, data, conflict[side]["mode"])


def write_anew(path: Path, mode: str, data: bytes) -> None:
    """Write a file or link that takes the place of another: what a link points to stays as it is."""
    path.unlink(missing_ok=True)
    if mode == ModeText.SYMLINK:
        path.symlink_to(os.fsdecode(data))
        return
    path.write_bytes(data)
    if mode == ModeText.EXECUTABLE:
        path.chmod(path.stat().st_mode | 0o111)


def read_back(
    directory: Path, changeset: str, allow_markers: bool = False, without: Collection[str] = ()
) -> dict[str, Json]:
    """Return the resolution of each path that was put, but for those of `without`, as the directory has it."""
    state = _state(directory)
    if state is None:
        raise CheckoutError(f"{directory} has no {STATE}: `sluice resolve {changeset} --checkout {directory}` makes it")
    if state["changeset"] != changeset:
        raise CheckoutError(f"{directory} has the conflicts of {state['changeset']}")
    resolutions: dict[str, Json] = {}
    marked, open_ones = [], []
    for path, put in state["paths"].items():
        if path in without:
            continue
        local_path = inside(directory, path)
        left = any(name != path and os.path.lexists(inside(directory, name)) for name in put["files"])
        if left and put["stood"] is not None and _stands(local_path) == put["stood"]:
            open_ones.append(path)
        elif local_path.is_symlink():
            resolutions[path] = {"mode": ModeText.SYMLINK, **content(os.fsencode(local_path.readlink()))}
        elif local_path.is_file():
            data = local_path.read_bytes()
            if not allow_markers and _MARKERS.search(data):
                marked.append(path)
            mode = ModeText.EXECUTABLE if local_path.stat().st_mode & 0o100 else ModeText.FILE
            resolutions[path] = {"mode": mode, **content(data)}
        elif left or not put["files"]:
            open_ones.append(path)
        else:
            resolutions[path] = {"delete": True}
    if marked:
        raise CheckoutError(
            f"still with conflict markers: {', '.join(marked)} (--allow-markers takes them as they are)"
        )
    if open_ones:
        raise CheckoutError(
            f"not resolved: {', '.join(open_ones)}. Leave one file there and remove its .base, .ours and .theirs, or "
            "remove all to delete it; or say --ours, --theirs or --delete"
        )
    return resolutions


def clean_up(directory: Path) -> None:
    """Remove the state file, and the sides that nobody changed."""
    state = _state(directory)
    for path, put in state["paths"].items() if state else ():
        for name, oid in put["files"].items():
            local_path = inside(directory, name)
            if name != path and _id_at(local_path) == oid:
                local_path.unlink()
    (directory / STATE).unlink(missing_ok=True)


def _state(directory: Path) -> Json | None:
    try:
        state: Json = json.loads((directory / STATE).read_bytes())
        if state["version"] != _VERSION:
            raise CheckoutError(f"{directory / STATE} is of another version of sluice")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise CheckoutError(f"{directory / STATE} is damaged: {error}") from error
    return state


def inside(directory: Path, name: str) -> Path:
    """Return the location of a path inside the directory; a path from the server must not lead out of it."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or ".git" in (part.lower() for part in parts):
        raise CheckoutError(f"{name!r} is no path for a directory")
    above = directory
    for part in parts[:-1]:
        above /= part
        if above.is_symlink() or (above.exists() and not above.is_dir()):
            raise CheckoutError(f"{above} is in the way of {name}: it is no directory")
    return above / parts[-1]


def _stands(path: Path) -> str | None:
    """Return what tells whether a file was changed; None where there is none."""
    oid = _id_at(path)
    return oid and f"{'link ' if path.is_symlink() else ''}{oid}"


def _id_at(path: Path) -> str | None:
    """Return the id that Git gives what stands at a path, a file or a link; None where there is neither."""
    if path.is_symlink():
        return _id(os.fsencode(path.readlink()))
    return _id(path.read_bytes()) if path.is_file() else None


def _id(data: bytes) -> str:
    return object_id(Kind.BLOB, data).hex()
