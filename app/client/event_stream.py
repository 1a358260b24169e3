"""Server-sent events, as bytes arrive."""

import re
from collections.abc import Iterator

from app.client import byte_paths
from app.client.transport import Json


class EventStream:
    """Server-sent events as the HTML standard reads them, over several connections."""

    # A carriage return at the very end may be the first half of a line's end.
    _LINE_END = re.compile(rb"\r\n|\n|\r(?=[^\n])")

    def __init__(self) -> None:
        self.last_id = ""
        self.retry = 1.0  # seconds to wait before coming back, as the server asked last
        self.begin()

    def begin(self) -> None:
        """Begin with a new connection: what the one before left unfinished is dropped."""
        self._rest = b""
        self._fields: dict[str, str] = {}
        self._data: list[str] = []

    def feed(self, data: bytes) -> Iterator[Json]:
        """Yield the events that `data` completes."""
        *lines, self._rest = self._LINE_END.split(self._rest + data)
        for line in lines:
            name, _, value = line.decode(errors="replace").partition(":")
            value = value.removeprefix(" ")
            match name:
                case "" if not line:
                    yield from self._finish()
                case "data":
                    self._data.append(value)
                case "event" | "id":
                    self._fields[name] = value
                case "retry" if value.isascii() and value.isdigit():
                    self.retry = int(value) / 1000

    def _finish(self) -> Iterator[Json]:
        """Yield the event that an empty line ends. One without data is none, but its id counts."""
        fields, data = self._fields, self._data
        self._fields, self._data = {}, []
        self.last_id = fields.get("id", self.last_id)
        if data:
            yield {
                "id": self.last_id,
                "event": fields.get("event", "message"),
                "data": byte_paths.loads("\n".join(data)),
            }
