"""Calls of receivers: to an address that may be called, within one time limit, and little read of the answer.

The name is resolved once, every address that it has is judged, and the connection goes to the very address that was
judged; certificate, SNI and Host are those of the name. Redirects are not followed, so they lead nowhere else.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from typing import NamedTuple
from urllib.parse import urlsplit

from storage.base.errors import Refused
from storage.base.settings import Settings
from storage.webhooks.targets import is_public

_HEADERS = {"Content-Type": "application/json", "User-Agent": "Sluice"}
_PORTS = {"http": 80, "https": 443}
_SHOWN = 200  # characters of an answer that are kept
_DIGITS = re.compile(r"[0-9]{1,9}", re.ASCII)
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")


class PrivateTarget(Refused):
    """A receiver's name has an address that may not be called."""


class _Place(NamedTuple):
    """Where a receiver is."""

    is_tls: bool
    name: str
    port: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request."""

    status: int | None = None  # None: there was no answer
    error: str | None = None  # a word for programs; None: it was taken
    seconds: float = 0.0
    text: str = ""  # how its body begins, in printable ASCII
    retry_after: float | None = None  # seconds that the receiver asks to wait


class Sender:
    """Calls receivers, one after the other, and keeps the connection for the next call of the same one until `close`.

    That saves a connection and a TLS handshake for each event; a name that was judged is not resolved again meanwhile.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kept: tuple[_Place, http.client.HTTPConnection] | None = None

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send a delivery, and return what came of it; whatever the receiver does is an answer, and no error."""
        began, late = time.monotonic(), threading.Event()
        until = began + self._settings.webhook_timeout
        status: int | None = None
        text, wait = "", None
        try:
            status, text, wait = self._call(url, body, {**headers, **_HEADERS}, until, late)
            error = None if 200 <= status < 300 else "redirect" if 300 <= status < 400 else "status"
        except PrivateTarget:
            error = "private-target"
        except socket.gaierror:
            error = "name"
        except ssl.SSLCertVerificationError:
            error = "certificate"
        except TimeoutError:
            error = "timeout"
        except (OSError, ValueError, http.client.HTTPException):
            error = "timeout" if late.is_set() else "connection"
        return Answer(status, error, round(time.monotonic() - began, 3), text, wait)

    def close(self) -> None:
        """Close the connection that was kept."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept[1].close()

    def _call(
        self, url: str, body: bytes, headers: Mapping[str, str], until: float, late: threading.Event
    ) -> tuple[int, str, float | None]:
        """Return the answer's status, how its body begins, and the seconds that it asks to wait."""
        parts = urlsplit(url)
        place = _Place(parts.scheme == "https", parts.hostname or "", parts.port or _PORTS[parts.scheme])
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        kept, self._kept = self._kept, None
        if kept is not None and kept[0] != place:
            kept[1].close()
        elif kept is not None:
            # A receiver closes a connection that was idle; then the call is made on another one.
            with suppress(ConnectionError):
                return self._exchange(*kept, target, body, headers, until, late)
            if late.is_set():
                raise TimeoutError
        connection = _connect(place, self._settings, until, late)
        return self._exchange(place, connection, target, body, headers, until, late)

    def _exchange(
        self,
        place: _Place,
        connection: http.client.HTTPConnection,
        target: str,
        body: bytes,
        headers: Mapping[str, str],
        until: float,
        late: threading.Event,
    ) -> tuple[int, str, float | None]:
        keep, text = False, ""
        try:
            with _watched(connection.sock, until, late):
                connection.request("POST", target, body, dict(headers))
                with connection.getresponse() as response:
                    if late.is_set():
                        raise TimeoutError  # headers that were cut off look like all of them
                    # The status decides, whether or not the body ends.
                    with suppress(OSError, ValueError, http.client.HTTPException):
                        text = _UNPRINTABLE.sub(" ", response.read(_SHOWN).decode("ascii", "replace"))
                        keep = response.isclosed() and connection.sock is not None and not late.is_set()
                    return response.status, text, _retry_after(response.headers.get("Retry-After"))
        finally:
            if keep:
                self._kept = (place, connection)
            else:
                connection.close()


def _connect(place: _Place, settings: Settings, until: float, late: threading.Event) -> http.client.HTTPConnection:
    """Connect to a receiver. Raises PrivateTarget and OSError."""
    opened = _open(_addresses(place.name, place.port, settings.webhook_private_targets), until)
    try:
        if place.is_tls:
            secured = _context().wrap_socket(opened, server_hostname=place.name, do_handshake_on_connect=False)
            opened = secured
            with _watched(opened, until, late):
                secured.do_handshake()
    except BaseException:
        opened.close()
        raise
    opened.settimeout(settings.webhook_timeout)  # of one read; the watchdog ends the whole
    connection = http.client.HTTPConnection(place.name, place.port)
    connection.auto_open = 0  # else it would connect by the name, to whatever that is by then
    connection.default_port = _PORTS["https" if place.is_tls else "http"]  # which the Host header does not name
    connection.sock = opened
    return connection


@contextmanager
def _watched(opened: socket.socket, until: float, late: threading.Event) -> Iterator[None]:
    """Shut a connection when its time is over, whatever this block does with it; then it is `late`."""
    watchdog = threading.Timer(max(0.0, until - time.monotonic()), _shut, [opened, late])
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()


def _addresses(name: str, port: int, private: bool) -> list[tuple[str, int]]:
    """Return the addresses of a name. Raises PrivateTarget where one of them may not be called, and OSError."""
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys((str(address[0]), int(address[1])) for *_, address in found))
    if not private and not all(is_public(address) for address, _ in addresses):
        raise PrivateTarget(name)
    return addresses


def _open(addresses: list[tuple[str, int]], until: float) -> socket.socket:
    """Return a connection to the first of these addresses that takes one. Raises OSError."""
    error: OSError = TimeoutError("no time was left")
    for address in addresses:
        left = until - time.monotonic()
        if left <= 0:
            break
        try:
            opened = socket.create_connection(address, left)
        except OSError as reason:
            error = reason
            continue
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return opened
    raise error


@cache
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()


def _shut(opened: socket.socket, late: threading.Event) -> None:
    late.set()
    # Not SSLSocket's, which would take its state away from the thread that is using it.
    with suppress(OSError):
        socket.socket.shutdown(opened, socket.SHUT_RDWR)


def _retry_after(value: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for, None where there is none or it cannot be read."""
    if not value:
        return None
    if _DIGITS.fullmatch(value.strip()):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
