"""What a webhook is told: what its owner may read now, narrowed by what it asked for and by the token that made it."""

from __future__ import annotations

import time

from storage.access.policy import ROOT, Right
from storage.access.rights import ALL, NOTHING, Rights, limited_to
from storage.base.errors import Recovering
from storage.log.events import Event
from storage.repository import Repository
from storage.view.snapshot import Snapshot
from storage.webhooks.records import Webhook

UNKNOWN = "unknown"
"""The owner of what was made while there were no tokens."""


class Reader:
    """Judges events for one webhook."""

    def __init__(self, repo: Repository) -> None:
        self._repo = repo
        self._sure_of: tuple[str, str] | None = None  # the run of Redis and the epoch that are known to be current

    def may_know(self, webhook: Webhook, event: Event, snapshot: Snapshot) -> bool:
        """Tell whether a webhook is told an event, by the policy of a snapshot. Raises Recovering and RedisError."""
        prefixes = event.prefixes
        return _is_asked_for(webhook, event, prefixes) and self._may_read(webhook, prefixes, snapshot)

    def _may_read(self, webhook: Webhook, prefixes: list[bytes], snapshot: Snapshot) -> bool:
        now, limit = time.time(), limited_to(webhook.role, webhook.within)
        rights = self._rights(webhook.owner, snapshot)
        return rights.missing(Right.READ, prefixes, now) is None and limit.missing(Right.READ, prefixes) is None

    def _rights(self, owner: str, snapshot: Snapshot) -> Rights:
        seen = (snapshot.run, snapshot.epoch)
        if snapshot.head.access and seen != self._sure_of:
            # Redis may be a copy from before a right was taken away.
            if self._repo.queue.recovered_state() is None:
                raise Recovering("it is not known whether rights were taken away meanwhile")
            self._sure_of = seen
        if owner == ROOT:
            return ALL
        if owner == UNKNOWN:
            is_open = not snapshot.head.access and not self._repo.settings.root_token_sha256
            return ALL if is_open else NOTHING
        return snapshot.policy.rights(owner)


def _is_asked_for(webhook: Webhook, event: Event, prefixes: list[bytes]) -> bool:
    if webhook.events and event.name not in webhook.events:
        return False
    if webhook.slices and event.slice not in webhook.slices:
        return False
    asked = [path.encode() for path in webhook.paths]
    return not asked or any(_touch(one, other) for one in asked for other in prefixes)


def _touch(one: bytes, other: bytes) -> bool:
    """Tell whether two path prefixes have a path in common, or may have."""
    return b"/" in (one, other) or one == other or _above(one, other) or _above(other, one)


def _above(directory: bytes, path: bytes) -> bool:
    return directory.endswith(b"/") and path.startswith(directory)
