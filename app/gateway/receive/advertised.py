"""What clients are shown before they push, beside the branch: commits that they need not send.

A client leaves out what the commits reach that it is shown and has. It has the branch as it was when it fetched last,
and of the branch as it is now it knows nothing: shown that alone, it would send all of its history. So it is shown the
branch as it was lately: what it was when somebody asked, and commits at growing distances below it.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from app.gateway.receive.words import advertisement
from storage.git.run_git import Git, isolated_environment

SEEN = 128
"""Commits at which the branch was seen lately, of each store."""
_SAMPLED = 4096  # commits below the branch of which some are shown
_EVERY = 60.0  # seconds after which they are chosen anew
_STORES = 10_000


@dataclass(slots=True)
class _Lately:
    seen: OrderedDict[bytes, None] = field(default_factory=OrderedDict)
    sampled: tuple[bytes, ...] = ()
    until: float = 0.0


class Advertised:
    """The advertisements of one process. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stores: OrderedDict[Path, _Lately] = OrderedDict()

    def of(self, store: Path, main: bytes | None, version: int = 0) -> bytes:
        """Return what a client is shown of a store whose branch is at `main`, in hexadecimal. Raises GitFailed."""
        if main is None:
            return advertisement(None, (), version)
        with self._lock:
            lately = self._stores.setdefault(store, _Lately())
            self._stores.move_to_end(store)
            while len(self._stores) > _STORES:
                self._stores.popitem(last=False)
            lately.seen[main] = None
            lately.seen.move_to_end(main)
            while len(lately.seen) > SEEN:
                lately.seen.popitem(last=False)
            is_due = time.monotonic() > lately.until
            if is_due:
                lately.until = time.monotonic() + _EVERY  # for whoever comes meanwhile, the old ones do
        if is_due:
            lately.sampled = _sample(store, main)
        with self._lock:
            shown = dict.fromkeys((*reversed(lately.seen), *lately.sampled))
        return advertisement(main, shown, version)


def _sample(store: Path, main: bytes) -> tuple[bytes, ...]:
    """Return commits below the branch: the nearest ones, and then those at twice the distance each."""
    arguments = ("rev-list", "--first-parent", f"--max-count={_SAMPLED}", main.decode())
    commits = Git(environment=isolated_environment(store)).output(*arguments).split()
    wanted = {*range(min(32, len(commits))), *(1 << power for power in range(5, 13)), len(commits) - 1}
    return tuple(commits[at] for at in sorted(wanted) if at < len(commits))
