"""Spans of time as the command line takes them: 90m, 12h, 30d, 8w."""

from datetime import timedelta

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def span_of(text: str) -> timedelta | None:
    """Return a span of time, None where the text is none. Raises OverflowError where it is too long."""
    number, unit = text[:-1], text[-1:]
    if not (number.isascii() and number.isdecimal()) or unit not in _UNITS:
        return None
    return timedelta(**{_UNITS[unit]: int(number)})
