"""What the libraries on the path of a change cost, beside what Python itself or marshmallow alone would.

`python -m benchmarks.libraries`: microseconds of CPU for a changeset of two files of 2 KB in a bulk of 500, the
best of some rounds in which they take turns. Both of a pair give the same.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from isal import isal_zlib

from app.protocol.bodies import load_json
from app.protocol.changesets.schemas import ChangeSchema, ItemSchema
from app.protocol.loading import no_constant, unique
from benchmarks import records
from benchmarks.records import best
from benchmarks.workload import Workload
from storage.base.ids import ObjectId
from storage.base.settings import Settings
from storage.git.objects import FILE_MODE, Kind, Version
from storage.git.packs import encode
from storage.git.threeway import Strategy
from storage.log.entry import encode as encode_entry
from storage.log.manifest import Proposal

CHANGESETS = 500
_VERSIONS = 20  # that deciding, linking and proving a changeset of two files makes, about
# Bytes of the trees and of the commit that it makes, about.
_TREES, _COMMIT = (3700, 3700, 400, 400), 300


@dataclass(frozen=True, slots=True)
class VersionData:
    """A version as a dataclass."""

    mode: int
    oid: ObjectId


@dataclass(frozen=True, slots=True)
class ProposalData:
    """A proposed change as a dataclass."""

    op: str
    path: bytes
    mode: int
    oid: ObjectId | None = None
    range: object = None
    base: ObjectId | None = None
    strategy: Strategy = Strategy.MERGE
    base_mode: int | None = None
    source: bytes | None = None


def run() -> dict[str, dict[str, float]]:
    """Return the figures by what is done, and by what does it."""
    settings = Settings()
    made = list(Workload().changesets(CHANGESETS))
    items = [
        {
            "slice": changeset.slice,
            "message": changeset.message,
            "base": "a" * 40,
            "changes": [{"op": "put", "path": path, "content": text.decode()} for path, text in changeset.files],
        }
        for changeset in made
    ]
    body = json.dumps({"changesets": items}).encode()
    changes: list[dict[str, Any]] = [change for item in items for change in item["changes"]]  # type: ignore[misc]
    item_schema, change_schema = ItemSchema(settings), ChangeSchema(settings)
    texts = [text for changeset in made for _, text in changeset.files]
    deflated = [zlib.compress(text, 1) for text in texts]
    read = partial(json.loads, parse_constant=no_constant, object_pairs_hook=unique)
    assert read(body) == load_json(body, settings)
    assert [change_schema.load(change) for change in changes] == [
        change_schema.load_valid(change) for change in changes
    ]
    assert [isal_zlib.decompress(data) for data in deflated] == texts
    assert [zlib.decompress(isal_zlib.compress(text, 1)) for text in texts] == texts
    sizes = {"zlib": sum(map(len, deflated)), "isal": sum(len(isal_zlib.compress(text, 1)) for text in texts)}
    oid = ObjectId(bytes(20))
    made_trees = [random.Random(size).randbytes(size) for size in (*_TREES, _COMMIT)]
    assert [encode(Kind.TREE, tree, 0)[-len(tree) - 11 :] for tree in made_trees] == [
        zlib.compress(tree, 0) for tree in made_trees
    ]
    entry = encode_entry(records.entry())  # of as many changesets; the rows of a segment are as like one another
    assert zlib.decompress(isal_zlib.compress(entry, 1)) == entry
    return {
        "a body is read": _each({"json": lambda: read(body), "counted, msgspec": lambda: load_json(body, settings)}),
        "objects are checked": _each(
            {
                "marshmallow": lambda: [*map(item_schema.load, items), *map(change_schema.load, changes)],
                "load_valid": lambda: [*map(item_schema.load_valid, items), *map(change_schema.load_valid, changes)],
            }
        ),
        "contents are deflated": _each(
            {
                "zlib": lambda: [zlib.compress(text, 1) for text in texts],
                "isal": lambda: [isal_zlib.compress(text, 1) for text in texts],
            }
        ),
        "bytes of them": {name: round(size / CHANGESETS, 1) for name, size in sizes.items()},
        "contents are inflated": _each(
            {"zlib": lambda: [*map(zlib.decompress, deflated)], "isal": lambda: [*map(isal_zlib.decompress, deflated)]}
        ),
        "trees and a commit are stored": _each(
            {
                "zlib's level 0": lambda: [zlib.compress(tree, 0) for _ in range(CHANGESETS) for tree in made_trees],
                "ours": lambda: [encode(Kind.TREE, tree, 0) for _ in range(CHANGESETS) for tree in made_trees],
            }
        ),
        "an entry is deflated, for a roll and a segment": _each(
            {
                "zlib's level 6": lambda: zlib.compress(entry, 6),
                "zlib's level 1": lambda: zlib.compress(entry, 1),
                "isal": lambda: isal_zlib.compress(entry, 1),
            }
        ),
        "bytes of it": {
            name: round(len(data) / CHANGESETS, 1)
            for name, data in {
                "zlib's level 6": zlib.compress(entry, 6),
                "zlib's level 1": zlib.compress(entry, 1),
                "isal": isal_zlib.compress(entry, 1),
            }.items()
        },
        "proposed changes are made": _each(
            {
                "dataclass": lambda: [
                    ProposalData("put", b"a", FILE_MODE, oid=oid, range=None, base=None, strategy=Strategy.MERGE)
                    for _ in range(2 * CHANGESETS)
                ],
                "struct": lambda: [
                    Proposal("put", b"a", FILE_MODE, oid=oid, range=None, base=None, strategy=Strategy.MERGE)
                    for _ in range(2 * CHANGESETS)
                ],
            }
        ),
        "versions are made": _each(
            {
                "dataclass": lambda: [VersionData(1, oid) for _ in range(_VERSIONS * CHANGESETS)],
                "struct": lambda: [Version(1, oid) for _ in range(_VERSIONS * CHANGESETS)],
            }
        ),
    }


def _each(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the microseconds a changeset of each way."""
    return {name: round(1000 * milliseconds / CHANGESETS, 1) for name, milliseconds in best(ways).items()}


if __name__ == "__main__":
    for step, figures in run().items():
        print(f"{step}: " + ", ".join(f"{name} {value:g}" for name, value in figures.items()))
