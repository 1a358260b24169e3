"""What one principal may take of a gateway at once, so that others find something left.

A client that reads slowly keeps the thread that answers it, and perhaps a process of Git, as long as it likes. Each
principal may have a part of them (the setting gateway_share), whatever others have. As with all limits of principals,
root has none, and without tokens nobody has: then only this machine is served.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from app.access.caller import Caller
from app.shares.limits import is_limited
from storage.base.errors import LimitReached


class ShareTaken(LimitReached):
    """A principal has all of a gateway that it may have at once."""


class Shares:
    """Who has how many of something of one process. Safe for threads."""

    def __init__(self, what: str, most: int, part: float) -> None:
        """`what` names it in refusals; there are `most`, of which a principal may have `part`, and one at least."""
        self._what = what
        self._most = max(1, int(most * part))
        self._taken: Counter[str] = Counter()  # by principal
        self._changed = threading.Condition()

    def take(self, who: Caller | None, patience: float = 0.0) -> Callable[[], None]:
        """Take one for a caller, None where it is for nobody; return what gives it back, once.

        Raises ShareTaken where none of the caller's is given back within `patience` seconds.
        """
        if who is None or not is_limited(who):
            return _nothing
        with self._changed:
            if not self._changed.wait_for(lambda: self._taken[who.principal] < self._most, patience):
                raise ShareTaken(f"{who.principal} has {self._most} {self._what}, all that it may have (gateway_share)")
            self._taken[who.principal] += 1
        return lambda: self._give_back(who.principal)

    def await_one(self, who: Caller, until: float) -> bool:
        """Wait until a caller may take one, up to a time of the monotonic clock; tell whether it may."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._taken[who.principal] < self._most, max(0.0, until - time.monotonic())
            )

    def _give_back(self, principal: str) -> None:
        with self._changed:
            self._taken[principal] -= 1
            if not self._taken[principal]:
                del self._taken[principal]
            self._changed.notify_all()


def _nothing() -> None:
    pass
