"""The settings of pushes by Git. The others: storage/base/settings.py."""

from dataclasses import dataclass

from storage.base.setting_groups.api_settings import setting


@dataclass(frozen=True)
class PushSettings:
    """How much one push may bring."""

    max_push_bytes: int = setting(
        256 << 20, "bytes", "Maximum size of a push: of its pack, and of the contents of all its changes together."
    )
    max_push_commits: int = setting(
        100, "commits", "Maximum new commits in a push; each becomes a changeset, and all stand in one submission pack."
    )
    pushes_at_once: int = setting(
        32, "pushes", "Pushes that each worker of a gateway reads at once; further ones wait for their turn."
    )
