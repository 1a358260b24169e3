"""Which kinds of keys Redis holds, how many of each and what they cost.

`sampled` asks for random keys and costs the same however many there are; `counted` scans everything, a few times in a
run. Either way the bytes of a kind are those of some of its keys, times their number.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable

import redis

from storage.base.batched import batched

_RANDOM = 1000  # keys that `sampled` asks for
_WEIGHED = 500  # keys of a kind that are weighed
# Elements of a hash or a sorted set that MEMORY USAGE looks at; it takes the others for as large.
_ELEMENTS = 200
_AT_ONCE = 500
_ULID = re.compile(r"\b[0-9A-HJKMNP-TV-Z]{26}\b")
# Kinds whose names go on with a path, a hash, a token or the like.
_OPEN_ENDED = ("outcome", "key", "at", "covers", "open_on", "on", "work", "manifest", "object", "cursor", "shared")

Kinds = dict[str, dict[str, int]]
"""By kind: how many `keys` there are, and their `bytes`, estimated."""


def kind_of(key: bytes, repository: str) -> str:
    """Return the kind of a key: its name without what distinguishes it from its like."""
    text = key.decode("latin-1")
    for prefix, shown in ((f"sluice:{{{repository}}}:", ""), (f"{repository}:celery:", "celery ")):
        if text.startswith(prefix):
            return shown + _shape(text.removeprefix(prefix))
    return "other " + _shape(text)


def _shape(name: str) -> str:
    view = ""
    if name.startswith("v:"):
        view, name = "view ", name.split(":", 2)[2]
    first, _, rest = name.partition(":")
    if first == "lock":
        return f"lock:{rest.split(':')[0]}:*"
    if rest and first in _OPEN_ENDED:
        return f"{view}{first}:*"
    return view + _ULID.sub("*", name)


def sampled(client: redis.Redis, repository: str) -> Kinds:
    """Estimate from random keys how many of each kind there are; kinds of few keys may be missed."""
    pipeline = client.pipeline(transaction=False)
    for _ in range(_RANDOM):
        pipeline.randomkey()
    drawn = [key for key in pipeline.execute() if key]
    total = client.dbsize()
    kinds = Counter(kind_of(key, repository) for key in drawn)
    mean = _mean_bytes(client, _grouped(sorted(set(drawn)), repository))
    estimated = {kind: round(total * count / len(drawn)) for kind, count in kinds.items()}
    return {kind: {"keys": count, "bytes": round(count * mean.get(kind, 0))} for kind, count in estimated.items()}


def counted(client: redis.Redis, repository: str) -> Kinds:
    """Count all keys. Redis goes on serving, and what is written meanwhile may be missed or counted twice."""
    names = _grouped(client.scan_iter(count=1000), repository)
    mean = _mean_bytes(client, {kind: _some(keys) for kind, keys in names.items()})
    return {
        kind: {"keys": len(keys), "bytes": round(len(keys) * mean.get(kind, 0))} for kind, keys in sorted(names.items())
    }


def _grouped(keys: Iterable[bytes], repository: str) -> dict[str, list[bytes]]:
    groups: dict[str, list[bytes]] = {}
    for key in keys:
        groups.setdefault(kind_of(key, repository), []).append(key)
    return groups


def _some(keys: list[bytes]) -> list[bytes]:
    return keys if len(keys) <= _WEIGHED else random.Random(len(keys)).sample(keys, _WEIGHED)


def _mean_bytes(client: redis.Redis, groups: dict[str, list[bytes]]) -> dict[str, float]:
    """Return the mean bytes of the keys of each kind, without those that have gone meanwhile."""
    weights: dict[str, list[int]] = {}
    pairs = [(kind, key) for kind, keys in groups.items() for key in keys]
    for some in batched(pairs, _AT_ONCE):
        pipeline = client.pipeline(transaction=False)
        for _, key in some:
            pipeline.memory_usage(key, samples=_ELEMENTS)
        for (kind, _), weight in zip(some, pipeline.execute(), strict=True):
            if weight:
                weights.setdefault(kind, []).append(weight)
    return {kind: sum(sizes) / len(sizes) for kind, sizes in weights.items()}
