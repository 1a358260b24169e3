"""The public keys of an issuer: fetched from its URL, kept, and looked at again when they are old or lack one.

Nobody who presents tokens decides how often the issuer is asked: once in `AGAIN_AFTER` at most, whatever key ids they
name. A fetch runs in a thread of its own. Only requests that cannot be answered without it wait for it, for `PATIENCE`
at most, and no lock is held meanwhile.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
import structlog
import urllib3
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from urllib3.exceptions import HTTPError

from storage.base.errors import Unavailable

log = structlog.get_logger()

FRESH = 300.0
"""Seconds after which keys are fetched again: so long, and a fetch, a key counts that its issuer has withdrawn."""
USABLE = 3600.0
"""Seconds for which keys count while they cannot be fetched again."""
AGAIN_AFTER = 60.0
"""Seconds between two fetches."""
AGAIN_AFTER_FAILURE = 10.0
"""The same, while there are no keys at all that count."""
PATIENCE = 5.0
"""Seconds for which a request waits for a fetch, and for which the issuer may be silent."""
MOST_BYTES = 256 << 10
_MOST_KEYS = 100
_PIECE = 16 << 10
_LEAST_RSA_BITS = 2048


class KeysUnavailable(Unavailable):
    """The keys of an issuer cannot be fetched, so it is not known whether a token is valid."""

    def __init__(self, retry_after: float) -> None:
        super().__init__()
        self.retry_after = retry_after


class KeysWrong(Unavailable):
    """What the issuer answers is no set of keys that can be used."""


@dataclass(frozen=True, slots=True)
class Key:
    """A public key, and the algorithm that it is for; None: any of its kind."""

    key: Any
    algorithm: str | None


Fetch = Callable[[str], Mapping[str, Key]]


class IssuerKeys:
    """The keys of one issuer. Safe for threads."""

    def __init__(self, url: str, fetch: Fetch | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._fetch = fetch or fetch_keys
        self._clock = clock
        self._lock = threading.Lock()  # of what follows, never while the issuer is asked
        self._keys: Mapping[str, Key] | None = None
        self._fetched = 0.0
        self._began: float | None = None
        self._failed = False
        self._running: threading.Event | None = None

    def key(self, kid: str) -> Key | None:
        """Return a key by its id, None where the issuer has none. Raises KeysUnavailable where that is not known."""
        with self._lock:
            now = self._clock()
            known = self._usable(now).get(kid)
            if known and now - self._fetched < FRESH:
                return known
            begins = self._is_due(now)
            if begins:
                self._began, self._running = now, threading.Event()
                threading.Thread(target=self._run, args=(self._running,), name="issuer-keys", daemon=True).start()
            running = self._running
        if known and not begins:
            return known
        if running:
            running.wait(PATIENCE)
        with self._lock:
            return self._decided(kid, running is not None and not running.is_set())

    def has_withdrawn(self, kid: str) -> bool:
        """Tell whether the keys that are known lack one; the issuer is not asked."""
        with self._lock:
            usable = self._usable(self._clock())
            return bool(usable) and kid not in usable

    def _usable(self, now: float) -> Mapping[str, Key]:
        return self._keys if self._keys is not None and now - self._fetched < USABLE else {}

    def _is_due(self, now: float) -> bool:
        pause = AGAIN_AFTER if self._running else self._pause(now)  # one that hangs for so long is given up
        return self._began is None or now - self._began >= pause

    def _pause(self, now: float) -> float:
        return AGAIN_AFTER if self._usable(now) else AGAIN_AFTER_FAILURE

    def _decided(self, kid: str, too_slow: bool) -> Key | None:
        """Return the key, None where the newest set lacks it. Raises KeysUnavailable where there may be a newer one."""
        now = self._clock()
        usable = self._usable(now)
        if kid in usable:
            return usable[kid]
        if usable and not self._failed and not too_slow:
            return None
        raise KeysUnavailable(max(1.0, self._pause(now) - (now - (self._began or now))))

    def _run(self, done: threading.Event) -> None:
        keys, failed = None, True
        try:
            keys = self._fetch(self._url)
            failed = False
            log.info("issuer_keys_fetched", url=self._url, keys=sorted(keys))
        except (KeysWrong, HTTPError, OSError) as error:
            log.warning("issuer_keys_failed", url=self._url, reason=str(error))
        finally:
            with self._lock:
                if keys is not None:
                    self._keys, self._fetched = keys, self._clock()
                if self._running is done:
                    self._failed, self._running = failed, None
            done.set()


def fetch_keys(url: str) -> dict[str, Key]:
    """Return the keys that stand at a URL, by their ids. Raises KeysWrong and urllib3's errors; follows no redirect."""
    timeout = urllib3.Timeout(total=PATIENCE)
    with urllib3.PoolManager(retries=False, timeout=timeout) as http:
        answer = http.request(
            "GET", url, headers={"Accept": "application/json", "Accept-Encoding": "identity"}, redirect=False,
            preload_content=False,
        )  # fmt: skip
        try:
            if answer.status != 200:
                raise KeysWrong(f"the status is {answer.status}")
            return keys_of(_body(answer))
        finally:
            answer.close()


def _body(answer: urllib3.BaseHTTPResponse) -> bytes:
    end, data = time.monotonic() + PATIENCE, b""
    while piece := answer.read1(_PIECE):
        data += piece
        if len(data) > MOST_BYTES:
            raise KeysWrong(f"it has more than {MOST_BYTES} bytes")
        if time.monotonic() > end:
            raise KeysWrong(f"it took longer than {PATIENCE:g} seconds")
    return data


def keys_of(data: bytes) -> dict[str, Key]:
    """Return the keys of a JSON Web Key Set that signatures can be checked with. Raises KeysWrong where none can."""
    try:
        listed = json.loads(data)["keys"]
        listed = [item for item in listed[:_MOST_KEYS] if isinstance(item, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise KeysWrong("it is no JSON Web Key Set") from None
    keys = {item["kid"]: key for item in listed if isinstance(item.get("kid"), str) and (key := _key(item))}
    if not keys:
        raise KeysWrong("it has no public key with an id that can be used")
    return keys


def _key(item: dict[str, Any]) -> Key | None:
    """Return a key, None for one that is secret, weak, of an unknown kind, or not for signatures."""
    if item.get("kty") not in ("RSA", "EC", "OKP") or item.get("use", "sig") != "sig" or "d" in item:
        return None
    try:
        read = jwt.PyJWK(item)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    if isinstance(read.key, RSAPublicKey):
        return Key(read.key, item.get("alg")) if read.key.key_size >= _LEAST_RSA_BITS else None
    return Key(read.key, read.algorithm_name)
