"""Nemeses: each breaks one thing when it strikes, and puts it right when it heals. Seeded, and named for its fault.

`NEMESES` has all of them by name; `make` builds those that this machine can run, and says why not of the others.
"""

from __future__ import annotations

import random

from tests.harness.nemeses import clocks, gateway, links, losses, processes, redis, steps, stores
from tests.harness.nemeses.base import Nemesis
from tests.harness.rig import Rig

__all__ = ["NEMESES", "Nemesis", "make"]

NEMESES: dict[str, type[Nemesis]] = {
    kind.name: kind
    for module in (processes, steps, losses, redis, links, stores, gateway, clocks)
    for kind in module.KINDS
}


def make(rig: Rig, names: list[str], seed: str) -> tuple[dict[str, Nemesis], dict[str, str]]:
    """Return the nemeses of these names that can run here, and why the others cannot."""
    missing = {name: rig.missing[NEMESES[name].needs] for name in names if NEMESES[name].needs in rig.missing}
    made = {name: NEMESES[name](rig, random.Random(f"{seed}/{name}")) for name in names if name not in missing}
    return made, missing
