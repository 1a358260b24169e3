"""A gateway whose clone stores are deleted while it works, or whose disk is full."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.harness.nemeses.base import Nemesis, await_
from tests.harness.nemeses.stores import fill
from tests.harness.rig import GATEWAY_DISK_BYTES

# Seconds to wait until somebody has cloned something.
_COMES = 10.0


class LoseClones(Nemesis):
    """The gateway's clone stores are deleted while it works, one of them or all."""

    name = "lose-clones"

    def strike(self) -> str | None:
        """Delete them; None where there is none, as behind another nemesis."""
        if not await_(lambda: bool(self._there()), _COMES):
            return None
        there = self._there()
        is_all = self.rng.random() < 0.5
        for path in there if is_all else [self.rng.choice(there)]:
            # What the gateway writes at this moment may be left, or be there again.
            shutil.rmtree(path, ignore_errors=True)
        return "all" if is_all else "one"

    def _there(self) -> list[Path]:
        folder = self.rig.clone_stores
        return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.exists() else []


class GatewayDiskFull(Nemesis):
    """The disk of the gateway is full: for its clone stores, the answers that it keeps, and what is pushed."""

    name = "gateway-disk-full"
    needs = "gateway-disk"
    least = 3.0

    def strike(self) -> str:
        """Fill it to the last page."""
        self._filler = fill(self.rig.gateway_disk, GATEWAY_DISK_BYTES)
        return ""

    def heal(self) -> None:
        """Make room, as an operator does."""
        self._filler.unlink()


KINDS = [LoseClones, GatewayDiskFull]
