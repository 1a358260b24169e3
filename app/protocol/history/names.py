"""Names of commits as requests spell them."""

from __future__ import annotations

from app.protocol.problems import invalid


def load_range(text: str) -> tuple[str, str]:
    """Return the two sides of `a...b`. Raises a Problem."""
    first, dots, second = text.partition("...")
    if not (first and dots and second) or "..." in second:
        raise invalid("range", "must be two commits with three dots between them, such as main...next")
    return first, second
