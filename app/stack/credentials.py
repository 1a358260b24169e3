"""The keys of a stack's S3 server."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Credentials:
    """The keys of an S3 server."""

    access_key: str
    secret_key: str = field(repr=False)

    @classmethod
    def generate(cls) -> Credentials:
        """Random ones."""
        return cls(secrets.token_hex(10), secrets.token_urlsafe(30))
