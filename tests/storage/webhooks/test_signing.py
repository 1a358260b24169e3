"""Secrets and signatures are what the Standard Webhooks convention says, by its own library."""

from __future__ import annotations

from base64 import b64decode
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook as StandardWebhook

from storage.webhooks import signing
from storage.webhooks.records import Webhook

KEY = "k" * 32


def test_a_signature_is_that_of_the_library() -> None:
    secret, body, now = signing.secret_of(KEY, "W", 1), b'{"type":"\xc3\xa4"}', 1_700_000_000
    made = signing.headers("msg_W_3_0", now, body, [secret])
    judge = StandardWebhook(signing.shown(secret))
    assert made["webhook-signature"] == judge.sign("msg_W_3_0", datetime.fromtimestamp(now, UTC), body.decode())
    assert (made["webhook-id"], made["webhook-timestamp"]) == ("msg_W_3_0", str(now))


def test_secrets_are_of_one_key_one_webhook_and_one_rotation() -> None:
    secrets = {signing.secret_of(*of) for of in ((KEY, "W", 1), (KEY, "W", 2), (KEY, "V", 1), (KEY + "k", "W", 1))}
    assert len(secrets) == 4 and {len(secret) for secret in secrets} == {32}
    shown = signing.shown(signing.secret_of(KEY, "W", 1))
    assert shown.startswith("whsec_") and b64decode(shown[6:]) == signing.secret_of(KEY, "W", 1)


def test_the_old_secret_signs_until_the_overlap_ends() -> None:
    webhook = Webhook(id="W", url="", owner="u", rotation=3, rotated=1000)
    new, old = signing.secret_of(KEY, "W", 3), signing.secret_of(KEY, "W", 2)
    assert signing.secrets_at(webhook, KEY, 60.0, 1059.9) == [new, old]
    assert signing.secrets_at(webhook, KEY, 60.0, 1060.0) == [new]
    assert signing.secrets_at(Webhook(id="W", url="", owner="u"), KEY, 60.0, 0.0) == [signing.secret_of(KEY, "W", 1)]


def test_a_delivery_names_its_event() -> None:
    made = signing.message_id("W", "812-3")
    assert "." not in made, "which separates what is signed"
    assert signing.event_of("W", made) == signing.event_of("W", "812-3") == "812-3"
    with pytest.raises(ValueError, match="is not the id"):
        signing.event_of("W", "812")
