"""Tokens and the policy as the view has them. Everything here raises ViewAbsent and redis.RedisError."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.json import Decoder

from storage.access.policy import Policy
from storage.access.tokens import Token
from storage.view.view import View

_decode_token, _decode_policy = Decoder(Token).decode, Decoder(Policy).decode


def read_policy(view: View) -> Policy:
    """Return the policy; one without grants where none was set."""
    row = view.redis.get(view.key("policy"))
    return _decode_policy(row) if row else Policy()


def token_of_hash(view: View, token_hash: str) -> Token | None:
    """Return the token with a hash, None where it is unknown or revoked."""
    row = view.redis.hget(view.key("tokens"), token_hash)
    return _decode_token(row) if row else None


def tokens_of(view: View, ids: Sequence[str]) -> list[Token]:
    """Return the tokens with these ids, without those that are unknown or revoked; two calls for all."""
    hashes = [row for row in view.redis.hmget(view.key("token_hashes"), ids) if row] if ids else []
    rows = view.redis.hmget(view.key("tokens"), hashes) if hashes else []
    return [_decode_token(row) for row in rows if row]
