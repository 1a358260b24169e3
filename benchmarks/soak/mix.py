"""What the soak's writers do: rewrite the files of a repository that keeps its size, in every way the API has.

Most changesets rewrite two files that nobody else has under way. The others are stacks, changesets that are held and
then released or abandoned, pairs that collide (and are resolved or abandoned, so that no conflict stays open), pairs
that Git merges, repeats under an idempotency key, and bulk requests.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from math import gcd
from typing import Any
from zlib import crc32

from benchmarks.soak.wire import Wire
from benchmarks.workload import Workload, text

Json = dict[str, Any]

# Of a hundred operations so many are of each kind, in a fixed order that spreads them; the rest is plain.
SHARES = {"stack": 5, "hold": 4, "collide": 4, "merge": 3}
_DEPTH = 3  # changesets in a stack
_BULK = 50  # changesets in a bulk request
_HELD = 20  # changesets that are held at any time
_UNSETTLED = 20  # of pairs, before the oldest is looked at
_KEYED = 2  # every so many plain changesets have an idempotency key
_REPEATED = 10  # and of these, every so many is sent twice
_VARIANTS = 256  # texts, each of which is made unique by its first line
_SPECIAL = 400  # files at the end of the repository that pairs use


@dataclass
class Tally:
    """What was done so far. Safe for threads."""

    counts: Counter[str] = field(default_factory=Counter)
    latencies: dict[str, list[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, **counts: int) -> None:
        """Add to the counts."""
        with self._lock:
            self.counts.update(counts)

    def time(self, name: str, seconds: float) -> None:
        """Note a latency."""
        with self._lock:
            self.latencies.setdefault(name, []).append(seconds)

    def take(self) -> tuple[dict[str, int], dict[str, list[float]]]:
        """Return the counts, and the latencies noted since this was last called."""
        with self._lock:
            latencies, self.latencies = self.latencies, {}
            return dict(self.counts), latencies


class Mix:
    """The operations, and what they share. Safe for threads; each brings its wire."""

    def __init__(self, workload: Workload, tally: Tally, run: str, bulk: int = 0) -> None:
        """`run` makes contents and keys differ from another run's; `bulk` of about a hundred operations are in bulk."""
        self._workload, self.tally, self._run = workload, tally, run
        self.base = ""  # the newest commit that was seen
        self._number = itertools.count()
        self._pairs = itertools.count()
        # Each slice is whole top-level directories.
        self._slice_of = {path: name for name, paths in workload.slices().items() for path in paths}
        self._variants = [text(f"{workload.seed}/soak/{i}", workload.change_bytes).decode() for i in range(_VARIANTS)]
        self._held: deque[str] = deque()
        self._unsettled: deque[str] = deque()
        self._turn = itertools.count()
        self._order = _spread(SHARES | {"bulk": bulk})

    def next(self) -> tuple[int, Callable[[Wire], str]]:
        """Return the next operation and how many changesets it submits; it returns one's id, to be waited for."""
        name = self._order[next(self._turn) % len(self._order)]
        counts = {"stack": _DEPTH, "collide": 2, "merge": 2, "bulk": _BULK}
        return counts.get(name, 1), getattr(self, f"_{name}")

    def settle(self, wire: Wire) -> None:
        """Let go of everything that is held, and close every conflict."""
        while self._held:
            self._let_go(wire)
        while self._unsettled:
            self._settle_one(wire)

    # --- the operations -----------------------------------------------------------------------------------------------

    def _plain(self, wire: Wire) -> str:
        number = next(self._number)
        body = self._rewrite(number, self.base)
        key = f"{self._run}-{number}" if number % _KEYED == 0 else ""
        made = self._submit(wire, body, key)
        if key and number % (_KEYED * _REPEATED) == 0:
            again = _post(wire, body, key)
            assert again == made, f"the key {key} is of {made}, and gave {again}"
            self.tally.add(repeated=1)
        return made

    def _stack(self, wire: Wire) -> str:
        number, base = next(self._number), self.base
        for depth in range(_DEPTH):
            base = self._submit(wire, self._rewrite(number, base, f"/{depth}"))
        return base

    def _hold(self, wire: Wire) -> str:
        body = self._rewrite(next(self._number), self.base)
        self._held.append(self._submit(wire, body | {"hold": True}))
        return self._let_go(wire) if len(self._held) > _HELD else ""

    def _collide(self, wire: Wire) -> str:
        path, base, number = self._special(), self.base, next(self._pairs)
        for side in ("a", "b"):
            made = self._submit(wire, self._put(path, self._text(f"collide/{number}/{side}"), base))
        self._unsettle(wire, made)
        return ""

    def _merge(self, wire: Wire) -> str:
        path, base, number = self._special(), self.base, next(self._pairs)
        lines = wire.get(f"/v1/slices/everything/files/{path}?commit={base}").decode().splitlines(keepends=True)
        first = [f"# {self._run} {number} first\n", *lines[1:]]
        last = [*lines[:-1], f"# {self._run} {number} last\n"]
        for side in (first, last):
            made = self._submit(wire, self._put(path, "".join(side), base))
        self._unsettle(wire, made)
        return made

    def _bulk(self, wire: Wire) -> str:
        bodies = [self._rewrite(next(self._number), self.base) for _ in range(_BULK)]
        answer = wire.post("/v1/changesets", {"changesets": bodies})
        for outcome in answer["outcomes"]:
            assert outcome["status"] == 202, outcome
        self.tally.add(submitted=_BULK, bytes=sum(map(_size, bodies)))
        return str(answer["outcomes"][-1]["changeset"]["id"])

    # --- their parts --------------------------------------------------------------------------------------------------

    def _let_go(self, wire: Wire) -> str:
        """Release the one that has been held longest, or abandon it, in turns."""
        changeset = self._held.popleft()
        if next(self._pairs) % 4:
            wire.post(f"/v1/changesets/{changeset}/release", {})
            self.tally.add(released=1)
            return changeset
        wire.post(f"/v1/changesets/{changeset}/abandon", {})
        self.tally.add(abandoned=1)
        return ""

    def _unsettle(self, wire: Wire, changeset: str) -> None:
        self._unsettled.append(changeset)
        # Settling one may leave another to be looked at.
        while len(self._unsettled) > _UNSETTLED:
            self._settle_one(wire)

    def _settle_one(self, wire: Wire) -> None:
        """Look at the oldest of those that may collide; one that did is resolved, or abandoned, in turns."""
        changeset = self._unsettled.popleft()
        while (document := wire.get(f"/v1/changesets/{changeset}?wait=30"))["status"] == "queued":
            continue
        if document["status"] != "conflicted":
            return
        self.tally.add(conflicted=1)
        turn = next(self._pairs) % 3
        if turn == 2:
            wire.post(f"/v1/changesets/{changeset}/abandon", {})
            self.tally.add(closed=1)
            return
        take = {"take": ("ours", "theirs")[turn]}
        paths = {conflict["path"]: take for conflict in document["conflicts"]}
        self._unsettled.append(wire.post(f"/v1/changesets/{changeset}/resolve", {"paths": paths})["id"])
        self.tally.add(submitted=1, resolved=1)

    def _submit(self, wire: Wire, body: Json, key: str = "") -> str:
        made = _post(wire, body, key)
        self.tally.add(submitted=1, bytes=_size(body))
        return made

    def _rewrite(self, number: int, base: str, version: str = "") -> Json:
        """Return a changeset of the `number`-th pair of files: neighbours, and the next number is in another slice."""
        pairs = (self._workload.files - _SPECIAL) // 2
        # A stride that has no divisor in common with the number of pairs visits each before any again.
        index = 2 * (number * _coprime(pairs) % pairs)
        changes = [
            {"op": "put", "path": self._workload.path(i), "content": self._text(f"{number}/{i}{version}")}
            for i in (index, index + 1)
        ]
        return self._body(self._workload.path(index), base, changes)

    def _put(self, path: str, content: str, base: str) -> Json:
        return self._body(path, base, [{"op": "put", "path": path, "content": content}])

    def _body(self, path: str, base: str, changes: list[Json]) -> Json:
        name = self._slice_of[path.split("/")[0] + "/"]
        return {"slice": name, "base": base, "message": f"Soak {self._run}", "changes": changes}

    def _special(self) -> str:
        return self._workload.path(self._workload.files - 1 - next(self._pairs) % _SPECIAL)

    def _text(self, name: str) -> str:
        return f'"""{self._run}/{name}"""\n{self._variants[crc32(name.encode()) % _VARIANTS]}'


def _post(wire: Wire, body: Json, key: str) -> str:
    """Send one changeset to its slice and return its id."""
    own = {name: value for name, value in body.items() if name != "slice"}
    return str(wire.post(f"/v1/slices/{body['slice']}/changesets", own, key)["id"])


def _size(body: Json) -> int:
    return sum(len(change["content"]) for change in body["changes"])


@cache
def _coprime(pairs: int) -> int:
    # About the golden section of them: neighbours in time are far from each other in the tree.
    return next(stride for stride in range(round(pairs * 0.618), pairs + 2) if gcd(stride, pairs) == 1)


def _spread(shares: dict[str, int]) -> list[str]:
    """Return the kinds of a hundred operations, each kind evenly spread over them."""
    slots = [((i + 0.5) / count, name) for name, count in shares.items() for i in range(count)]
    plain = 100 - len(slots)
    slots += [((i + 0.5) / plain, "plain") for i in range(plain)]
    return [name for _, name in sorted(slots)]
