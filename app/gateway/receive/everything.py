"""The slice of everything, in which pushes to the whole repository are submitted: made where there is none."""

from __future__ import annotations

from storage.base.errors import Refused
from storage.log.records import Actor
from storage.operations.slices import Defined, define_many
from storage.repository import Repository
from storage.view.snapshot import Slice

NAME = "everything"
ROOT_PATH = b"/"
_LOOKED_AT = 100


class NoSliceOfEverything(Refused):
    """No slice is of everything, and none can be made."""


def slice_of_everything(repo: Repository, actor: Actor | None = None) -> Slice:
    """Return the oldest slice that has all paths; one is defined for `actor` where there is none.

    Raises NoSliceOfEverything where another slice has its name, and Unavailable.
    """
    for slice_ in repo.view.slices(repo.view.slices_covering(b"", "", _LOOKED_AT)):
        if slice_.paths == {ROOT_PATH}:
            return slice_
    [outcome] = define_many(repo, [(NAME, [ROOT_PATH.decode()])], actor)
    if isinstance(outcome, Defined):
        return outcome.slice
    raise NoSliceOfEverything(f"the slice {outcome.other.name} has not all paths: define one of / under another name")
