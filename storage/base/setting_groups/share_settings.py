"""The settings of fair shares: what one principal may use, and how principals take turns."""

from dataclasses import dataclass

from storage.base.setting_groups.api_settings import setting


@dataclass(frozen=True)
class ShareSettings:
    """What one principal may use unless the policy's quotas say otherwise, and how principals take turns."""

    principal_rate: float = setting(
        5000.0,
        "requests a second",
        "Requests a second of one principal; above it 429. The policy's `quotas` may say otherwise. 0: no limit.",
    )
    principal_burst: float = setting(
        10.0, "seconds", "A principal that was quiet may send the requests of so many seconds at once."
    )
    principal_rate_exchange: float = setting(
        1.0, "seconds", "Time after which API processes tell each other how many requests each principal has sent."
    )
    max_principal_bodies_bytes: int = setting(
        192 << 20,
        "bytes",
        "Bodies of one principal that one API process has received and not answered; above it 429. The policy's "
        "`quotas` may say otherwise. 0: no limit.",
    )
    max_principal_queued: int = setting(
        100_000,
        "changesets",
        "Maximum changesets of one principal that are queued or held; above it 429. The policy's `quotas` may say "
        "otherwise. 0: no limit.",
    )
    principal_active: float = setting(
        5.0,
        "seconds",
        "For so long after its last changeset a principal counts as one that others share with: batches stay small.",
    )
    commit_share: int = setting(
        16,
        "changesets",
        "Maximum changesets of one principal in a commit batch while others are active too; where the store is far (a "
        "PUT takes 25 ms or more), it grows with the time of a PUT.",
    )
    priority_turns: int = setting(
        1000,
        "turns",
        "A step of priority goes before, or behind, so many changesets that a principal has queued.",
    )
