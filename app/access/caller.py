"""Who sent a request, and what it may do. Values; current.py has that of the present request."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from app.access.web_tokens import WebToken
from storage.access.policy import NO_QUOTA, ROLE_WITH, Person, Quota, Right, Role
from storage.access.rights import ALL, NOTHING, Rights
from storage.access.tokens import Token
from storage.base.errors import Refused
from storage.git.paths import as_text
from storage.git.trees import covers

_NOBODY = "unknown"
ROOT_PATH = b"/"
KEY_SEPARATOR = "\n"
"""Between a principal and its idempotency key, in which it cannot be."""


class NotAllowed(Refused):
    """A right is missing: the caller may see what it is about, and may not do this to it."""

    def __init__(self, path: str, role: Role) -> None:
        super().__init__(f"{path}: the role {role} is needed")
        self.path, self.role = path, role


@dataclass(frozen=True, slots=True)
class Caller:
    """A principal, by a token that may give it less than the policy does."""

    principal: str
    rights: Rights
    token: Token | None = None
    limit: Rights = ALL
    person: Person | None = None  # how it is named in commits
    only_own_authors: bool = False
    quota: Quota = NO_QUOTA
    web: WebToken | None = None  # the JSON Web Token that `token` was made of

    def may(self, right: Right, paths: Collection[bytes]) -> bool:
        """Tell whether there is a right at all of these paths, now; given none, at everything.

        For what names no paths may be anywhere: that nothing is missing there is no right.
        """
        return self.missing(right, paths or (ROOT_PATH,)) is None

    def missing(self, right: Right, paths: Iterable[bytes]) -> bytes | None:
        """Return the first of these paths at which there is no such right now, None where there is one at all."""
        if self.rights is ALL and self.limit is ALL:
            return None  # each changeset of a large request asks
        now, rights, limit = time.time(), self.rights, self.limit
        for path in paths:
            if not rights.has(right, path, now) or (limit is not ALL and not limit.has(right, path)):
                return path
        return None

    def may_somewhere(self, right: Right, paths: Collection[bytes]) -> bool:
        """Tell whether there is a right now at one of these paths, or at something that one of them holds."""
        given = self.rights.prefixes(right) | self.limit.prefixes(right)
        within = (each for each in given if covers(paths, each))
        return any(self.may(right, [path]) for path in (*paths, *within))

    def require(self, right: Right, paths: Iterable[bytes], only_readable: bool = False) -> None:
        """Raise NotAllowed, which names the first path at which the right is missing.

        With `only_readable` a path that may not be read is not named: the caller has not named it either.
        """
        path = self.missing(right, paths)
        if path is not None:
            hidden = only_readable and not self.may(Right.READ, [path])
            raise NotAllowed("a path that is not shown" if hidden else as_text(path), ROLE_WITH[right])

    @property
    def reads_all(self) -> bool:
        """Whether it may read the whole repository: then nothing needs to be left out."""
        return self.may(Right.READ, [ROOT_PATH])

    @property
    def readable(self) -> list[bytes]:
        """The path prefixes that hold what it may read now, in the order of bytes; none holds another."""
        if self.reads_all:
            return [ROOT_PATH]
        given = self.rights.prefixes(Right.READ) | self.limit.prefixes(Right.READ)
        found: list[bytes] = []
        for prefix in sorted(each for each in given if self.may(Right.READ, [each])):
            if not (found and found[-1].endswith(b"/") and prefix.startswith(found[-1])):
                found.append(prefix)
        return found

    @property
    def token_id(self) -> str:
        """What the log calls the token by which it has authenticated; empty for the root token."""
        return self.token.id if self.token else ""

    @property
    def is_known(self) -> bool:
        """Whether it has authenticated."""
        return self.principal != _NOBODY


EVERYBODY = Caller(_NOBODY, ALL)
"""Who asks where there are no tokens."""
STRANGER = Caller(_NOBODY, NOTHING)
"""Who asks for what is not there."""
