"""A bare repository of ours: packs come in, one branch and tags say what there is. Git does Git's work.

It has no alternates, no hooks, no reflogs, and nothing of the machine's configuration: what stands in it is all that
it can give out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from storage.base.ids import ObjectId, new_ulid, oid_of
from storage.git.run_git import Git, isolated_environment

MAIN = "refs/heads/main"
_TAGS = "refs/tags/"
# As `git fsck --strict`, but for modes that trees have from those of an imported history: nothing else brings them.
_STRICT = "--strict=badFilemode=ignore,zeroPaddedFilemode=ignore"
_CONFIG = """\
[core]
	bare = true
	repositoryformatversion = 0
	attributesFile = /dev/null
	logAllRefUpdates = false
	multiPackIndex = true
	bigFileThreshold = 32m
[gc]
	auto = 0
[maintenance]
	auto = false
[receive]
	denyCurrentBranch = refuse
[pack]
	threads = 1
	windowMemory = 64m
	writeReverseIndex = true
"""


class GitStore:
    """One bare repository. One process writes to it at a time; Git's own readers may be at work meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._packs = path / "objects" / "pack"
        self.git = Git(environment=isolated_environment(path))

    def create(self) -> None:
        """Make it, empty, in a folder that is not there yet."""
        for folder in (self._packs, self.path / "objects" / "info", self.path / "refs" / "heads"):
            folder.mkdir(parents=True)
        (self.path / "refs" / "tags").mkdir()
        (self.path / "HEAD").write_text(f"ref: {MAIN}\n")
        (self.path / "config").write_text(_CONFIG)

    def add_pack(self, parts: Iterable[bytes], *, imported: bool = False) -> None:
        """Take a pack, given in parts; packs may be merged meanwhile.

        Git checks each object, and that what it names is here. In an `imported` history objects are what they are, and
        trees that follow its trees have their modes. Raises GitFailed.
        """
        self.git.feed("index-pack", "--stdin", *([] if imported else [_STRICT]), stdin=parts)

    def add_indexed(self, name: str, pack: bytes, index: bytes) -> None:
        """Take a pack with its index, unchecked, in a repository that nobody uses yet."""
        (self._packs / f"pack-{name}.pack").write_bytes(pack)
        (self._packs / f"pack-{name}.idx").write_bytes(index)

    def clean(self) -> None:
        """Remove what a process that died has left. Nobody else may be writing or merging packs."""
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
        listed = self.git.output("for-each-ref", "--format=%(objectname) %(refname)", _TAGS).decode()
        rows = [line.split(" ", 1) for line in listed.splitlines()]
        return {name.removeprefix(_TAGS): oid_of(oid) for oid, name in rows}

    def set_tags(self, wanted: Mapping[str, ObjectId]) -> None:
        """Have exactly these tags. Raises GitFailed."""
        now = self.tags()
        lines = [f"delete {_TAGS}{name}\0\0" for name in now.keys() - wanted.keys()]
        lines += [f"update {_TAGS}{name}\0{oid.hex()}\0\0" for name, oid in wanted.items() if now.get(name) != oid]
        if lines:
            self.git.output("update-ref", "--stdin", "-z", stdin="".join(lines).encode())

    def repack(self) -> None:
        """Merge packs geometrically, under one index of all; the first time into one, with deltas. Raises GitFailed.

        Packs may come in meanwhile, and what they bring may not be reached from the branch yet: nothing is dropped.
        """
        # Git tries no deltas between objects that one pack has without, unless it is told to forget that (-f).
        is_first = not (self._packs / "multi-pack-index").exists()
        how = ("-a", "-k", "-f") if is_first else ("--geometric=2",)
        self.git.output("repack", "-d", "-q", "--write-midx", *how)

    def missing(self, oids: Iterable[ObjectId]) -> set[ObjectId]:
        """Return those objects that are not here. Raises GitFailed."""
        asked = "".join([f"{oid.hex()}\n" for oid in set(oids)]).encode()
        said = self.git.output("cat-file", "--batch-check=%(objectname)", stdin=asked).decode() if asked else ""
        return {oid_of(line.split(" ")[0]) for line in said.splitlines() if line.endswith(" missing")}

    def pack_of(self, heads: Iterable[ObjectId]) -> Iterable[bytes]:
        """Yield one pack of these commits and tags, and everything that they reach. Raises GitFailed."""
        options = ("--revs", "--stdout", "-q", "--delta-base-offset")
        return self.git.stream(
            "pack-objects", *options, stdin=b"".join([b"%s\n" % oid.hex().encode() for oid in heads])
        )

    def has_commit(self, oid: ObjectId) -> bool:
        """Tell whether there is such a commit."""
        return self.git.run("cat-file", "-e", oid.hex() + "^{commit}", accept=(0, 1, 128)).returncode == 0

    def copy_packs(self, source: GitStore) -> None:
        """Have the packs of another store; the files are shared."""
        for file in source._packs.iterdir():
            if file.suffix in {".pack", ".idx", ".rev"}:
                with suppress(FileExistsError):  # of another one that was begun with
                    (self._packs / file.name).hardlink_to(file)
