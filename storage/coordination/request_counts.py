"""How many requests principals have sent to all API processes together: each adds what it has counted now and then."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from storage.view.view import View


class RequestCounts:
    """The counts of one repository. They are work: where they are lost, counting begins anew."""

    def __init__(self, view: View) -> None:
        self._scripts = view.scripts

    def add(self, counted: Mapping[str, int]) -> dict[str, int]:
        """Add to the counts of principals, and return what these are now. Raises redis.RedisError."""
        totals = self._scripts("count_requests", *chain.from_iterable(counted.items()))
        return dict(zip(counted, totals, strict=True))
