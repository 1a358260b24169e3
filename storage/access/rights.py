"""The rights that follow from a policy: compiled once for each version, and asked at every request. Pure.

A right at a path is given by a grant on any prefix that holds the path: `/`, a directory above it, or itself. So a
question costs a look-up for each directory above the path, however many grants there are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from storage.access.identities import Identities
from storage.access.policy import EVERYONE, EVERYTHING, GROUP, RIGHTS, ROOT, Grant, Policy, Right, Role
from storage.git.trees import covers


class Rights:
    """What one principal may do, or what a token is limited to."""

    def __init__(self, lasting: Mapping[bytes, int], ending: Collection[tuple[bytes, int, int]] = ()) -> None:
        """Take rights by path prefix: those for good, and those that end, with the second from which they are gone."""
        self._lasting = lasting
        self._ending = tuple(ending)

    def gives_as(self, other: Rights) -> bool:
        """Tell whether another one gives the same."""
        return (self._lasting, self._ending) == (other._lasting, other._ending)

    def has(self, right: Right, path: bytes, now: float | None = None) -> bool:
        """Tell whether there is a right at a path, or at all that a prefix holds, at a time; None: as if none ended.

        A batch has no clock, so that linking it again gives the same: it passes None.
        """
        wanted, given = int(right), self._lasting.get
        if given(b"/", 0) & wanted or given(path, 0) & wanted:
            return True
        end = path.find(b"/")
        while end >= 0:
            if given(path[: end + 1], 0) & wanted:
                return True
            end = path.find(b"/", end + 1)
        return bool(self._ending) and any(
            rights & wanted and (now is None or now < until) and _holds(prefix, path)
            for prefix, rights, until in self._ending
        )

    def prefixes(self, right: Right) -> set[bytes]:
        """Return the path prefixes at which there is a right, also those where it has ended by now."""
        given = {prefix for prefix, rights in self._lasting.items() if rights & int(right)}
        return given | {prefix for prefix, rights, _ in self._ending if rights & int(right)}

    def missing(self, right: Right, paths: Iterable[bytes], now: float | None = None) -> bytes | None:
        """Return the first of these paths at which there is no such right, None where there is one at all of them."""
        for path in paths:
            if not self.has(right, path, now):
                return path
        return None


def missing_of(given: Sequence[Rights], right: Right, paths: Sequence[bytes]) -> bytes | None:
    """Return the first of these paths at which one of several rights is missing, as if none ended; None: none is."""
    return next((path for each in given if (path := each.missing(right, paths)) is not None), None)


def may_somewhere(given: Sequence[Rights], right: Right, paths: frozenset[bytes]) -> bool:
    """Tell whether several rights are all there at one of these paths, or at something that one of them holds.

    As if none ended. Costs the paths and what is given, not their product.
    """
    within = (prefix for each in given for prefix in each.prefixes(right) if covers(paths, prefix))
    return any(all(each.has(right, path) for each in given) for path in (*paths, *within))


NOTHING = Rights({})
ALL = Rights({b"/": int(EVERYTHING)})


class Compiled:
    """A policy that answers quickly. Principals are compiled when they first ask: a group may have thousands."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._grants: dict[str, list[Grant]] = {}
        for grant in policy.grants:
            self._grants.setdefault(grant.to, []).append(grant)
        self._groups: dict[str, list[str]] = {}
        for group, members in policy.groups.items():
            for member in members:
                self._groups.setdefault(member, []).append(GROUP + group)
        self._rights: dict[str, Rights] = {}
        self.identities = Identities(policy.identities)

    def rights(self, principal: str) -> Rights:
        """Return what a principal may do."""
        known = self._rights.get(principal)
        if known is None:
            known = self._rights[principal] = self._compile(principal)
        return known

    def _compile(self, principal: str) -> Rights:
        lasting: dict[bytes, int] = {}
        ending: list[tuple[bytes, int, int]] = []
        for to in (principal, EVERYONE, *self._groups.get(principal, ())):
            for grant in self._grants.get(to, ()):
                prefix, rights = grant.path.encode(), int(RIGHTS[grant.role])
                if grant.until is None:
                    lasting[prefix] = lasting.get(prefix, 0) | rights
                else:
                    ending.append((prefix, rights, grant.until))
        return Rights(lasting, ending)


WITHOUT_POLICY = Compiled(Policy())


def limited_to(role: Role | None, paths: Collection[str]) -> Rights:
    """Return the rights that a token is cut down to: those of a role, on some paths; without either, all."""
    rights = int(RIGHTS[role] if role else EVERYTHING)
    return Rights({path.encode(): rights for path in paths or ["/"]})


def given_to(policy: Compiled, principal: str, role: Role | None, paths: Collection[str]) -> list[Rights]:
    """Return what a principal may do by a policy, and what its token is limited to, if it is."""
    given = [ALL if principal == ROOT else policy.rights(principal)]
    return [*given, limited_to(role, paths)] if role or paths else given


def _holds(prefix: bytes, path: bytes) -> bool:
    return prefix in (b"/", path) or (prefix.endswith(b"/") and path.startswith(prefix))
