"""What a verification finds, and what it knows of each changeset that was decided."""

from dataclasses import dataclass, field
from typing import NamedTuple

from storage.log.records import Status

_MOST = 100


@dataclass(slots=True)
class Findings:
    """What was checked, and every difference that was found."""

    entries: int = 0
    changesets: int = 0
    committed: int = 0
    packs: int = 0
    queued: int = 0
    differences: list[str] = field(default_factory=list)

    def differ(self, *texts: str) -> None:
        """Note differences."""
        self.differences += texts[: _MOST - len(self.differences)]


class Decided(NamedTuple):
    """What is checked of an outcome."""

    status: Status
    commit: str | None
    position: int
    submitter: str | None  # whom its commit has to name, empty: nobody; None: an older version made its entry
