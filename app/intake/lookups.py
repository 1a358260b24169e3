"""One call to Redis for the look-ups of all requests that wait for one.

This is how group commit is done too (app/intake/intake.py): while a call is under way, the look-ups of the requests
that arrive form the next call. A lone request is looked up at once, and many share what a call costs.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future

from storage.backends import deadline
from storage.queue import Admission, Queue

# What one call asks for, about: Redis does nothing else meanwhile.
_MOST = 5000


class _Call:
    """A call that has not begun: what it asks for, each once and in order."""

    def __init__(self) -> None:
        self.slices: dict[str, None] = {}
        self.bases: dict[str, None] = {}
        self.keys: dict[str, None] = {}
        self.principals: dict[str, None] = {}
        self.answer: Future[Admission] = Future()


class Lookups:
    """The look-ups of one API process."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._next: _Call | None = None
        self._lock = threading.Lock()
        self._turn = threading.Lock()  # held while a call is under way
        self.any_advisory_claims = False
        """Whether there were advisory claims at the last call: where there are none, a submission asks for none."""

    def admission(
        self, slices: Sequence[str], bases: Sequence[str], keys: Sequence[str], principals: Sequence[str] = ()
    ) -> Admission:
        """Return what Queue.admit says of at least these, as of now. Raises Unavailable.

        Each looks for its own bases in the archive: nobody else waits for the bucket, or fails with an index there.
        """
        return self._queue.with_archived(self._by_view(slices, bases, keys, principals), bases)

    def _by_view(self, *asked: Sequence[str]) -> Admission:
        while True:
            call, first = self._join(*asked)
            if first:
                self._make(call)
            try:
                return call.answer.result(deadline.left(threading.TIMEOUT_MAX))
            except TimeoutError:
                raise deadline.Spent("request_budget") from None
            except CancelledError:
                pass  # whoever made it had no time left, or was ended; those who waited for it make another

    def _join(
        self, slices: Sequence[str], bases: Sequence[str], keys: Sequence[str], principals: Sequence[str]
    ) -> tuple[_Call, bool]:
        """Return the call that asks for these, and whether the caller is to make it."""
        with self._lock:
            call, first = self._next, self._next is None
            if call is None or len(call.slices) + len(call.bases) + len(call.keys) >= _MOST:
                call, first = _Call(), True
                self._next = call
            call.slices.update(dict.fromkeys(slices))
            call.bases.update(dict.fromkeys(bases))
            call.keys.update(dict.fromkeys(keys))
            call.principals.update(dict.fromkeys(principals))
        return call, first

    def _make(self, call: _Call) -> None:
        """Make a call once the one before has ended; what it raises is raised for everybody who waits for it.

        Unless the maker's own time is up, or it is ended: that concerns nobody else.
        """
        try:
            if not self._turn.acquire(timeout=deadline.left(threading.TIMEOUT_MAX)):
                raise deadline.Spent("request_budget")
            try:
                self._begin(call)
                answer = self._queue.admit_by_view(
                    list(call.slices), list(call.bases), list(call.keys), list(call.principals)
                )
                self.any_advisory_claims = answer.advisory_claims > 0
            finally:
                self._turn.release()
        except BaseException as error:
            self._begin(call)
            if _is_spent() or not isinstance(error, Exception):
                call.answer.cancel()
                raise
            call.answer.set_exception(error)
        else:
            call.answer.set_result(answer)

    def _begin(self, call: _Call) -> None:
        """Let nobody else join a call."""
        with self._lock:
            if self._next is call:
                self._next = None


def _is_spent() -> bool:
    """Tell whether nothing is left of the present budget."""
    try:
        deadline.left()
    except deadline.Spent:
        return True
    return False
