"""The issuers of JSON Web Tokens that a deployment trusts, as the setting `jwt_issuers` has them."""

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
"""What a token may be signed by: with a key of which its issuer publishes the other half. No secret is shared."""
MOST_TEXT = 300
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_FIELDS = {"issuer", "audience", "jwks", "algorithms"}


@dataclass(frozen=True, slots=True)
class Issuer:
    """An issuer, and what its tokens must be."""

    issuer: str  # what they have as `iss`, character by character
    audience: str  # what they must have as, or among, their `aud`
    jwks: str  # the URL of its public keys
    algorithms: tuple[str, ...]


@lru_cache(maxsize=8)
def read_issuers(text: str) -> tuple[Issuer, ...]:
    """Return the issuers of a JSON list. Raises ValueError with what is wrong; nothing at all is no issuer."""
    if not text.strip():
        return ()
    try:
        value = json.loads(text)
    except ValueError:
        raise ValueError("is not JSON") from None
    if not isinstance(value, list):
        raise ValueError("must be a list of objects")
    issuers = tuple(_issuer(item, f"[{number}]") for number, item in enumerate(value))
    if len({each.issuer for each in issuers}) != len(issuers):
        raise ValueError("names an issuer twice")
    return issuers


def _issuer(item: Any, at: str) -> Issuer:
    if not isinstance(item, dict) or item.keys() != _FIELDS:
        raise ValueError(f"{at} must be an object with {', '.join(sorted(_FIELDS))}, and nothing else")
    for name in ("issuer", "audience", "jwks"):
        text = item[name]
        if not isinstance(text, str) or not 0 < len(text) <= MOST_TEXT:
            raise ValueError(f"{at}.{name} must be a text of 1 to {MOST_TEXT} characters")
    algorithms = item["algorithms"]
    if not isinstance(algorithms, list) or not algorithms or not all(each in ALGORITHMS for each in algorithms):
        raise ValueError(f"{at}.algorithms must be a list of {', '.join(ALGORITHMS)}")
    _check_url(item["jwks"], f"{at}.jwks")
    return Issuer(item["issuer"], item["audience"], item["jwks"], tuple(algorithms))


def _check_url(text: str, at: str) -> None:
    """Raise ValueError unless a URL is one by which nobody in between can hand out other keys."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"{at} is not a URL") from None
    if not host or "@" in parts.netloc or parts.fragment or any(char.isspace() for char in text):
        raise ValueError(f"{at} is not a URL without user and fragment")
    if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOOPBACK):
        raise ValueError(f"{at} must begin with https:// (http:// only to this machine)")
