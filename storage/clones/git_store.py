"""A bare repository of ours: packs come in, one branch and tags say what there is. Git does Git's work.

It has no alternates, no hooks, no reflogs, and nothing of the machine's configuration: what stands in it is all that
it can give out.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from storage.base.ids import ObjectId, new_ulid, oid_of
from storage.git.run_git import Git, isolated_environment

MAIN = "refs/heads/main"
_TAGS = "refs/tags/"
_CONFIG = """\
[core]
	bare = true
	repositoryformatversion = 0
	attributesFile = /dev/null
	logAllRefUpdates = false
	multiPackIndex = true
[gc]
	auto = 0
[maintenance]
	auto = false
[receive]
	denyCurrentBranch = refuse
[pack]
	threads = 1
	writeReverseIndex = true
"""


class GitStore:
    """One bare repository. One process writes to it at a time; Git's own readers may be at work meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._packs = path / "objects" / "pack"
        self._git = Git(environment=isolated_environment(path))

    def create(self) -> None:
        """Make it, empty, in a folder that is not there yet."""
        for folder in (self._packs, self.path / "objects" / "info", self.path / "refs" / "heads"):
            folder.mkdir(parents=True)
        (self.path / "refs" / "tags").mkdir()
        (self.path / "HEAD").write_text(f"ref: {MAIN}\n")
        (self.path / "config").write_text(_CONFIG)

    def add_pack(self, parts: Iterable[bytes]) -> None:
        """Take a pack, given in parts. Git checks each object, and that what it names is here. Raises GitFailed."""
        self._git.feed("index-pack", "--stdin", "--strict", stdin=parts)

    def clean(self) -> None:
        """Remove what a process that died has left. Nobody else may be writing."""
        packs = self._packs
        for left in [*packs.glob("tmp_*"), *packs.glob(".tmp-*"), *(self.path / "refs").glob("*.lock")]:
            left.unlink(missing_ok=True)

    def main(self) -> ObjectId | None:
        """Return the branch's commit, None where there is none yet or the file is damaged."""
        with suppress(FileNotFoundError, ValueError):
            return oid_of((self.path / MAIN).read_text().strip())
        return None

    def set_main(self, commit: ObjectId | None) -> None:
        """Have the branch name a commit, atomically."""
        if commit != self.main() and commit is not None:
            # Git's own format of a ref; starting Git for it would take most of the time of a small catch-up.
            beside = self.path / "refs" / f"{new_ulid()}.lock"
            beside.write_text(commit.hex() + "\n")
            beside.rename(self.path / MAIN)

    def tags(self) -> dict[str, ObjectId]:
        """Return all tags by name."""
        listed = self._git.output("for-each-ref", "--format=%(objectname) %(refname)", _TAGS).decode()
        rows = [line.split(" ", 1) for line in listed.splitlines()]
        return {name.removeprefix(_TAGS): oid_of(oid) for oid, name in rows}

    def set_tags(self, wanted: Mapping[str, ObjectId]) -> None:
        """Have exactly these tags. Raises GitFailed."""
        now = self.tags()
        lines = [f"delete {_TAGS}{name}\0\0" for name in now.keys() - wanted.keys()]
        lines += [f"update {_TAGS}{name}\0{oid.hex()}\0\0" for name, oid in wanted.items() if now.get(name) != oid]
        if lines:
            self._git.output("update-ref", "--stdin", "-z", stdin="".join(lines).encode())

    def repack(self, everything: bool = False) -> None:
        """Merge packs geometrically, under one index of all; `everything`: into one, with deltas. Raises GitFailed."""
        how = ("-a",) if everything else ("--geometric=2", "--write-midx")
        self._git.output("repack", "-d", "-q", *how)

    def pack_of(self, commit: ObjectId) -> Iterable[bytes]:
        """Yield one pack of a commit and everything that it reaches. Raises GitFailed."""
        options = ("--revs", "--stdout", "-q", "--delta-base-offset")
        return self._git.stream("pack-objects", *options, stdin=commit.hex().encode() + b"\n")

    def has_commit(self, oid: ObjectId) -> bool:
        """Tell whether there is such a commit."""
        return self._git.run("cat-file", "-e", oid.hex() + "^{commit}", accept=(0, 1, 128)).returncode == 0

    def copy_packs(self, source: GitStore) -> None:
        """Have the packs of another store; the files are shared."""
        for file in source._packs.iterdir():
            if file.suffix in {".pack", ".idx", ".rev"}:
                (self._packs / file.name).hardlink_to(file)

    def bytes(self) -> int:
        """Return how many bytes it takes on the disk, about; packs that are shared are counted."""
        total = 0
        with suppress(FileNotFoundError):
            for file in self._packs.iterdir():
                with suppress(FileNotFoundError):
                    total += file.stat().st_size
        return total


def has_room(folder: Path, size: int) -> bool:
    """Tell whether the disk has so many bytes left."""
    return shutil.disk_usage(folder).free >= size
