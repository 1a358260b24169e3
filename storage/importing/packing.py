"""The packs of an import, made by Git in a temporary repository, and what it says of them there.

Git deltifies and splits: bounded packs, chains of few deltas, each of which names its base by its id. Objects are taken
as they stand in the source where that has them so, so that most of the time goes into copying. The temporary repository
then has the history and nothing else; what Git says of it is what it would say of the source, and it needs as much
disk as the source's own pack.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from storage.base.errors import Refused
from storage.base.progress import Progress
from storage.git.imported.git_output import ended, is_progress, lines
from storage.git.objects import Kind
from storage.git.run_git import GitFailed, ScratchRepository
from storage.importing.source import Source

DEPTH = 8
"""The longest chain of deltas: as many reads, one after the other, as an object of the history costs at most."""
PACK_BYTES = 64 << 20
"""A pack has no more, unless a single object has: so much of an import is in memory at a time, two or three times."""
LARGEST = 512 << 20
"""Objects with more bytes are refused: who reads one has it in memory."""
# By which the same history makes the same packs, in bounded memory.
_SETTINGS = (
    "pack.threads=1", "pack.indexVersion=2", "pack.writeReverseIndex=false", "pack.writeBitmapHashCache=false",
    "pack.windowMemory=128m", "pack.deltaCacheSize=64m", "pack.packSizeLimit=0", "pack.compression=-1",
    "core.bigFileThreshold=32m", "core.compression=-1", "core.packedGitLimit=256m",
)  # fmt: skip
_STAGE = re.compile(rb"^([A-Z][a-z]+) objects:.*\((\d+)/(\d+)\)")
_STAGES = {b"Compressing": "deltas", b"Writing": "pack"}


class PackingFailed(Refused):
    """Git could not pack the history: an object is missing or damaged, or the disk is full."""


@dataclass(slots=True)
class Packed:
    """The objects of the history, by their kinds."""

    counts: dict[Kind, int] = field(default_factory=dict)
    large: list[str] = field(default_factory=list)  # ids of objects with more than LARGEST bytes

    @property
    def objects(self) -> int:
        """How many there are."""
        return sum(self.counts.values())


class History(ScratchRepository):
    """A temporary repository with the packs of a history and its tags."""

    def __init__(self, source: Source) -> None:
        super().__init__("import")
        self._source = source

    def pack(self, progress: Progress) -> None:
        """Make the packs. Raises PackingFailed."""
        settings = [part for setting in _SETTINGS for part in ("-c", setting)]
        process = self._source.git.start(
            *settings, "pack-objects", "--revs", "--progress", f"--depth={DEPTH}", "--window=10",
            f"--max-pack-size={PACK_BYTES}", str(self.packs / "pack"),
            stdin=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin and process.stdout and process.stderr
        with ended(process):
            wanted = dict.fromkeys([self._source.tip, *self._source.tags.values()])
            try:
                process.stdin.write("".join([f"{oid}\n" for oid in wanted]).encode())
                process.stdin.close()
            except BrokenPipeError:
                pass  # it says why below
            last = _show(process.stderr, progress)
            process.stdout.read()
            if process.wait():
                raise PackingFailed(f"git pack-objects: {last or process.returncode}")
        refs = [(f"refs/tags/{name}", oid) for name, oid in self._source.tags.items()]
        refs.append(("refs/heads/main", self._source.tip))
        lines = [f"{oid} {name}\n".encode() for name, oid in sorted(refs, key=lambda ref: ref[0].encode())]
        (self.folder / "packed-refs").write_bytes(b"# pack-refs with: sorted \n" + b"".join(lines))
        (self.folder / "HEAD").write_text("ref: refs/heads/main\n")

    def files(self) -> list[Path]:
        """Return the packs, in a fixed order."""
        return sorted(self.packs.glob("pack-*.pack"))

    def count(self) -> Packed:
        """Return what there is. Raises GitFailed."""
        packed = Packed()
        kinds = {kind.name.lower(): kind for kind in Kind}
        process = self.git.start(
            "cat-file", "--batch-all-objects", "--unordered", "--batch-check=%(objecttype) %(objectsize) %(objectname)"
        )
        assert process.stdout
        with ended(process):
            for line in process.stdout:
                name, size, oid = line.decode().split()
                packed.counts[kinds[name]] = packed.counts.get(kinds[name], 0) + 1
                if int(size) > LARGEST:
                    packed.large.append(oid)
            if process.wait():
                raise GitFailed("cat-file", process.returncode, "")
        return packed


def _show(stream: IO[bytes], progress: Progress) -> str:
    """Show the progress that Git prints; return the last line of anything else."""
    last = ""
    for line in lines(stream):
        if (found := _STAGE.match(line)) and found[1] in _STAGES:
            progress(_STAGES[found[1]], int(found[2]), int(found[3]))
        elif line and not is_progress(line):
            last = line.decode(errors="backslashreplace")
    return last
