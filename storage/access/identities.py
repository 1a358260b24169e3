"""Which principal a JSON Web Token stands for, by what its issuer claims in it. Pure.

An identity of the policy names an issuer and claims that a token must have with just these values. Values are compared
as text; a claim that is a whole number counts as its digits, and any other (a list, true, null) equals nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from storage.access.policy import Identity

_Names = tuple[str, ...]


class Identities:
    """The identities of a policy. A look costs one look-up for each set of claims that its issuer's identities name."""

    def __init__(self, identities: Iterable[Identity]) -> None:
        self._by_issuer: dict[str, dict[_Names, dict[tuple[str, ...], tuple[int, str]]]] = {}
        for number, each in enumerate(identities):
            names = tuple(sorted(each.claims))
            values = tuple(each.claims[name] for name in names)
            of_names = self._by_issuer.setdefault(each.issuer, {}).setdefault(names, {})
            of_names.setdefault(values, (number, each.principal))

    def principal(self, issuer: str, claims: Mapping[str, object]) -> str | None:
        """Return the principal of the first identity that fits, in the order of the policy, None where none does."""
        found = []
        for names, principals in self._by_issuer.get(issuer, {}).items():
            values = tuple(_text(claims.get(name)) for name in names)
            fitting = principals.get(values) if None not in values else None  # type: ignore[arg-type]
            if fitting:
                found.append(fitting)
        return min(found)[1] if found else None


def _text(value: object) -> str | None:
    """Return a claim's value as identities have it, None where it equals nothing."""
    if isinstance(value, str):
        return value
    return str(value) if type(value) is int else None
