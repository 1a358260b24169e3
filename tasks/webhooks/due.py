"""Which webhooks have something to be told, and noting in the log how far they have come."""

from __future__ import annotations

import time
from collections.abc import Mapping

from storage.coordination import Lease, LeaseName
from storage.log.events import Position
from storage.operations import webhooks
from storage.queue import Progress
from storage.repository import Repository
from storage.view.webhooks import durable_positions, read_webhooks
from storage.webhooks.records import Webhook

# Entries that a webhook passes over before that is noted in the log though it was told nothing: reading them again
# after a loss of Redis would take long.
_PASSED = 1000


def due(repo: Repository) -> list[str]:
    """Return the webhooks for which a run has something to do now, and no message is on its way.

    Raises ViewAbsent and RedisError.
    """
    there = read_webhooks(repo.view) if repo.settings.webhook_key else []
    if not there:
        return []
    ids = [webhook.id for webhook in there]
    applied, now = repo.view.head().applied, time.time()
    known, wanted = repo.deliveries.progress(ids), repo.deliveries.have_wanted(ids)
    found = [
        webhook.id
        for webhook, progress, is_wanted in zip(there, known, wanted, strict=True)
        if is_wanted or (webhook.disabled is None and _is_behind(webhook, progress, applied, now))
    ]
    return [each for each in found if repo.deliveries.ask(each)]


def _is_behind(webhook: Webhook, progress: Progress | None, applied: int, now: float) -> bool:
    return progress is None or (progress.seq <= applied and not progress.wait(webhook.url, now))


def note_positions(repo: Repository) -> int:
    """Note in the log how far webhooks have come, where that has moved, once an interval; return of how many.

    Raises Unavailable and RedisError.
    """
    if not Lease(repo.view, LeaseName.CURSORS, repo.settings.webhook_cursor_interval).take_turn():
        return 0
    durable = durable_positions(repo.view)
    if not durable:
        return 0
    ids = list(durable)
    known = dict(zip(ids, repo.deliveries.progress(ids), strict=True))
    moved = _moved(durable, {each: progress for each, progress in known.items() if progress is not None})
    return webhooks.note(repo, moved) if moved else 0


def _moved(durable: Mapping[str, Position], known: Mapping[str, Progress]) -> dict[str, Position]:
    """Return the positions to note: of webhooks that were told something, or passed over many entries.

    An entry that notes positions is one that all webhooks pass over: it must not be a reason for the next one.
    """
    moved = {}
    for webhook_id, progress in known.items():
        noted = durable[webhook_id]
        was_told = progress.told is not None and Position(*progress.told) > noted
        if was_told or progress.seq - noted.seq >= _PASSED:
            moved[webhook_id] = progress.position
    return moved
