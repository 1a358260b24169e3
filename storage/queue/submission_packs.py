"""Reading submission packs back: the changesets in them."""

from collections.abc import Callable, Sequence
from functools import partial

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


# Packs of fewer bytes are read many at once; of larger ones, which have any size, one is in memory at a time.
_SMALL_PACK = 1 << 20


def read_pack(archive: Archive, pack: PackId) -> list[Changeset]:
    """Return a submission pack's changesets, also of a compacted one. Raises Missing, Unavailable and Corrupt."""
    return list(manifest.split(_manifest(archive, pack, partial(archive.bucket.get, pack + ".pack")), pack))


def _manifest(archive: Archive, pack: PackId, read: Callable[[], bytes]) -> bytes:
    """Return the manifest of a pack that `read` reads, or of a compacted one."""
    try:
        data = b""
        for _, _, content in packs.scan(read()):
            data = content  # the manifest is the last object
        return data
    except Missing:
        location = archive.manifests([pack]).get(pack)
        if location is None:
            raise
        stored = archive.bucket.get_range(location.pack + ".pack", location.range.offset, location.range.length)
        return packs.decode(stored)[1]


def read_changesets(archive: Archive, queue: Queue, wanted: Sequence[tuple[ChangesetId, PackId]]) -> list[Changeset]:
    """Return changesets by id and pack, in order: from the copies in Redis, the others from their packs.

    Small packs are read many at once, large ones one after another. Raises Unavailable where a pack is away for a
    moment, and Corrupt where nothing can be had of one.
    """
    ids = {changeset_id for changeset_id, _ in wanted}

    def parse(pack: PackId, read: Callable[[], bytes]) -> list[Changeset]:
        try:
            return [member for member in manifest.split(_manifest(archive, pack, read), pack) if member.id in ids]
        except Missing as error:
            if any(True for _ in archive.bucket.list_keys(pack)):
                raise
            # Neither read nor listed: it is lost, and those whose changesets are in other packs must not wait for it.
            raise CorruptManifest(f"the submission pack {pack} is gone") from error

    def parse_small(pack: PackId) -> list[Changeset] | None:
        """Return what is wanted of a pack, None where it is a large one."""
        try:
            data = archive.bucket.get_range(pack + ".pack", 0, _SMALL_PACK)
        except Missing:
            return parse(pack, partial(archive.bucket.get, pack + ".pack"))
        return parse(pack, lambda: data) if len(data) < _SMALL_PACK else None

    by_id: dict[ChangesetId, Changeset] = {}
    lost: dict[PackId, None] = {}
    for (changeset_id, pack), copy in zip(wanted, queue.manifests([id_ for id_, _ in wanted]), strict=True):
        if copy:
            by_id[changeset_id] = manifest.decode(copy, pack)
        else:
            lost[pack] = None
    small = archive.bucket.map_concurrently(parse_small, lost) if len(lost) > 1 else [None] * len(lost)
    for pack, changesets in zip(lost, small, strict=True):
        if changesets is None:
            changesets = parse(pack, partial(archive.bucket.get, pack + ".pack"))
        by_id |= {changeset.id: changeset for changeset in changesets if changeset.id not in by_id}
    missing = [changeset_id for changeset_id, _ in wanted if changeset_id not in by_id]
    if missing:
        raise CorruptManifest(f"changeset {missing[0]} is not in the manifest of its pack")
    return [by_id[changeset_id] for changeset_id, _ in wanted]
