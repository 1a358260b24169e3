"""How patiently the bucket is called: how long one try waits for an answer, and which tries are repeated."""

from __future__ import annotations

from typing import Any

import urllib3
from urllib3.util import Retry, Timeout

from storage.backends import deadline

# Retries of one call after a broken connection or one of these answers, behind pauses in seconds: about 0.1, 0.2 and
# 0.4, each longer by up to 0.1. A Retry-After is not obeyed: its seconds may be more than anybody waits.
_PASSING = (429, 500, 502, 503, 504)
READ_RETRIES = Retry(
    total=3,
    status_forcelist=_PASSING,
    backoff_factor=0.1,
    backoff_jitter=0.1,
    backoff_max=1.0,
    respect_retry_after_header=False,
    allowed_methods=None,  # POST as well, which deletes: nothing here does harm when it is repeated
)
# A PUT may be repeated because 412 has a meaning. 409 is AWS's answer while another conditional write is under way.
PUT_RETRIES = READ_RETRIES.new(redirect=0, status_forcelist=(409, *_PASSING), raise_on_status=False)
# A call waits for so much of s3_timeout at first, and twice as long after each time-out: what a store that is coming up
# has taken and does not answer is asked again soon, and a store that is slow has its time.
_FIRST_PATIENCE = 1 / 8


class _WithinBudget(Timeout):
    """The time-out of one try: its own, or what is left of the budget at its beginning."""

    def clone(self) -> Timeout:
        """Return the time-outs of the next try; urllib3 asks before each, retries too. Raises budget.Spent."""
        return Timeout(total=deadline.left(), connect=self._connect, read=self._read)


class _Patience:
    """What is mixed into urllib3's pools of connections: each try of a call waits longer than the one before."""

    def urlopen(
        self: Any,
        method: str,
        url: str,
        body: Any = None,
        headers: Any = None,
        retries: Any = None,
        *args: Any,
        **kw: Any,
    ) -> Any:
        """Send a request; urllib3 calls this for each try."""
        most = self.timeout.read_timeout
        # Not those that were refused at once.
        waited = (
            sum(isinstance(each.error, urllib3.exceptions.TimeoutError) for each in retries.history) if retries else 0
        )
        seconds = min(most, most * _FIRST_PATIENCE * 2**waited)
        # The time to connect bounds the sending of a body as well.
        kw["timeout"] = _WithinBudget(connect=seconds, read=seconds)
        return super().urlopen(method, url, body, headers, retries, *args, **kw)  # type: ignore[misc]


class _HttpPool(_Patience, urllib3.HTTPConnectionPool):  # type: ignore[misc]  # the mixin's types are wider
    pass


class _HttpsPool(_Patience, urllib3.HTTPSConnectionPool):  # type: ignore[misc]
    pass


POOLS = {"http": _HttpPool, "https": _HttpsPool}
"""The pools of connections whose calls are as patient as that, by scheme."""
