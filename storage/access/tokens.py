"""Tokens: secrets that stand for a principal. Only their hash is kept. Pure.

The form is GitHub's: a prefix by which scanners find leaked ones, and a checksum by which a typing error is told from a
revoked token without a look-up.
"""

import re
import string
import zlib
from hashlib import sha256

from msgspec import Struct

from storage.access.policy import Role

PREFIX = "slc_"
DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
RANDOM_DIGITS = 30
"""Digits of base 62: 178 bits."""
_CHECKSUM = 6
_PAIRS = [first + second for first in DIGITS for second in DIGITS]
_FORM = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{RANDOM_DIGITS + _CHECKSUM}}}", re.ASCII)


class Token(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A token as the log and the view have it: everything but the secret."""

    id: str  # a ULID, so that it says when the token was made
    hash: str
    principal: str
    name: str = ""  # what it is for, in its maker's words
    role: Role | None = None  # it has no right beyond this role's
    paths: tuple[str, ...] = ()  # nor anywhere else than at these path prefixes; none: anywhere
    expires: int | None = None  # seconds since 1970
    by: str  # the principal that made it
    # The ids of the tokens by which it was made: that by which its maker was made and so on, its maker's last. Older
    # tokens do not say; none: it was made by the root token.
    made_by: tuple[str, ...] = ()


def secret_of(random: str) -> str:
    """Return the token with a random part of RANDOMDIGITS digits."""
    return PREFIX + random + _checksum(random)


def is_well_formed(secret: str) -> bool:
    """Tell whether this could be a token: its form and its checksum are right."""
    return _FORM.fullmatch(secret) is not None and secret[-_CHECKSUM:] == _checksum(secret[len(PREFIX) : -_CHECKSUM])


def hash_of(secret: str) -> str:
    """Return what is kept of a token: the SHA-256, in hexadecimal. Nobody can guess 178 bits, so it needs no salt."""
    return sha256(secret.encode()).hexdigest()


def _checksum(random: str) -> str:
    number, low = divmod(zlib.crc32(random.encode()), len(_PAIRS))  # each request asks
    high, middle = divmod(number, len(_PAIRS))
    return _PAIRS[high] + _PAIRS[middle] + _PAIRS[low]
