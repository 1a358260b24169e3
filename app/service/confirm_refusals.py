"""Confirm 404, 409 and 422 before sending them: Redis may be an older snapshot, and clients do not retry these codes.

Redis can be restored from one between any two calls of a request.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from app.protocol.problems import problem_of
from app.service.services import services

P = ParamSpec("P")
R = TypeVar("R")

_FOR_GOOD = frozenset({404, 409, 422})


def confirm_refusals(answer: Callable[P, R]) -> Callable[P, R]:
    """Let a route answer 404, 409 or 422 only after it has done so under Queue.consistent_read.

    The handler is run a second time for that, so it must be idempotent. Raises what it raises, and Recovering.
    """

    @wraps(answer)
    def twice(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return answer(*args, **kwargs)
        except Exception as error:
            problem = problem_of(error)
            if problem is None or problem.status not in _FOR_GOOD:
                raise
        with services().repo.queue.consistent_read():
            return answer(*args, **kwargs)

    return twice
