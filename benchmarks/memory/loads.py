"""Loads that are as heavy as the limits of the default settings allow, each for other processes."""

from __future__ import annotations

import base64
import itertools
import json
import random
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from typing import Any
from urllib.parse import urlsplit

from app.stack.stack import Stack
from benchmarks.client import Client, Refused, accepted
from storage.base.settings import Settings
from storage.repository import Repository

# What JSON takes beside the contents of a body.
_REST = 1 << 20
# Seconds that readers stay. A store that is restarted would be a fault, so no load takes longer than this to land.
_STAY, _LANDS = 20.0, 900.0
# A body that finds no room may be cut off while it is sent, and is sent again.
_TRIES = 50
Change = dict[str, Any]


class Loads:
    """The loads on one stack, which has a slice of everything. `scale` below 1 makes each of them smaller."""

    def __init__(self, stack: Stack, scale: float = 1.0, seed: int = 1) -> None:
        self.stack = stack
        self.settings: Settings = stack.settings
        url = urlsplit(stack.url)
        self.address = (url.hostname or "", url.port or 0)
        self._scale = scale
        self._random = random.Random(seed)
        self._names = itertools.count()
        with closing(Client(*self.address)) as client:
            client.post("/v1/slices", {"name": "everything", "paths": ["/"]})

    def all(self) -> dict[str, Callable[[], None]]:
        """Return the loads by what they are, in the order in which they are run."""
        return {
            "large bodies": self.large_bodies,
            "bulks of most changes": self.many_changes,
            "batches of large contents": self.large_contents,
            "the same, of which Redis has no manifests": self.large_contents_from_packs,
            "merges of the largest files": self.merges,
            "a directory of most files": self.large_directory,
            "streams, long polls, large answers": self.readers,
        }

    def large_bodies(self) -> None:
        """Send bodies as large as one may be, on more connections than may send them at once."""
        most = self.settings.max_body_bytes - _REST
        each = min(self.settings.max_blob_bytes, most // 2)
        bodies = [
            [self._changeset([self._put(each) for _ in range(most // each)])] for _ in range(self._count(8, least=2))
        ]
        self._submit(bodies)

    def many_changes(self) -> None:
        """Send bulk requests with as many changesets and changes as they may have."""
        count = self._count(self.settings.max_bulk_changesets)
        each = min(self.settings.max_changes, self.settings.max_request_changes // self.settings.max_bulk_changesets)
        bodies = [
            [self._changeset([self._put(300) for _ in range(each)]) for _ in range(count)]
            for _ in range(self._count(4))
        ]
        self._submit(bodies)

    def large_contents(self) -> None:
        """Send changesets of which a few have all the bytes that a batch may have."""
        self._submit(self._large_contents())

    def large_contents_from_packs(self) -> None:
        """Have the same claimed when every manifest has to be read from its pack, which are as large as they can be."""
        self.stack.halt("worker")
        with closing(Client(*self.address)) as client:
            for body in self._large_contents():
                accepted(client.post("/v1/changesets", {"changesets": body}))
            Repository(self.settings).queue.drop_manifests()
            self.stack.resume("worker")
            self._await_all(client)

    def merges(self) -> None:
        """Have files merged that are as large as one may be, by changesets of one batch."""
        size, count = self.settings.max_merge_bytes - 4096, self._count(8)
        text = self._lines(size)
        names = [self._name() for _ in range(count)]
        self._submit([[self._changeset([_put(name, text)])] for name in names])
        with closing(Client(*self.address)) as client:
            base = client.get("/v1/head")["main"]["commit"]
            for edit in (lambda t: "first\n" + t, lambda t: t + "last\n"):
                self._submit(
                    [[self._changeset([_put(name, edit(text), based=False)], base=base)] for name in names], client
                )

    def large_directory(self) -> None:
        """Fill one directory, and have a batch of changesets that each write its tree anew."""
        files, each = self._count(40_000), 2000
        with closing(Client(*self.address)) as client:
            for _ in range(-(-files // each)):
                self._submit([[self._changeset([self._put(20, "wide/") for _ in range(each)])]], client)
        self._submit([[self._changeset([self._put(20, "wide/")]) for _ in range(self._count(256))]])

    def readers(self) -> None:
        """Read as many streams and large answers as may be open, and wait for a thousand changesets beside them."""
        large = self._name()
        self._submit([[self._changeset([_put(large, self._text(self.settings.max_blob_bytes))])]])
        with closing(Client(*self.address)) as client:
            [waits] = accepted(client.post("/v1/changesets", {"changesets": [self._held()]}))
        kinds = {
            "/v1/events": self._count(self.settings.max_streams),
            f"/v1/changesets/{waits['id']}?wait=50": self._count(1000),
            f"/v1/slices/everything/files/{large}": self._count(16),
            f"/v1/commits?limit={self.settings.max_page}": self._count(16),
        }
        with ExitStack() as stack:
            for path, count in kinds.items():
                for _ in range(count):
                    sock = stack.enter_context(socket.create_connection(self.address))
                    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            threading.Event().wait(_STAY * self._scale)

    def _large_contents(self) -> list[list[Change]]:
        each = self.settings.max_body_bytes // 2 // 64
        return [
            [self._changeset([self._put(each)]) for _ in range(60)]
            for _ in range(self._count(8, least=2))
        ]  # fmt: skip

    def _submit(self, bodies: Sequence[list[Change]], client: Client | None = None) -> None:
        """Send each of the bodies on a connection of its own, and wait until all of it has landed."""
        encoded = [json.dumps({"changesets": body}).encode() for body in bodies]

        def send(body: bytes) -> None:
            for _ in range(_TRIES):
                with closing(Client(*self.address)) as sender, suppress(OSError):
                    accepted(json.loads(sender.send("/v1/changesets", body)))
                    return
            raise Refused(f"a body of {len(body):,} bytes was cut off {_TRIES} times")

        with ThreadPoolExecutor(len(bodies)) as pool:
            list(pool.map(send, encoded))
        with closing(Client(*self.address)) as asking:
            self._await_all(client or asking)

    def _await_all(self, client: Client) -> None:
        for _ in range(int(_LANDS)):
            if not client.get("/v1/head")["pending"] and not self._queued():
                return
            threading.Event().wait(1.0)
        raise TimeoutError(f"not all has landed within {_LANDS:g} seconds")

    def _queued(self) -> int:
        return Repository(self.settings).queue.length()

    def _held(self) -> Change:
        return self._changeset([self._put(20)]) | {"hold": True}

    def _changeset(self, changes: Sequence[Change], **more: Any) -> Change:
        return {"slice": "everything", "message": "Take memory", "changes": list(changes), **more}

    def _put(self, size: int, folder: str = "") -> Change:
        return _put(self._name(folder), self._text(size))

    def _name(self, folder: str = "") -> str:
        number = next(self._names)
        return f"{folder}f{number}" if folder else f"d{number // 1000}/{number // 50}/f{number}"

    def _count(self, most: int, least: int = 1) -> int:
        return max(least, int(most * self._scale))

    def _text(self, size: int) -> str:
        """Return text that does not shrink by more than a quarter."""
        return base64.b64encode(self._random.randbytes(size * 3 // 4)).decode()

    def _lines(self, size: int) -> str:
        text = self._text(size * 60 // 61)
        return "\n".join(text[at : at + 60] for at in range(0, len(text), 60)) + "\n"


def _put(path: str, content: str, based: bool = True) -> Change:
    return {"op": "put", "path": path, "content": content} | ({"base": None} if based else {})
