"""JSON Web Tokens of the issuers that the settings name: what must be true of one, and what is known of it then."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import jwt

from app.access.issuer_keys import IssuerKeys
from storage.base.errors import Refused
from storage.base.issuers import Issuer

LEEWAY = 30
"""Seconds by which the clocks of an issuer and of this machine may differ."""
MOST_CHARACTERS = 16 << 10
_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*", re.ASCII)
_JTI = re.compile(r"[\x21-\x7e]{1,100}", re.ASCII)
_REQUIRED = ["exp", "iss", "aud"]
_LAST = 253402214399  # the last second that documents can show


class NotValid(Refused):
    """A token is not valid; the text says why, for the log alone."""


@dataclass(frozen=True, slots=True)
class WebToken:
    """A token that was valid when it was looked at."""

    id: str  # what the audit calls it
    issuer: str
    kid: str
    claims: Mapping[str, Any]
    ends: int  # seconds since 1970 from which it is not valid, with LEEWAY

    @property
    def is_over(self) -> bool:
        """Whether it is not valid any more by its time."""
        return time.time() >= self.ends


def is_web_token(secret: str) -> bool:
    """Tell whether this has the form of a JSON Web Token."""
    return len(secret) <= MOST_CHARACTERS and _FORM.fullmatch(secret) is not None


class WebTokens:
    """Checks the tokens of some issuers. Safe for threads."""

    def __init__(self, issuers: Sequence[Issuer], keys_at: Callable[[str], IssuerKeys] = IssuerKeys) -> None:
        self._issuers = {each.issuer: (each, keys_at(each.jwks)) for each in issuers}

    def verify(self, secret: str) -> WebToken:
        """Return a token if it is valid. Raises NotValid, and KeysUnavailable where that cannot be known."""
        try:
            # Of this nothing is known to be true; it says what to check it by.
            unverified = jwt.decode_complete(secret, options={"verify_signature": False})
            issuer, keys = self._issuer(unverified["payload"].get("iss"))
            algorithm, kid = unverified["header"].get("alg"), unverified["header"].get("kid")
            if algorithm not in issuer.algorithms:
                raise NotValid(f"the algorithm {_short(algorithm)} is none of {', '.join(issuer.algorithms)}")
            if not isinstance(kid, str):
                raise NotValid("it names no key (kid)")
            key = keys.key(kid)
            if key is None:
                raise NotValid(f"its issuer has no key {_short(kid)}")
            if key.algorithm not in (None, algorithm):
                raise NotValid(f"its key is for {key.algorithm}")
            claims = jwt.decode(
                secret, key.key, algorithms=[algorithm], audience=issuer.audience, issuer=issuer.issuer,
                leeway=LEEWAY, options={"require": _REQUIRED},
            )  # fmt: skip
            ends = int(claims["exp"]) + LEEWAY
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise NotValid(_short(error)) from error
        return WebToken(_id(secret, issuer.issuer, claims), issuer.issuer, kid, claims, min(ends, _LAST))

    def has_ended(self, token: WebToken) -> bool:
        """Tell whether a token is not valid any more: its time is over, or its issuer has withdrawn its key."""
        return token.is_over or self._issuers[token.issuer][1].has_withdrawn(token.kid)

    def _issuer(self, name: object) -> tuple[Issuer, IssuerKeys]:
        if not isinstance(name, str) or name not in self._issuers:
            raise NotValid(f"its issuer {_short(name)} is none of jwt_issuers")
        return self._issuers[name]


def _id(secret: str, issuer: str, claims: Mapping[str, Any]) -> str:
    """Return what the audit calls a token: its issuer with the id that it gave it, else with a part of its SHA-256."""
    jti = claims.get("jti")
    if isinstance(jti, str) and _JTI.fullmatch(jti):
        return f"{issuer}#{jti}"
    return f"{issuer}#sha256:{sha256(secret.encode()).hexdigest()[:32]}"


def _short(value: object) -> str:
    return repr(str(value))[:200]
