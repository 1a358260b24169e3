"""What a process that runs has logged so far."""

from __future__ import annotations

import json
from typing import Any


def logged(text: str) -> list[dict[str, Any]]:
    """Return the events of a log, one a line; what follows the last whole line is still being written."""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
