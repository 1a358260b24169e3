"""Reading submission packs back: the changesets in them."""

from collections.abc import Sequence

from storage.backends.bucket import Missing
from storage.base.errors import Corrupt
from storage.base.ids import ChangesetId, PackId
from storage.git import packs
from storage.log import manifest
from storage.log.manifest import Changeset, CorruptManifest
from storage.lookup.archive import Archive
from storage.queue.queue import Queue

# What is raised of a pack of which nothing can be had, while the store answers.
UNREADABLE = (Missing, Corrupt)


def read_pack(archive: Archive, pack: PackId) -> list[Changeset]:
    """Return a submission pack's changesets, also of a compacted one. Raises Missing, Unavailable and Corrupt."""
    try:
        data = b""
        for _, _, content in packs.scan(archive.bucket.get(pack + ".pack")):
            data = content  # the manifest is the last object
    except Missing:
        location = archive.manifests([pack]).get(pack)
        if location is None:
            raise
        stored = archive.bucket.get_range(location.pack + ".pack", location.range.offset, location.range.length)
        _, data = packs.decode(stored)
    return manifest.split(data, pack)


def read_changesets(archive: Archive, queue: Queue, wanted: Sequence[tuple[ChangesetId, PackId]]) -> list[Changeset]:
    """Return changesets by id and pack, in order: from the copies in Redis, the others from their packs, read at once.

    Raises Unavailable where a pack is away for a moment, and Corrupt where nothing can be had of one.
    """

    def read(pack: PackId) -> list[Changeset]:
        try:
            return read_pack(archive, pack)
        except Missing as error:
            if any(True for _ in archive.bucket.list_keys(pack)):
                raise
            # Neither read nor listed: it is lost, and those whose changesets are in other packs must not wait for it.
            raise CorruptManifest(f"the submission pack {pack} is gone") from error

    by_id: dict[ChangesetId, Changeset] = {}
    lost: dict[PackId, None] = {}
    for (changeset_id, pack), copy in zip(wanted, queue.manifests([id_ for id_, _ in wanted]), strict=True):
        if copy:
            by_id[changeset_id] = manifest.decode(copy, pack)
        else:
            lost[pack] = None
    for changesets in archive.bucket.map_concurrently(read, lost):
        by_id |= {changeset.id: changeset for changeset in changesets if changeset.id not in by_id}
    missing = [changeset_id for changeset_id, _ in wanted if changeset_id not in by_id]
    if missing:
        raise CorruptManifest(f"changeset {missing[0]} is not in the manifest of its pack")
    return [by_id[changeset_id] for changeset_id, _ in wanted]
