"""When the requests that wait are stored in a pack: at once where nothing else is coming, else a little later.

A pack costs the store, this process and the workers about the same whether it holds one changeset or fifty. So a pack
waits for the requests that are being read or looked up right now. While another pack is on its way, it also waits for
that one to arrive: but no longer than a quarter of the time that packs take, so that far stores get several at once.
An idle process waits for nothing, and so does a pack that is large already: it has nothing to gain.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from storage.backends.turns import let_others_run

# Seconds for which a pack waits, at most, for requests that are being processed. Where there are always some, this
# process is what limits the rate, and a request waits about as long for its turn anyway.
_LONGEST = 0.05
# Seconds for which it waits, at least, for a pack that is on its way, and the part of such a pack's usual time.
_SHORTEST, _PART = 0.01, 0.25
_PAUSE = 0.001
ENOUGH = 256
"""Changesets of a pack that waits for no others: what the pack itself costs is nothing beside them."""
_NEW_WEIGHT = 0.2  # of the last pack in the usual time
# A pack counts as no longer: one that a store kept for half a minute does not say how long the next one takes.
_LONGEST_PACK = 1.0


class Gathering:
    """What one API process knows about requests that are coming, and packs that are on their way."""

    def __init__(self) -> None:
        self._coming = 0
        self._free = threading.Semaphore()  # nobody has it: no pack is on its way
        self._usual = 0.0  # seconds that a pack takes

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Process a submission up to where it is given to the intake."""
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1

    def wait_for_pack(self, has: int) -> bool:
        """Wait for the pack that is on its way, but not for long; tell whether there is none any more.

        A pack that `has` ENOUGH changesets does not wait.

        Then whoever called this has to call `arrived`, with True, when its own pack has arrived.
        """
        if has >= ENOUGH:
            return self._free.acquire(blocking=False)
        return self._free.acquire(timeout=max(_SHORTEST, _PART * self._usual))

    def arrived(self, alone: bool, seconds: float) -> None:
        """Note how long a pack took; `alone` is what `wait_for_pack` returned."""
        self._usual += _NEW_WEIGHT * (min(seconds, _LONGEST_PACK) - self._usual)
        if alone:
            self._free.release()

    @property
    def is_coming(self) -> bool:
        """Whether a submission is being processed."""
        return self._coming > 0


class Waiting:
    """How long a pack that begins now waits for requests."""

    def __init__(self, gathering: Gathering) -> None:
        self._gathering = gathering
        self._began = time.monotonic()
        self._had = 0  # requests, when others were last let run

    def goes_on(self, has: int) -> bool:
        """Let others run, and return True; or return False where a pack that `has` so many should wait no longer."""
        if (has == self._had and not self._gathering.is_coming) or time.monotonic() - self._began > _LONGEST:
            return False
        if self._had:
            time.sleep(_PAUSE)
        else:
            let_others_run()  # who has sent something is coming after this
        self._had = has
        return True
