"""Making a token's secret, by chance."""

import secrets

from storage.access.tokens import DIGITS, RANDOM_DIGITS, secret_of


def new_secret() -> str:
    """Return a new token."""
    return secret_of("".join(secrets.choice(DIGITS) for _ in range(RANDOM_DIGITS)))
