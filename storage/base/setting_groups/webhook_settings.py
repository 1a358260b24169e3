"""The settings of webhooks. The others: storage/base/settings.py."""

from dataclasses import dataclass
from functools import cached_property

from storage.base.setting_groups.api_settings import setting

_LEAST_KEY = 32  # characters


def read_waits(text: str) -> tuple[float, ...]:
    """Return seconds that are separated by commas. Raises ValueError."""
    try:
        waits = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        waits = (-1.0,)
    if not all(0 <= wait < 1e7 for wait in waits):
        raise ValueError("must be seconds, separated by commas")
    return waits


def check_key(text: str) -> None:
    """Raise ValueError where a key can be guessed."""
    if 0 < len(text) < _LEAST_KEY:
        raise ValueError(f"must have {_LEAST_KEY} characters or more")


@dataclass(frozen=True)
class WebhookSettings:
    """Who is told of events by requests of ours, how patiently, and how much of it is kept."""

    webhook_key: str = setting(
        "",
        "text",
        "Key from which every webhook's secret is made, of 32 characters or more, the same for the API and the senders."
        " Without it there are no webhooks; with another one, all secrets are other ones.",
        secret=True,
    )
    webhook_private_targets: bool = setting(
        False, "yes/no", "Webhooks may call private addresses of the network that the sender is in, and http:// URLs."
    )
    webhook_timeout: float = setting(
        15.0, "seconds", "Time limit of one delivery, from the connection to the end of the answer."
    )
    webhook_waits: str = setting(
        "5,60,300,1800,7200,18000,36000,50400,72000,86400,86400",
        "seconds",
        "Waits between the tries of one event, each up to a fifth longer by chance; behind the last one the webhook is"
        " disabled.",
    )
    webhook_interval: float = setting(1.0, "seconds", "Time between looks for events that webhooks have to be told.")
    webhook_cursor_interval: float = setting(
        60.0, "seconds", "Time between two entries of the log that say how far webhooks have come."
    )
    webhook_overlap: float = setting(
        86_400.0, "seconds", "After a rotation, deliveries are signed by the old secret too for this time."
    )
    webhook_senders: int = setting(16, "deliveries", "Maximum deliveries at the same time of one sender process.")
    webhook_batch: int = setting(
        200, "events", "Maximum deliveries of one run for one webhook; then others' turns come."
    )
    webhook_deliveries: int = setting(100, "deliveries", "The last deliveries of each webhook that can be listed.")
    webhook_body_bytes: int = setting(
        64 << 10, "bytes", "Maximum size of a delivery's body; above it, details of the event are left out."
    )
    max_webhooks: int = setting(1000, "webhooks", "Maximum webhooks of the deployment.")
    max_own_webhooks: int = setting(50, "webhooks", "Maximum webhooks of one principal.")

    @cached_property
    def retry_waits(self) -> tuple[float, ...]:
        """The waits between the tries of one event, in seconds."""
        return read_waits(self.webhook_waits)
