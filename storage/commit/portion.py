"""How much of what was claimed one batch takes: as many changesets as its bytes allow. Pure.

What a changeset makes is known beforehand, near enough: each directory on its paths, whole. So what would not fit is
left to the next batch before its bases are read, and every slice gets its turn: changesets of one that works in a large
directory do not keep small ones of others waiting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from storage.base.ids import ChangesetId, SliceId
from storage.log.manifest import Changeset


def portion(changesets: Sequence[Changeset], sizes: Mapping[bytes, int], most: int) -> list[Changeset]:
    """Return those of `changesets` that one batch takes, in their order: one at least.

    `sizes` are the bytes of the head's directories by path, as `trees.sizes` returns them. Slices take turns, first the
    one whose first changeset has the lowest id; none goes on behind a changeset that does not fit.
    """
    queues: dict[SliceId, list[Changeset]] = {}
    for changeset in changesets:
        queues.setdefault(changeset.slice, []).append(changeset)
    turns = sorted(queues.values(), key=lambda queue: queue[0].id)
    taken: set[ChangesetId] = set()
    total = at = 0
    while turns:
        following = []
        for queue in turns:
            cost = _cost(queue[at], sizes)
            if taken and total + cost > most:
                continue
            taken.add(queue[at].id)
            total += cost
            if at + 1 < len(queue):
                following.append(queue)
        turns, at = following, at + 1
    return [changeset for changeset in changesets if changeset.id in taken]


def _cost(changeset: Changeset, sizes: Mapping[bytes, int]) -> int:
    """Return the bytes of the directories on a changeset's paths; those that are new cost next to nothing."""
    directories = {b""}
    for change in changeset.changes:
        end = change.path.rfind(b"/") + 1
        while end and change.path[:end] not in directories:
            directories.add(change.path[:end])
            end = change.path.rfind(b"/", 0, end - 1) + 1
    return sum(sizes.get(directory, 0) for directory in directories)
