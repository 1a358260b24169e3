"""Secrets and signatures of webhooks, by the Standard Webhooks convention (standardwebhooks.com). Pure.

A secret follows from the key in the settings, the webhook's id and the number of its rotation, so it is kept nowhere:
neither the log nor a backup of it has one.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from hashlib import sha256

from storage.webhooks.records import Webhook

PREFIX = "whsec_"


def secret_of(key: str, webhook_id: str, rotation: int) -> bytes:
    """Return the secret of a webhook's rotation: 32 bytes."""
    return hmac.digest(key.encode(), f"sluice webhook {webhook_id} {rotation}".encode(), sha256)


def shown(secret: bytes) -> str:
    """Return a secret as receivers are given it."""
    return PREFIX + b64encode(secret).decode()


def secrets_at(webhook: Webhook, key: str, overlap: float, now: float) -> list[bytes]:
    """Return the secrets that sign a delivery at a time (seconds): the newest, and for `overlap` the one before it."""
    rotations = [webhook.rotation]
    if webhook.rotated is not None and now < webhook.rotated + overlap:
        rotations.append(webhook.rotation - 1)
    return [secret_of(key, webhook.id, rotation) for rotation in rotations]


def headers(message_id: str, seconds: int, body: bytes, secrets: list[bytes]) -> dict[str, str]:
    """Return the headers by which a receiver knows a delivery, and that it is ours: one signature for each secret."""
    signed = f"{message_id}.{seconds}.".encode() + body
    signatures = [f"v1,{b64encode(hmac.digest(secret, signed, sha256)).decode()}" for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(signatures),
    }


def message_id(webhook_id: str, event_id: str) -> str:
    """Return the id of a delivery: the same whenever an event is told to a webhook."""
    return f"msg_{webhook_id}_{event_id.replace('-', '_')}"


def event_of(webhook_id: str, delivery: str) -> str:
    """Return the id of the event of a delivery, which may be given by that as well. Raises ValueError."""
    event_id = delivery.removeprefix(f"msg_{webhook_id}_").replace("_", "-")
    if "-" not in event_id:
        raise ValueError(f"{delivery!r} is not the id of a delivery of an event")
    return event_id
