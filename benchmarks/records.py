"""What it costs to read and write the log's records: as dictionaries, as frozen dataclasses, and by msgspec.

`python -m benchmarks.records`: milliseconds of CPU, the best of some rounds, in which the three take turns. Before it
is measured, each writes the bytes of an entry of 500 changesets again.
"""

from __future__ import annotations

import dataclasses
import json
import random
import time
from collections.abc import Callable
from typing import Any

from msgspec.structs import fields

from storage.base.ids import ChangesetId, PackId, Seq, SliceId
from storage.log.entry import NO_HASH, Commits, decode, encode, encode_record, placed
from storage.log.records import Decided, Outcome, RecordedChange, Status, decode_outcome

CHANGESETS, CHANGES, OUTCOMES, ROUNDS = 500, 4, 10_000, 7

_NAMES = sorted(field.name for field in fields(Decided))
DecidedData = dataclasses.make_dataclass(
    "DecidedData",
    [(name, Any, dataclasses.field(default=None)) for name in _NAMES],
    frozen=True,
    slots=True,
)
OutcomeData = dataclasses.make_dataclass(
    "OutcomeData",
    [(field.name, Any, dataclasses.field(default=None)) for field in fields(Outcome)],
    frozen=True,
    slots=True,
)
ChangeData = dataclasses.make_dataclass(
    "ChangeData", ["path", "mode", "oid", ("place", Any, None)], frozen=True, slots=True
)


def entry() -> Commits:
    """Return an entry of commits."""
    numbers = random.Random(1)

    def oid() -> str:
        return f"{numbers.getrandbits(160):040x}"

    def record(number: int) -> Decided:
        files = [(f"src/module{numbers.randrange(100)}/file{i}.py", i * 5000) for i in range(CHANGES)]
        key = {"key": f"k{number}", "fingerprint": oid()} if number % 2 else {}
        return Decided(
            id=ChangesetId(f"01ARZ3NDEKTSV4RRFFQ{number:07}"),
            slice=SliceId("01ARZ3NDEKTSV4RRFFQ69G5FA3"),
            pack=PackId("inbox/01ARZ3NDEKTSV4RRFFQ69G5FAV-500"),
            status=Status.COMMITTED,
            commit=oid(),
            saw=oid(),
            changes=tuple(RecordedChange(path, 0o100644, oid(), at, 4000, 9000) for path, at in files),
            **key,  # type: ignore[arg-type]
        )

    decided = tuple(record(number) for number in range(CHANGESETS))
    made = Commits(packs=(), decided=decided, tip=oid(), root=oid(), time=1, committed=CHANGESETS)
    return placed(made, Seq(7), NO_HASH, "01ARZ3NDEKTSV4RRFFQ69G5FB1")


def dumped(value: object) -> bytes:
    """Return JSON in the spelling of entries."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def data_of(data: bytes) -> tuple[dict[str, Any], list[Any]]:
    """Read an entry into dataclasses; what is not of a changeset stays in a dictionary."""
    read = json.loads(data)
    decided = [
        DecidedData(
            **record | {"changes": [ChangeData(path, mode, oid, at) for path, mode, oid, *at in record["changes"]]}
        )
        for record in read.pop("decided")
    ]
    return read, decided


def from_data(frame: dict[str, Any], decided: list[Any]) -> bytes:
    """Return the bytes of what `data_of` read."""
    records = []
    for changeset in decided:
        record = {name: value for name in _NAMES if (value := getattr(changeset, name)) is not None}
        record["changes"] = [[change.path, change.mode, change.oid, *change.range] for change in changeset.changes]
        records.append(record)
    return dumped(frame | {"decided": records})


def best(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the milliseconds of each call, which take turns."""
    fastest = dict.fromkeys(calls, float("inf"))
    for _ in range(ROUNDS):
        for name, call in calls.items():
            before = time.process_time()
            call()
            fastest[name] = min(fastest[name], time.process_time() - before)
    return {name: round(1000 * seconds, 2) for name, seconds in fastest.items()}


def run() -> dict[str, dict[str, float]]:
    """Return what each step takes, as each of the three."""
    made = entry()
    data = encode(made)
    as_json, as_data = json.loads(data), data_of(data)
    assert dumped(as_json) == from_data(*as_data) == encode(decode(data)) == data
    rows = [encode_record(Outcome.of(record, 7, i)).encode() for i, record in enumerate(made.decided)]
    rows *= OUTCOMES // CHANGESETS
    return {
        "an entry is read": best(
            {"dict": lambda: json.loads(data), "dataclass": lambda: data_of(data), "msgspec": lambda: decode(data)}
        ),
        "an entry is written": best(
            {"dict": lambda: dumped(as_json), "dataclass": lambda: from_data(*as_data), "msgspec": lambda: encode(made)}
        ),
        "10,000 outcomes are read": best(
            {
                "dict": lambda: [json.loads(row) for row in rows],
                "dataclass": lambda: [OutcomeData(**json.loads(row)) for row in rows],
                "msgspec": lambda: [decode_outcome(row) for row in rows],
            }
        ),
    }


if __name__ == "__main__":
    for step, figures in run().items():
        print(f"{step}: " + ", ".join(f"{name} {value:g} ms" for name, value in figures.items()))
