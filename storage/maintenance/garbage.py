"""Garbage: packs that no entry names, because the process that stored them died or lost the race for the next entry.

Beside them go checkpoints of clone stores whose slices are deleted (storage/clones/checkpoints.py).

A pack is tombstoned by an entry before it is deleted. A pack that was stored for entry S + 1 was made on a snapshot at
S. The tombstoning entry has the number S + 1 or a later one, so no entry can name the pack any more: its batch links
again, and stores its objects under a new name. A late PUT of a tombstoned pack is deleted by the next collection.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice

from storage.base.batched import batched
from storage.base.ids import PackId, is_ulid, ulid_seconds
from storage.clones.checkpoints import delete_forgotten
from storage.commit import Draft, NoEntry, append_directly, check_snapshot_current
from storage.coordination import Lease, LeaseName
from storage.log.entry import Condemn
from storage.lookup.archive import PACK_FILES, delete_packs
from storage.repository import Repository
from storage.view.cursors import CursorName
from storage.view.snapshot import Snapshot
from storage.view.view import is_current

_FOLDER = "packs/"
# Seconds that a look for an import keeps one out, at most.
_LOOK = 1.0
# Packs that one entry condemns.
_AT_ONCE = 1000

_Packs = tuple[list[PackId], list[PackId]]  # what is condemned, and what of it by the entry that was made


@dataclass(slots=True)
class Collected:
    """What one collection did; the next goes on behind it."""

    listed: int = 0
    garbage: list[PackId] = field(default_factory=list)  # that no entry names
    condemned: int = 0  # by this run
    deleted: list[PackId] = field(default_factory=list)
    complete: bool = False  # the listing was followed to its end
    checkpoints: list[str] = field(default_factory=list)  # objects of checkpoints whose slices are deleted


def collect(repo: Repository, dry_run: bool = False) -> Collected:
    """Condemn and delete garbage among the next packs of the listing; with `dry_run` only find it.

    Harmless at any time, beside writers and other collections, and killed at any point. Raises Unavailable.
    """
    collected = Collected()
    epoch = repo.view.epoch()
    if epoch is None or not is_current(epoch):
        return collected  # a view of an older version does not know all that entries name
    if _an_import_is_at_work(repo):
        return collected
    after = repo.view.cursor(CursorName.GARBAGE).get()
    last = after
    for packs, end in _pages(repo, after):
        last = end
        collected.listed += len(packs)
        collected.garbage += _unnamed(repo, [pack for pack in packs if _age(pack) > repo.settings.gc_grace])
    collected.complete = collected.listed < repo.settings.gc_packs
    if collected.complete:
        collected.checkpoints = delete_forgotten(repo, dry_run)
    if not dry_run:
        for some in batched(collected.garbage, _AT_ONCE):
            _condemn_and_delete(repo, some, collected)
        repo.view.cursor(CursorName.GARBAGE).set("" if collected.complete else last)
    return collected


def _an_import_is_at_work(repo: Repository) -> bool:
    """Tell whether somebody imports a history: no entry names its packs yet, however long that takes."""
    with Lease(repo.view, LeaseName.IMPORTING, _LOOK).held() as free:
        return not free


def _pages(repo: Repository, after: str) -> Iterator[tuple[list[PackId], str]]:
    """Yield packs a thousand at a time, each page with the last name in it."""
    # What else somebody has put there is not ours to delete.
    ours = (name for name in repo.bucket.list_keys(_FOLDER, after) if is_ulid(_pack_of(name).removeprefix(_FOLDER)))
    names = islice(ours, repo.settings.gc_packs * len(PACK_FILES))
    page: list[PackId] = []
    last = after
    for pack, files in groupby(names, key=_pack_of):
        last = list(files)[-1]
        page.append(PackId(pack))
        if len(page) == _AT_ONCE:
            yield page, last
            page = []
    if page:
        yield page, last


def _pack_of(name: str) -> str:
    return name.rpartition(".")[0]


def _age(pack: PackId) -> float:
    return time.time() - ulid_seconds(pack.removeprefix(_FOLDER))


def _unnamed(repo: Repository, packs: Sequence[PackId]) -> list[PackId]:
    """Return those that neither entries nor the archive name; what is retired is deleted by compactions."""
    tables = {table.name for table in repo.view.tables()[1] or ()}
    return [pack for pack in repo.view.unnamed_packs(packs) if pack not in tables]


def _condemn_and_delete(repo: Repository, packs: Sequence[PackId], collected: Collected) -> None:
    def build_entry(snapshot: Snapshot) -> Draft[_Packs] | NoEntry[_Packs]:
        # On each snapshot anew: what has been named meanwhile is none of ours.
        unnamed = _unnamed(repo, packs)
        before = repo.view.tombstoned_packs(unnamed)
        check_snapshot_current(repo, snapshot)
        newly = [pack for pack in unnamed if pack not in before]
        result = unnamed, newly
        return Draft(Condemn(condemned=tuple(newly)), result) if newly else NoEntry(result)

    condemned, newly = append_directly(repo, build_entry)
    if condemned:
        kept = delete_packs(repo.bucket, condemned)
        # They are garbage to the next collection as well.
        condemned = [pack for pack in condemned if pack not in kept]
    collected.condemned += len(newly)
    collected.deleted += condemned
