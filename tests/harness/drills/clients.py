"""Clients that hold a connection for long: those who a restart would cut off, if anybody."""

from __future__ import annotations

import json
import threading
from collections import Counter
from urllib.parse import quote

import urllib3
from urllib3.exceptions import HTTPError

from tests.harness.drills.tally import Tally, fault_of
from tests.harness.wire import Answer

_WAIT = 20.0  # seconds of a long poll
_SILENCE = 40.0  # a stream says something each quarter of a minute


class Poller(threading.Thread):
    """Waits for a changeset that is held, one long poll behind the other."""

    def __init__(self, tally: Tally, changeset: str) -> None:
        super().__init__(name="poller", daemon=True)
        self._tally = tally
        self._path = f"/v1/changesets/{changeset}?wait={_WAIT:g}&until=landed"
        self._over = threading.Event()

    def run(self) -> None:
        """Ask until it is over."""
        while not self._over.is_set():
            answer = self._tally("GET", self._path)
            if answer.status != 200 or answer.document["status"] != "held":
                self._over.wait(float(answer.retry_after or 0.1))

    def end(self) -> None:
        """Ask no more; the poll that is under way ends with what it waits for."""
        self._over.set()


class Listener(threading.Thread):
    """Reads the stream of events, and takes it up where it ended."""

    def __init__(self, url: str, tally: Tally) -> None:
        super().__init__(name="listener", daemon=True)
        self.landed: Counter[str] = Counter()  # how often an event had a changeset as landed
        self.streams = 0
        self.open = threading.Event()  # set once an event has given it a position
        self._url = url
        self._tally = tally
        self._last = ""
        self._pause = 1.0
        self._over = threading.Event()
        self._http = urllib3.PoolManager(timeout=urllib3.Timeout(connect=2.0, read=_SILENCE), retries=False)
        self._news = threading.Condition()

    def run(self) -> None:
        """Listen until it is over."""
        while not self._over.is_set():
            self._listen()
            self._over.wait(self._pause)

    def await_landed(self, changesets: set[str], timeout: float) -> set[str]:
        """Wait until events had all of these as landed; return those that they had not."""
        with self._news:
            self._news.wait_for(lambda: changesets <= self.landed.keys(), timeout)
            return changesets - self.landed.keys()

    def end(self) -> None:
        """Listen no more after the next word."""
        self._over.set()

    def _listen(self) -> None:
        after = f"?after={quote(self._last)}" if self._last else ""
        try:
            answer = self._http.request("GET", f"{self._url}/v1/events{after}", preload_content=False)
            try:
                self._read(answer)
            finally:
                answer.close()
        except HTTPError as error:
            if not self._over.is_set():  # else its stack is being stopped
                self._tally.breach(f"the stream of events was cut: {type(error).__name__}: {error}")

    def _read(self, answer: urllib3.BaseHTTPResponse) -> None:
        if answer.status != 200:
            refused = Answer(answer.status, answer.data, answer.headers.get("Retry-After", ""))
            wrong = fault_of(refused)
            if wrong or answer.status not in {429, 503}:
                self._tally.breach(f"the stream of events: {wrong or refused.data[:200]!r}")
            return
        self.streams += 1
        text = b""
        for piece in answer.stream(1 << 16):
            *whole, text = (text + piece).split(b"\n\n")
            for block in whole:
                self._take(dict(line.split(": ", 1) for line in block.decode().splitlines() if ": " in line))
            if self._over.is_set():
                return
        if text:
            self._tally.breach(f"the stream of events ended inside of an event: {text[:200]!r}")

    def _take(self, event: dict[str, str]) -> None:
        self._last = event.get("id", self._last)
        self._pause = float(event.get("retry", 1000.0 * self._pause)) / 1000.0
        self.open.set()
        if event.get("event") == "landed":
            with self._news:
                self.landed[json.loads(event["data"])["id"]] += 1
                self._news.notify_all()
