"""Parsing a setting's text into its value, and refusing values that cannot work."""

import math
from typing import Any
from urllib.parse import urlsplit

_REDIS = ("redis", "rediss", "unix")
_HTTP = ("http", "https")


def read(text: str, default: Any, unit: str) -> Any:
    """Return the value of a setting with such a default and unit. Raises ValueError with what is wrong."""
    if isinstance(default, bool):
        return _yes_or_no(text)
    kind = type(default)
    try:
        value = kind(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a {kind.__name__}") from None
    if kind in (int, float):
        if math.isnan(value) or value < 0:
            raise ValueError(f"{text!r} is not a number of {unit}")
    elif unit == "URL" and str(default).startswith("redis:"):
        check_address(text, _REDIS)
    elif unit == "URLs":
        check_endpoints(text)
    return value


def check_endpoints(text: str) -> None:
    """Raise ValueError unless `text` has addresses of HTTP servers, separated by commas."""
    endpoints = [part.strip() for part in text.split(",") if part.strip()]
    if not endpoints:
        raise ValueError("at least one address is needed")
    for endpoint in endpoints:
        check_address(endpoint, _HTTP)


def check_address(text: str, schemes: tuple[str, ...]) -> None:
    """Raise ValueError unless `text` is a URL of one of the schemes, with a port that is one."""
    try:
        parts = urlsplit(text)
        known = parts.scheme in schemes and (parts.port is None or parts.port >= 0)
    except ValueError as error:  # a port that is no number, or above 65535
        raise ValueError(f"is not an address: {error}") from None
    if not known or not (parts.netloc or parts.scheme == "unix") or any(char.isspace() for char in text):
        # Not repeated: a password may be in it.
        raise ValueError(f"is not an address that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")


def _yes_or_no(text: str) -> bool:
    if text.lower() in {"1", "true", "yes", "on"}:
        return True
    if text.lower() in {"0", "false", "no", "off"}:
        return False
    raise ValueError(f"{text!r} is neither yes nor no")
