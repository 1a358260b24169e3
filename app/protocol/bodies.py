"""Reading a JSON body: its values are counted before it is parsed."""

import json
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec

from app.protocol.changesets.schemas import most_values
from app.protocol.loading import no_constant, unique
from app.protocol.problems import invalid, malformed
from app.protocol.scan import TooLarge, TooMany, scan
from storage.backends.turns import LARGE, in_thread
from storage.base.settings import Settings


def load_json(body: bytes, settings: Settings) -> Any:
    """Read a body: JSON in UTF-8 and nothing else, with no more in it than a request can have.

    Raises a Problem; json alone would take UTF-16, NaN and a name twice, and any number of values.
    """
    call = partial(_read_json, body, most_values(settings))
    return in_thread(call) if len(body) > LARGE else call()


def _read_json(body: bytes, most: int) -> Any:
    try:
        names = scan(body, most)
        # msgspec is three times as fast as json, and keeps the last value of a name that is given twice. It refuses
        # whatever is not valid; then json says where.
        with suppress(ValueError, RecursionError):
            value = msgspec.json.decode(body)
            if _count_names(value) == names:
                return value
            del value  # json makes all of it once more
        return json.loads(body.decode(), parse_constant=no_constant, object_pairs_hook=unique)
    except UnicodeDecodeError:
        raise malformed("the body is not UTF-8") from None
    except TooLarge as error:
        raise malformed(f"the body {error}") from None
    except TooMany as error:
        raise invalid("body", str(error)) from None
    except ValueError as error:
        where = f" at byte {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise malformed(f"the body is not JSON{where}") from None


def _count_names(value: Any) -> int:
    """Return how many names the objects of a value have."""
    count, left = 0, [value]
    while left:
        value = left.pop()
        if type(value) is dict:
            count += len(value)
            left += value.values()
        elif type(value) is list:
            left += value
    return count
