"""Refusing for sure: what an older copy of Redis does not know, or knows otherwise, is no reason to refuse.

One may come back between any two calls of a request, and a client that is told 404, 409 or 422 does not ask again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from app.protocol.problems import problem_of
from app.service.services import services

P = ParamSpec("P")
R = TypeVar("R")

_FOR_GOOD = frozenset({404, 409, 422})


def refusing_for_sure(answer: Callable[P, R]) -> Callable[P, R]:
    """Have a route refuse for good only on one view that is vouched for from its beginning to its end.

    It is run again for that, which must do no harm. Raises what the route raises, and Recovering.
    """

    @wraps(answer)
    def surely(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return answer(*args, **kwargs)
        except Exception as error:
            problem = problem_of(error)
            if problem is None or problem.status not in _FOR_GOOD:
                raise
        with services().repo.queue.for_sure():
            return answer(*args, **kwargs)

    return surely
