"""Making, changing and deleting webhooks, and noting how far they have come, by entries of the log."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from msgspec.structs import replace

from storage.base.errors import Refused
from storage.commit import Draft, NoEntry, append_directly, check_snapshot_current
from storage.log.entry import WEBHOOKS_FORMAT, Webhooks
from storage.log.events import Position
from storage.log.records import Actor
from storage.operations.access import OlderNodes
from storage.repository import Repository
from storage.view.snapshot import Snapshot
from storage.view.webhooks import read_webhooks, webhooks_of
from storage.webhooks.records import Disabled, Webhook


class NoWebhookKey(Refused):
    """Webhooks are not set up: the setting webhook_key is empty."""


class TooManyWebhooks(Refused):
    """There are as many webhooks as a setting allows; the text names it."""


class WebhookGone(Refused):
    """There is no webhook with this id; the text is that."""


def create(repo: Repository, webhook: Webhook, actor: Actor) -> None:
    """Make a webhook, which is told what happens from now on; returns once it is durable.

    Raises NoWebhookKey, TooManyWebhooks and Unavailable.
    """
    if not repo.settings.webhook_key:
        raise NoWebhookKey
    most, most_own = repo.settings.max_webhooks, repo.settings.max_own_webhooks

    def build() -> Webhooks:
        there = read_webhooks(repo.view)
        if len(there) >= most:
            raise TooManyWebhooks(f"there are {len(there)} webhooks (max_webhooks)")
        own = sum(each.owner == webhook.owner for each in there)
        if own >= most_own:
            raise TooManyWebhooks(f"{webhook.owner} has {own} webhooks (max_own_webhooks)")
        return Webhooks(actor=actor, time=int(time.time()), created=(webhook,))

    with repo.queue.consistent_read():
        _append(repo, build)


def change(
    repo: Repository, webhook_id: str, edit: Callable[[Webhook], Webhook], actor: Actor | None = None
) -> Webhook:
    """Put what `edit` returns in a webhook's place, and return it once it is durable; equal, it changes nothing.

    `edit` may be called several times, with the webhook as it is then. Raises WebhookGone and Unavailable.
    """
    made: list[Webhook] = []

    def build() -> Webhooks | None:
        old = _there(repo, webhook_id)
        made[:] = [edit(old)]
        return Webhooks(actor=actor, time=int(time.time()), changed=(made[0],)) if made[0] != old else None

    with repo.queue.consistent_read():
        _append(repo, build)
    return made[0]


def rotated(webhook: Webhook) -> Webhook:
    """Return a webhook with its next secret."""
    return replace(webhook, rotation=webhook.rotation + 1, rotated=int(time.time()))


def disabled(webhook: Webhook, reason: Disabled | None) -> Webhook:
    """Return a webhook that is told nothing, for a reason; None: one that is told what happens."""
    if (webhook.disabled is None) == (reason is None):
        return webhook
    return replace(webhook, disabled=reason, since=int(time.time()) if reason else None)


def disable_all(repo: Repository, reason: Disabled, actor: Actor) -> int:
    """Disable all webhooks by one entry, and return how many were enabled; returns once it is durable.

    Raises Unavailable.
    """
    changed: list[Webhook] = []

    def build() -> Webhooks | None:
        changed[:] = [disabled(each, reason) for each in read_webhooks(repo.view) if each.disabled is None]
        return Webhooks(actor=actor, time=int(time.time()), changed=tuple(changed)) if changed else None

    with repo.queue.consistent_read():
        _append(repo, build)
    return len(changed)


def delete(repo: Repository, webhook_id: str, actor: Actor) -> None:
    """Delete a webhook; returns once that is durable. Raises WebhookGone and Unavailable."""

    def build() -> Webhooks:
        return Webhooks(actor=actor, time=int(time.time()), deleted=(_there(repo, webhook_id).id,))

    with repo.queue.consistent_read():
        _append(repo, build)
    repo.deliveries.forget(webhook_id)


def note(repo: Repository, reached: Mapping[str, Position]) -> int:
    """Note in the log how far webhooks have come, and return of how many; of those that are gone nothing is noted.

    Raises Unavailable.
    """
    noted: dict[str, tuple[int, int]] = {}

    def build() -> Webhooks | None:
        noted.clear()
        for webhook in webhooks_of(repo.view, list(reached)):
            noted[webhook.id] = (reached[webhook.id].seq, reached[webhook.id].sent)
        return Webhooks(time=int(time.time()), reached=noted) if noted else None

    _append(repo, build)
    return len(noted)


def _there(repo: Repository, webhook_id: str) -> Webhook:
    for webhook in webhooks_of(repo.view, [webhook_id]):
        return webhook
    raise WebhookGone(webhook_id)


def _append(repo: Repository, build: Callable[[], Webhooks | None]) -> None:
    if not repo.nodes.all_read(WEBHOOKS_FORMAT):
        raise OlderNodes("a worker of an older version is at work, which cannot read webhooks: upgrade it first")

    def build_entry(snapshot: Snapshot) -> Draft[None] | NoEntry[None]:
        entry = build()
        check_snapshot_current(repo, snapshot)
        return Draft(entry, None) if entry else NoEntry(None)

    append_directly(repo, build_entry)
