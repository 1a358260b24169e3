"""What the logs of a stack say of violations, before the stack is thrown away."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

_ID = re.compile(r"\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b")
_MOST = 200


def lines_about(logs: Path, texts: Iterable[str]) -> Iterator[str]:
    """Yield the lines of all logs that name a request, a token or a changeset of these texts: 200 at most."""
    ids = {each for text in texts for each in _ID.findall(text)}
    yield from islice(_lines(logs, ids) if ids else (), _MOST)


def _lines(logs: Path, ids: set[str]) -> Iterator[str]:
    for file in sorted(logs.glob("*.log*")):
        with file.open(errors="replace") as lines:
            for line in lines:
                if not ids.isdisjoint(_ID.findall(line)):
                    yield f"{file.name}: {line.rstrip()}"
