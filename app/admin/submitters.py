"""Whether a commit names the submitter that the log has for its changeset. Pure.

Only commits of entries that say so of theirs (`Commits.submitters`) are compared: the versions that made other entries
wrote no such trailer, and accepted messages with one.
"""

from storage.git.trailers import CHANGESET_SUBMITTER
from storage.log.records import Decided

SUBMITTERS = f"%(trailers:key={CHANGESET_SUBMITTER},separator=%x09)"
"""The format by which `git log` prints all trailers of a commit that name a submitter, each with its own name."""


def submitter_of(record: Decided) -> str:
    """Return the principal that submitted a changeset; empty where there were no tokens."""
    return record.by.principal if record.by else ""


def misnamed(found: str, submitter: str) -> str | None:
    """Return how the trailers of a commit, as SUBMITTERS printed them, differ from its submitter; None: they do not."""
    expected = f"{CHANGESET_SUBMITTER}: {submitter}" if submitter else ""
    return None if found == expected else f"has the trailer {found!r}, and should have {expected!r}"
