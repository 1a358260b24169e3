"""A process that brings a clone store up to date, and says so at each step; it is killed there, or stops by itself.

`python -m tests.support.dying_clone FOLDER SLICE STEP`: the settings come from the environment. It prints each step,
and kills itself at the step of that name (`-`: at none).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from storage.backends.bucket import Bucket
from storage.base.settings import load
from storage.clones import catch_up
from storage.clones.clone import Clone
from storage.clones.clones import Clones
from storage.clones.git_store import GitStore
from storage.clones.id_table import IdTable
from storage.clones.stores import Stores
from storage.repository import Repository

STEPS = ("make", "add_pack", "add", "set_main", "note_reached", "repack", "put_verified")


def _stepped(owner: Any, name: str, die_at: str) -> None:
    call: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def said(*args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        counts = calls > (name in _SECOND)
        _at(f"before {name}", die_at if counts else "")
        result = call(*args, **more)
        _at(f"after {name}", die_at if counts else "")
        return result

    setattr(owner, name, said)


# The first time it would be nothing.
_SECOND = {"set_main", "note_reached"}


def _at(step: str, die_at: str) -> None:
    print(step, flush=True)
    if step == die_at:
        os.kill(os.getpid(), signal.SIGKILL)


def main(folder: str, slice_name: str, die_at: str) -> None:
    """Do it all in this thread."""
    catch_up._PACK_COMMITS = 2
    owners = {"make": Stores, "add": IdTable, "note_reached": IdTable, "put_verified": Bucket}
    for name in STEPS:
        _stepped(owners.get(name, GitStore), name, die_at)
    Clone._keep_beside = lambda self: None  # type: ignore[method-assign]
    repo = Repository(load())
    of = repo.view.slice(slice_name)
    assert of is not None
    clone = Clones(repo, Path(folder)).of_slice(of)
    clone._bring_up()
    clone.keep()
    print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
