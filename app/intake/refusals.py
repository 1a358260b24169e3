"""The intake's reasons to refuse a request; app/api.py has the HTTP problem for each."""

from __future__ import annotations

from storage.base.errors import Refused


class FieldRefused(Refused):
    """A field of a submission is wrong, given what is stored."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message

    def within(self, at: str) -> FieldRefused:
        """Return the same of a field that stands below `at`."""
        return FieldRefused(at + self.field, self.message)


class Contradiction(Refused):
    """What is asked for contradicts what is there; `more` names what, as the answer does."""

    def __init__(self, detail: str, **more: object) -> None:
        super().__init__(detail)
        self.more = more


class KeyReused(Refused):
    """The idempotency key was used for another request."""


class ContentsTooLarge(Refused):
    """The contents of a new changeset have more bytes than it may need."""
