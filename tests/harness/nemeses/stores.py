"""An S3 server that is away, or whose disk is full."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from app.stack.servers import find_s3
from tests.harness.nemeses.base import Nemesis
from tests.harness.rig import DISK_BYTES

_CHUNK = 1 << 20


class Stopped(Nemesis):
    """The S3 server is away for some seconds."""

    name = "s3-stopped"
    least = 3.0

    def strike(self) -> str:
        """Stop it. By SIGKILL: asked, SeaweedFS takes its time to leave, up to twenty seconds."""
        self.rig.processes["s3"].stop(signal.SIGKILL)
        return ""

    def heal(self) -> None:
        """Start it again."""
        self.rig.resume("s3")


class DiskFull(Nemesis):
    """The S3 server's disk is full."""

    name = "disk-full"
    needs = "disk"
    least = 3.0

    def strike(self) -> str:
        """Fill it to the last page."""
        self._filler = fill(self.rig.disk(), DISK_BYTES)
        return ""

    def heal(self) -> None:
        """Make room, as an operator does.

        SeaweedFS takes writes again only once it was started anew. It may have had room for a part of an entry of a
        volume's index, and would not serve that volume any more: its own `fix` makes the indexes from the data again.
        """
        self._filler.unlink()
        if self.rig.s3_kind == "seaweedfs":
            self.rig.processes["s3"].stop(signal.SIGKILL)
            _, weed = find_s3("seaweedfs")
            subprocess.run([weed, "fix", str(self._filler.parent / "data")], check=True, capture_output=True)
            self.rig.resume("s3")


def fill(disk: Path, size: int) -> Path:
    """Fill a disk of a size to the last page by one file, and return that."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        chunk = b"\0" * _CHUNK
        try:
            # A write takes what there is room for, and fails once there is none.
            for _ in range(2 * size // _CHUNK):
                file.write(chunk)
        except OSError:
            return filler
    raise AssertionError(f"{disk} could not be filled")


KINDS = [Stopped, DiskFull]
