"""What happens between two calls of one process: something of another process, once, at the next call of a method."""

from __future__ import annotations

from collections.abc import Callable


def before_next(owner: object, method: str, act: Callable[[], object]) -> None:
    """Have `act` done right before the next call of the method; calls behind that one are as they were."""
    call = getattr(owner, method)

    def interrupted(*args: object, **named: object) -> object:
        delattr(owner, method)
        act()
        return call(*args, **named)

    setattr(owner, method, interrupted)


def after_next(owner: object, method: str, act: Callable[[], object]) -> None:
    """Have `act` done between the next call of the method and its return."""
    call = getattr(owner, method)

    def interrupted(*args: object, **named: object) -> object:
        delattr(owner, method)
        answer = call(*args, **named)
        act()
        return answer

    setattr(owner, method, interrupted)
