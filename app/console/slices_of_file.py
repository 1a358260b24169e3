"""`sluice slice create --from`: the slices of a file, a thousand by each request."""

import json
from collections.abc import Sequence
from typing import BinaryIO

from rich.text import Text

from app.client.api_client import Client, Json, ProblemError
from app.console.failures import failure
from app.console.options import console, emit, end, tell
from app.console.progress import progress_bars
from storage.base.batched import batched_by_size
from storage.base.errors import BadInput
from storage.base.progress import Progress
from storage.base.settings import Settings

_MADE, _THERE = 201, 200


class NoSlices(BadInput):
    """A file does not have a slice on each line."""


def read_slices(source: BinaryIO) -> list[Json]:
    """Return name and paths of each line of a file. Raises NoSlices."""
    slices = []
    for number, line in enumerate(source, 1):
        if not line.strip():
            continue
        try:
            slice_ = json.loads(line)
            slices.append({"name": slice_["name"], "paths": slice_["paths"]})
        except (ValueError, TypeError, KeyError):
            raise NoSlices(f"{source.name}: line {number} is no JSON object with a name and paths") from None
    if not slices:
        raise NoSlices(f"{source.name} has no slices")
    return slices


def create_many(client: Client, slices: Sequence[Json], as_json: bool) -> None:
    """Create slices and print what has become of them; ends with an exit code of those that were refused."""
    with progress_bars() as progress:
        outcomes = _outcomes(client, slices, progress)
    codes = []
    for slice_, outcome in zip(slices, outcomes, strict=True):
        if as_json:
            emit(outcome)
        if outcome["status"] in {_MADE, _THERE}:
            continue
        refusal = failure(ProblemError(outcome["status"], outcome["problem"]))
        codes.append(refusal.code)
        if not as_json:
            tell(f"{slice_['name']}: {outcome['problem'].get('detail') or outcome['problem']['title']}", "red")
    if not as_json:
        made, there = (sum(outcome["status"] == status for outcome in outcomes) for status in (_MADE, _THERE))
        text = f"made {made:,} slices; there before: {there:,}; refused: {len(codes):,}"
        console.print(Text(text))
    end(*codes)


def _outcomes(client: Client, slices: Sequence[Json], progress: Progress) -> list[Json]:
    outcomes: list[Json] = []
    for some in batched_by_size(slices, _count_paths, Settings.max_bulk_paths, Settings.max_bulk_slices):
        progress("slices", len(outcomes), len(slices))
        outcomes += client.create_slices(some)
    progress("slices", len(outcomes), len(slices))
    return outcomes


def _count_paths(slice_: Json) -> int:
    return len(slice_["paths"]) if isinstance(slice_["paths"], list) else 1
