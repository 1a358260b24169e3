"""Who asks, and what they may do: tokens and the policy, as this process knows them from the view.

They are looked at again every `FRESH` seconds at the most, by the request that finds them older. So a token that was
revoked is refused within that time, and a request costs no call of Redis of its own. While Redis is not known to be
current (it may be a copy from before a revocation), nobody is let in.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from dataclasses import dataclass, field

from app.access.caller import EVERYBODY, Caller
from app.access.issuer_keys import KeysUnavailable
from app.access.shared_read import SharedRead
from app.access.web_tokens import NotValid, WebToken, WebTokens, is_web_token
from app.protocol.problems import unauthorized, unavailable
from storage.access import tokens
from storage.access.policy import ROOT, Authors, Policy, quota_of
from storage.access.rights import ALL, Compiled, limited_to
from storage.access.tokens import Token
from storage.backends.redis_client import UNAVAILABLE
from storage.base.errors import ViewStale
from storage.repository import Repository
from storage.view.access import token_of_hash
from storage.view.snapshot import Snapshot

FRESH = 0.4
"""Seconds after which tokens and policy are looked at again."""

# Unknown tokens that are remembered as such: whoever tries many must not fill the memory.
_MOST_UNKNOWN = 10_000


@dataclass(slots=True)
class _Known:
    """What is known of one version of tokens and policy."""

    seq: int  # of the last entry about them
    epoch: str
    run: str  # of Redis
    compiled: Compiled
    callers: dict[str, Caller | None] = field(default_factory=dict)  # by the hash of their token; None: no such token

    def is_of(self, snapshot: Snapshot) -> bool:
        """Tell whether this is what a snapshot knows."""
        return (self.seq, self.epoch, self.run) == (snapshot.head.access, snapshot.epoch, snapshot.run)


class Access:
    """The tokens and the policy of one repository, in one process."""

    def __init__(self, repo: Repository, web: WebTokens | None = None) -> None:
        """Begin; `web` has the issuers of JSON Web Tokens, by default those of the settings."""
        self._repo = repo
        self._root = repo.settings.root_token_sha256
        self._web = web or (WebTokens(repo.settings.issuers) if repo.settings.issuers else None)
        self._latest = SharedRead(self._look, FRESH)

    @property
    def is_open(self) -> bool:
        """Whether everybody may do everything: there is no root token, and no token was ever issued."""
        return not self._root and not self._latest.get().seq

    def policy(self) -> Policy:
        """Return the policy. Raises Unavailable and RedisError."""
        return self._latest.get().compiled.policy

    def newest_policy(self) -> Policy:
        """Return the policy, looked at now: whoever has just set it is shown that. Raises as `policy` does."""
        self.expire()
        return self.policy()

    def caller(self, authorization: str | None) -> Caller:
        """Return who sends this Authorization header. Raises a Problem (401), Unavailable and RedisError."""
        if authorization is None:
            if self.is_open:
                return EVERYBODY
            raise unauthorized("a token is needed: Authorization: Bearer slc_…")
        secret = secret_of(authorization)
        if self._web and is_web_token(secret):
            return self._of_secret_web_token(secret)
        if not secret:
            raise unauthorized("a token is needed: the Authorization header has none")
        token_hash = tokens.hash_of(secret)
        if self._root and hmac.compare_digest(token_hash, self._root):
            return Caller(ROOT, ALL)
        # Told without a look-up, whatever anybody sends.
        caller = self._of_hash(token_hash) if tokens.is_well_formed(secret) else None
        if caller is None:
            raise unauthorized("the token is not valid")
        if _is_over(caller):
            raise unauthorized("the token has expired")
        return caller

    def check(self, caller: Caller) -> None:
        """Raise a Problem (401) where a caller is not let in any more, since its request began."""
        if not self._is_valid(caller):
            raise unauthorized("the token is not valid any more")

    def expire(self) -> None:
        """Have the next request look: there is news, which may be of a revocation."""
        self._latest.expire()

    def renewed(self, caller: Caller) -> Caller | None:
        """Return a caller with the rights that it has by now, None where it is not let in any more.

        Raises Unavailable and RedisError.
        """
        return self._looked_up(caller) if self._is_valid(caller) else None

    def has_ended(self, caller: Caller) -> bool:
        """Tell whether a caller is not let in any more; while that cannot be known, it is."""
        try:
            return not self._is_valid(caller)
        except UNAVAILABLE:
            return False

    def has_other_rights(self, caller: Caller) -> bool:
        """Tell whether a caller is not let in any more, or with other rights; while that cannot be known, it is not."""
        try:
            if not self._is_valid(caller):
                return True
            now = self._looked_up(caller)
        except UNAVAILABLE:
            return False
        return now is None or not now.rights.gives_as(caller.rights)

    def _is_valid(self, caller: Caller) -> bool:
        if caller.token is None:
            return caller.principal == ROOT or self.is_open
        now = self._looked_up(caller)
        return now is not None and now.principal == caller.principal and not _is_over(caller)

    def _looked_up(self, caller: Caller) -> Caller | None:
        """Return a caller as it is by now, None where it is not let in any more."""
        if caller.token is None:
            return caller
        if caller.web is None:
            return self._of_hash(caller.token.hash)
        return None if self._web is None or self._web.has_ended(caller.web) else self._of_web_token(caller.web)

    def _of_secret_web_token(self, secret: str) -> Caller:
        """Return who sends a JSON Web Token. Raises a Problem (401, 503); why it is not valid is for the log alone."""
        assert self._web is not None
        try:
            token = self._web.verify(secret)
        except NotValid as error:
            raise unauthorized("the token is not valid", f"a JSON Web Token: {error}") from None
        except KeysUnavailable as error:
            raise unavailable("the keys of the token's issuer cannot be fetched", error.retry_after) from error
        caller = self._of_web_token(token)
        if caller is None:
            raise unauthorized("the token is not valid", f"no identity of the policy fits the claims of {token.id}")
        return caller

    def _of_web_token(self, web: WebToken) -> Caller | None:
        """Return the caller for which a valid JSON Web Token stands by the present policy, None where it is nobody."""
        compiled = self._latest.get().compiled
        who = compiled.identities.principal(web.issuer, web.claims)
        if who is None:
            return None
        token = Token(id=web.id, hash="", principal=who, expires=web.ends, by=web.issuer)
        policy = compiled.policy
        own = policy.authors is Authors.OWN
        person, quota = policy.people.get(who), quota_of(policy, who)
        return Caller(who, compiled.rights(who), token, ALL, person, own, quota, web)

    def _of_hash(self, token_hash: str) -> Caller | None:
        known = self._latest.get()
        if token_hash in known.callers:
            return known.callers[token_hash]
        # It is remembered until the next token or policy. In a copy of Redis that is older than what is known, a token
        # may be missing, or be there that was revoked since.
        with self._repo.queue.consistent_read():
            token = token_of_hash(self._repo.view, token_hash)
        caller = None
        if token:
            limit = limited_to(token.role, token.paths) if token.role or token.paths else ALL
            policy, who = known.compiled.policy, token.principal
            own = policy.authors is Authors.OWN
            person, quota = policy.people.get(who), quota_of(policy, who)
            caller = Caller(who, known.compiled.rights(who), token, limit, person, own, quota)
        if len(known.callers) > _MOST_UNKNOWN:
            known.callers = {name: each for name, each in known.callers.items() if each}
        known.callers[token_hash] = caller
        return caller

    def _look(self, known: _Known | None) -> _Known:
        """Look at tokens and policy. Raises Unavailable and RedisError."""
        repo = self._repo
        snapshot = repo.snapshot()
        if known is not None and known.is_of(snapshot):
            return known  # the same Redis goes on with the same view, so it has forgotten nothing
        if snapshot.head.access:
            # Else it may be of a copy of Redis that is older than the log, from before a revocation.
            with repo.queue.consistent_read():
                snapshot = repo.snapshot()
        seq = snapshot.head.access
        if known is not None and seq < known.seq:
            raise ViewStale("the view is older than tokens that were seen")
        if known is not None and (seq, snapshot.epoch) == (known.seq, known.epoch):
            known.run = snapshot.run
            return known
        return _Known(seq, snapshot.epoch, snapshot.run, snapshot.policy)


def _is_over(caller: Caller) -> bool:
    """Tell whether a caller's token has expired."""
    return caller.token is not None and caller.token.expires is not None and time.time() >= caller.token.expires


def secret_of(authorization: str) -> str:
    """Return the token in an Authorization header: Bearer, or the password of Basic. Raises a Problem (401)."""
    scheme, _, value = authorization.partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer" and value:
        return value
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError, ValueError):
            raise unauthorized("the Authorization header cannot be read") from None
    raise unauthorized("the Authorization header must be Bearer or Basic")
