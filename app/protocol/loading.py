"""Loading an object by a marshmallow schema; errors name their fields as a user writes them."""

from typing import Any, NoReturn

from marshmallow import Schema, ValidationError

from app.protocol import fields
from app.protocol.problems import MAX_ERRORS, FieldError, Invalid, invalid, malformed
from storage.base.settings import Settings
from storage.git.fsck import FsckError, PathError

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
        self._checks = {name: field.check for name, field in self.fields.items() if isinstance(field, fields.Checked)}
        self._nullable = {name for name, field in self.fields.items() if field.allow_none}
        self._required = {name for name, field in self.fields.items() if field.required}

    def load_valid(self, data: dict[str, Any]) -> dict[str, Any] | None:
        """Return what `load` returns, in a third of its time; None where `data` is not valid, for `load` to say why.

        The fields here are only such as `Checked` and Raw, under their own names, without defaults and hooks: then
        marshmallow calls each field's check, and looks for what is missing and unknown.
        """
        loaded: dict[str, Any] = {}
        for name, value in data.items():
            if value is None:
                if name not in self._nullable:
                    return None
                loaded[name] = None
            elif check := self._checks.get(name):
                try:
                    loaded[name] = check(value)
                except (ValidationError, FsckError, PathError):
                    return None
            elif name in self.fields:
                loaded[name] = value
            else:
                return None
        return loaded if self._required <= loaded.keys() else None


class ErrorsAt:
    """What a check finds wrong within this is wrong with one field. Raises Invalid."""

    # No @contextmanager, which takes three times as long (1 us): every changeset enters some of these.

    def __init__(self, field: str) -> None:
        self._field = field

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, ValidationError):
            raise invalid(self._field, _sentence(error.messages)) from None
        if isinstance(error, (FsckError, PathError)):
            raise invalid(self._field, str(error)) from None


def load_object(schema: LimitedSchema, data: Any, at: str = "") -> dict[str, Any]:
    """Load an object. Raises Invalid, with fields that begin with `at`."""
    if type(data) is not dict:
        raise invalid(at, "must be an object")
    valid = schema.load_valid(data)
    if valid is not None:
        return valid
    if len(data) > len(schema.fields) + MAX_ERRORS:
        # marshmallow copies all errors for each new one.
        unknown = [name for name in data if name not in schema.fields]
        raise Invalid([_at(at, name, "is not a field here") for name in unknown[:MAX_ERRORS]])
    try:
        loaded: dict[str, Any] = schema.load(data)
        return loaded
    except ValidationError as error:
        messages = error.messages
        assert isinstance(messages, dict)
        errors = [_at(at, name, _sentence(texts)) for name, texts in list(messages.items())[:MAX_ERRORS]]
        raise Invalid(errors) from None


def _at(at: str, name: str, message: str) -> FieldError:
    return {"field": (at and at + ".") + safe_name(name), "message": message}


def load_path(text: str, settings: Settings, field: str = "path", encoded: bool = False) -> bytes:
    """Return a path, which is no value of a schema; `encoded` in base64, for it is not UTF-8. Raises Invalid."""
    check = fields.path_base64 if encoded else fields.path
    with ErrorsAt(field):
        return check(text, ("max_path_bytes", settings.max_path_bytes))[0]


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object's dict. Raises a Problem where json would silently drop all but the last value of a name."""
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            break
        seen.add(name)
    raise malformed(f"an object has the name {safe_name(name)!r} twice")


def no_constant(name: str) -> NoReturn:
    """Refuse what json takes beyond JSON: NaN and the infinities."""
    raise ValueError(f"{name} is not JSON")


def safe_name(name: str) -> str:
    """Return a field's name as it may be shown: an unknown one is whatever the writer sent."""
    return name[:100].encode(errors="backslashreplace").decode()


def _sentence(texts: Any) -> str:
    return _SENTENCES.get(texts[0], str(texts[0]))
