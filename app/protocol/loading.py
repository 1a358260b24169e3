"""Loading an object by a marshmallow schema; errors name their fields as a user writes them."""

from typing import Any, NoReturn

from marshmallow import Schema, ValidationError

from app.protocol.problems import MAX_ERRORS, FieldError, Problem, invalid_fields
from storage.base.errors import Refused
from storage.base.settings import Settings

_SENTENCES = {
    "Missing data for required field.": "is missing",
    "Unknown field.": "is not a field here",
    "Field may not be null.": "cannot be null",
}


class LimitedSchema(Schema):
    """A schema whose fields find their limits in `settings`."""

    def __init__(self, settings: Settings, **kwargs: Any) -> None:
        self.settings = settings
        super().__init__(**kwargs)


class FieldErrors(Refused):
    """Errors by field, as they were found; the field "" is the whole that was loaded."""

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__(errors)
        self.errors = errors

    def problem(self) -> Problem:
        """Return the problem to answer with."""
        return invalid_fields([error_of(error["field"] or "body", error["message"]) for error in self.errors])


def load_object(schema: Schema, data: Any, at: str = "") -> dict[str, Any]:
    """Load an object. Raises FieldErrors, with fields that begin with `at`."""
    if type(data) is not dict:
        raise field_error(at, "must be an object")
    if len(data) > len(schema.fields) + MAX_ERRORS:
        # marshmallow copies all errors for each new one.
        unknown = [name for name in data if name not in schema.fields]
        raise FieldErrors([_at(at, name, "is not a field here") for name in unknown[:MAX_ERRORS]])
    try:
        loaded: dict[str, Any] = schema.load(data)
        return loaded
    except ValidationError as error:
        messages = error.messages
        assert isinstance(messages, dict)
        raise FieldErrors(
            [_at(at, name, _sentence(texts)) for name, texts in list(messages.items())[:MAX_ERRORS]]
        ) from None


def _at(at: str, name: str, message: str) -> FieldError:
    return error_of((at and at + ".") + safe_name(name), message)


def field_error(field: str, message: str) -> FieldErrors:
    """One field is wrong."""
    return FieldErrors([error_of(field, message)])


def error_of(field: str, message: str) -> FieldError:
    """Return one item of a problem's `errors`."""
    return {"field": field, "message": message}


def message_of(error: Exception) -> str:
    """Return what a check says is wrong."""
    return _sentence(error.messages) if isinstance(error, ValidationError) else str(error)


class Repeated(Refused):
    """An object has a name twice."""


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object's dict.

    Raises Repeated, where json would keep the last value and silently drop what stood before it.
    """
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            break
        seen.add(name)
    raise Repeated(f"an object has the name {safe_name(name)!r} twice")


def no_constant(name: str) -> NoReturn:
    """Refuse what json takes beyond JSON: NaN and the infinities."""
    raise ValueError(f"{name} is not JSON")


def safe_name(name: str) -> str:
    """Return a field's name as it may be shown: an unknown one is whatever the writer sent."""
    return name[:100].encode(errors="backslashreplace").decode()


def _sentence(texts: Any) -> str:
    return _SENTENCES.get(texts[0], str(texts[0]))
