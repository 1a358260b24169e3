"""What came of deliveries, told in one place: a log event and a count for each."""

from __future__ import annotations

import structlog

from storage.metrics.counts import webhook_delivered
from storage.queue import Delivery
from storage.webhooks.records import Webhook

log = structlog.get_logger()


def count(webhook: Webhook, delivery: Delivery) -> None:
    """Tell what came of one try."""
    fields = {
        "webhook": webhook.id,
        "delivery": delivery.id,
        "attempt": delivery.attempt,
        "status": delivery.status,
        "seconds": delivery.seconds,
    }
    if delivery.error is None:
        webhook_delivered("delivered")
        log.info("webhook_delivered", **fields)
    else:
        webhook_delivered("failed")
        log.info("webhook_failed", error=delivery.error, **fields)


def count_disabled(webhook: Webhook) -> None:
    """Tell that a webhook was disabled by Sluice."""
    webhook_delivered("disabled")
    log.warning("webhook_disabled", webhook=webhook.id, owner=webhook.owner, reason=str(webhook.disabled))
